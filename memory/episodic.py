"""Level 1: episodic memory, a bounded key–value store of past trials read by gated attention.

After epLSTM (Ritter et al. 2018, arXiv 1805.09692): what a trial left behind is given back to the
recurrent state when a trial like it comes again. Keys and values are summaries by a slowly changing
encoder; both are written between iterations only, so an iteration acts and learns on one store.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

NOTHING, OLD, ALL = 0, 1, 2
"""What a trial may recall: nothing, what is not recent, everything."""
GATE_BIAS = -2.0  # σ(-2) ≈ 0.12: reading starts as a whisper
TEMPERATURE = 0.05  # of the softmax over cosines
NULL_COSINE = 0.5  # a memory less alike than this loses against "nothing"


def summarise(
    outputs: Float[Tensor, "time trial key"], horizon: int
) -> tuple[Float[Tensor, "trial key"], Float[Tensor, "trial key"]]:
    """Key and value of trials from the slow encoder's outputs along them.

    The key is the mean output over the first episode (`horizon` steps): what a later trial, whose
    query is its own running mean, looks like while it still has to find out. The value is the last
    output: what was known in the end.
    """
    return outputs[:horizon].mean(dim=0), outputs[-1]


class EpisodicMemory(nn.Module):
    """The store and its reader.

    Args:
        entries: C, most trials that are remembered.
        width: K, width of keys and values.
        hidden: H, width of the recurrent state that a read changes.
    """

    raw_keys: Tensor
    raw_values: Tensor
    values: Tensor
    filled: Tensor
    recent: Tensor
    keys: Tensor
    centre: Tensor

    def __init__(self, entries: int, width: int, hidden: int) -> None:
        super().__init__()
        # No draw from torch's generator: an arm with this memory starts from the same weights.
        self.from_value = nn.Parameter(torch.zeros(hidden, width))
        self.gate = nn.Parameter(torch.zeros(hidden, 2 * hidden + 1))
        self.gate_bias = nn.Parameter(torch.full((hidden,), GATE_BIAS))
        self.log_temperature = nn.Parameter(torch.tensor(TEMPERATURE).log())
        self.null = nn.Parameter(torch.tensor(NULL_COSINE))
        self.register_buffer("raw_keys", torch.zeros(entries, width))
        self.register_buffer("raw_values", torch.zeros(entries, width))
        self.register_buffer("filled", torch.zeros(entries, dtype=torch.bool))
        self.register_buffer("recent", torch.zeros(entries, dtype=torch.bool))
        self.register_buffer("keys", torch.zeros(entries, width))
        self.register_buffer("values", torch.zeros(entries, width))
        self.register_buffer("centre", torch.zeros(width))

    @torch.no_grad()
    def write(
        self,
        slots: Int[Tensor, " n"],
        keys: Float[Tensor, "n key"],
        values: Float[Tensor, "n key"],
    ) -> None:
        """Put entries into `slots`, replacing what is there. Call `settle` after the last one."""
        self.raw_keys[slots], self.raw_values[slots], self.filled[slots] = keys, values, True

    @torch.no_grad()
    def settle(self, recent: Bool[Tensor, " entry"]) -> None:
        """Make ready to be read; `recent` marks entries that OLD does not see.

        Keys are compared by cosine around their own mean, and values are read around theirs: all
        outputs of one net point much the same way, and what tells trials apart is what is left.
        """
        self.recent.copy_(recent & self.filled)
        if bool(self.filled.any()):
            self.centre.copy_(self.raw_keys[self.filled].mean(dim=0))
            mean = self.raw_values[self.filled].mean(dim=0)
            self.values.copy_((self.raw_values - mean) * self.filled[:, None])
        self.keys.copy_(functional.normalize(self.raw_keys - self.centre, dim=-1))

    def visible(self, recall: Float[Tensor, " trial"]) -> Bool[Tensor, "trial entry"]:
        """Which entries each trial may see."""
        old = (recall[:, None] >= OLD) & (self.filled & ~self.recent)
        return old | ((recall[:, None] >= ALL) & self.filled)

    def attend(
        self, query: Float[Tensor, "trial key"], recall: Float[Tensor, " trial"]
    ) -> tuple[Float[Tensor, "trial key"], Float[Tensor, "trial 1"], Float[Tensor, "trial slot"]]:
        """Weighted value, highest visible cosine (-1 if none), and weights with the null slot last.

        Softmax over all entries instead of the nearest few: which entry is the k-th nearest is
        decided by round-off, and workers and learner must read the same. The null slot stands
        against the mean of the others, not their sum, or a large store would always answer.
        """
        cosine = functional.normalize(query - self.centre, dim=-1) @ self.keys.T
        visible = self.visible(recall)
        sharpness = torch.exp(-self.log_temperature)
        entries = visible.sum(dim=-1, keepdim=True).clamp(min=1)
        null = self.null * sharpness + entries.to(cosine).log()
        scores = (cosine * sharpness).masked_fill(~visible, -torch.inf)
        weights = torch.softmax(torch.cat((scores, null), dim=-1), dim=-1)
        best = cosine.masked_fill(~visible, -1.0).amax(dim=-1, keepdim=True)
        return weights[:, :-1] @ self.values, best, weights

    def read(
        self,
        hidden: Float[Tensor, "trial hidden"],
        query: Float[Tensor, "trial key"],
        recall: Float[Tensor, " trial"],
    ) -> Float[Tensor, "trial hidden"]:
        """The recurrent state after recalling: h + g ⊙ tanh(m), with g = σ(W_g [h; m; best] + b_g).

        Without a visible entry the null slot takes all weight, m is 0 and h is returned exactly.
        """
        value, best, _ = self.attend(query, recall)
        return hidden + self._change(hidden, value, best)

    def _change(self, hidden: Tensor, value: Tensor, best: Tensor) -> Tensor:
        memory = value @ self.from_value.T
        gate = torch.cat((hidden, memory, best), dim=-1) @ self.gate.T + self.gate_bias
        return torch.sigmoid(gate) * torch.tanh(memory)

    @torch.no_grad()
    def report(
        self,
        hidden: Float[Tensor, "trial hidden"],
        query: Float[Tensor, "trial key"],
        recall: Float[Tensor, " trial"],
    ) -> dict[str, float]:
        """What a read does to those trials that see anything, as means; nothing if none does.

        ``read_null`` is the weight of "nothing", ``read_best`` the cosine of the nearest entry,
        ``read_change`` the length of the change of state in units of the state's own length.
        """
        sees = self.visible(recall).any(dim=-1)
        if not bool(sees.any()):
            return {}
        hidden = hidden[sees]
        value, best, weights = self.attend(query[sees], recall[sees])
        change = self._change(hidden, value, best)
        length = hidden.norm(dim=-1).clamp(min=1e-6)
        return {
            "read_null": float(weights[:, -1].mean()),
            "read_best": float(best.mean()),
            "read_change": float((change.norm(dim=-1) / length).mean()),
        }
