"""Reading the store of a lifetime (`memory.lifetimes`) at the last still step of a trial.

At that step the cue has been seen, and nothing has moved. The input is compared with those that
earlier trials had at the same step; what they left behind flows into the short-term memory before
it takes the step. So the belief knows it when the aim is drawn. The belief's loss teaches which
inputs tell contexts apart, how much older entries count, and how far the state is replaced.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agents.encoder import Encoder
from agents.input_layout import INPUT_DIM
from memory.cores.core import Core

UNLIKE = 5.0  # squared distance, in units of the inputs' deviations, at which "nothing" wins
REPLACE = 2.0  # bias of the gate, σ(2) ≈ 0.88: at first what was known then is put back
AGEING = 0.5  # added to it for each round that an entry is older


@dataclass(frozen=True)
class LifetimeState:
    """An agent's state taken apart, one row per trial.

    Attributes:
        core: state of the short-term memory.
        age: steps of the trial gone.
        store: what the trial may recall, as `memory.lifetimes.LifetimeStores.read` gives it.
    """

    core: Float[Tensor, "trial state"]
    age: Float[Tensor, " trial"]
    store: Float[Tensor, "trial entry number"]

    def join(self) -> Float[Tensor, "trial joined"]:
        """As one tensor: core, age, store."""
        return torch.cat((self.core, self.age[:, None], self.store.flatten(1)), dim=-1)


class LifetimeReader(nn.Module):
    """Who reads, and the unroll that reads.

    The weight of an entry is a softmax of - Σ_i (r_i (q_i - k_i))² - a (age - 1) over the entries
    and over "nothing", at - u. q and k are normalised inputs, r their relevance, which is learnt as
    r = 1 + rate (ρ - 1): Adam moves ρ by its step size whatever the gradient. With m, the mean
    of the values that were read, and w, the weight of all but "nothing":
    h ← h + w σ(W_g [h; m] + b) ⊙ (W_v m - h). W_v starts as the identity and b at 2, so an agent
    of FORK goes on with what it was doing and learns from there.

    Args:
        inputs: numbers that the encoder sees of an input.
        hidden: H, width of the recurrent state that a read changes.
        state: width of the short-term memory's whole state.
        place: the part of it that is read into and written down.
        entries: E of a store.
        at: step of a trial before which is read, from 0.
        rate: how many times as fast as other weights relevance is learnt.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        state: int,
        place: slice,
        entries: int,
        at: int,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.state_width, self.place, self.entries, self.at = state, place, entries, at
        self.rate = rate
        self.row = INPUT_DIM + hidden + 1
        # No draw from torch's generator: an arm with this memory starts from the same weights.
        self.relevance = nn.Parameter(torch.ones(inputs))
        self.unlike = nn.Parameter(torch.tensor(UNLIKE))
        self.ageing = nn.Parameter(torch.tensor(AGEING))
        self.from_value = nn.Parameter(torch.eye(hidden))
        self.gate = nn.Parameter(torch.zeros(hidden, 2 * hidden))
        self.gate_bias = nn.Parameter(torch.full((hidden,), REPLACE))

    def initial_state(
        self, core: Float[Tensor, "trial state"], store: Tensor | None
    ) -> Float[Tensor, "trial joined"]:
        """State at the start of trials that may recall `store`; None: nothing."""
        if store is None:
            store = core.new_zeros(len(core), self.entries, self.row)
        return LifetimeState(core, core.new_zeros(len(core)), store.to(core)).join()

    def split(self, state: Float[Tensor, "trial joined"]) -> LifetimeState:
        """Inverse of `LifetimeState.join`."""
        core, age, store = state.split([self.state_width, 1, self.entries * self.row], dim=-1)
        return LifetimeState(core, age[:, 0], store.unflatten(-1, (self.entries, self.row)))

    def effective_relevance(self) -> Float[Tensor, " visible"]:
        """r, how much each input counts in the comparison."""
        # At rate 1 the weight itself: agents from before have no bit changed.
        return self.relevance if self.rate == 1 else 1 + self.rate * (self.relevance - 1)

    def attend(
        self,
        query: Float[Tensor, "trial visible"],
        keys: Float[Tensor, "trial entry visible"],
        ages: Float[Tensor, "trial entry"],
    ) -> Float[Tensor, "trial slot"]:
        """Weights of the entries, and last of nothing."""
        unlike = ((query[:, None] - keys) * self.effective_relevance()).square().sum(dim=-1)
        scores = (-unlike - self.ageing * (ages - 1)).masked_fill(ages == 0, -torch.inf)
        nothing = -self.unlike.expand(len(query), 1)
        return torch.softmax(torch.cat((scores, nothing), dim=-1), dim=-1)

    def read(
        self,
        hidden: Float[Tensor, "trial hidden"],
        query: Float[Tensor, "trial visible"],
        keys: Float[Tensor, "trial entry visible"],
        store: Float[Tensor, "trial entry number"],
    ) -> Float[Tensor, "trial hidden"]:
        """The recurrent state after recalling; `hidden` itself where nothing is recalled."""
        weights = self.attend(query, keys, store[..., -1])[:, :-1]
        found = weights.sum(dim=-1, keepdim=True)
        total = (weights[..., None] * store[..., INPUT_DIM:-1]).sum(dim=1)
        mean = total / found.clamp(min=1e-6)
        gate = torch.sigmoid(torch.cat((hidden, mean), dim=-1) @ self.gate.T + self.gate_bias)
        return hidden + found * gate * (mean @ self.from_value.T - hidden)

    def forward(
        self,
        memory: Core,
        encoder: Encoder,
        inputs: Float[Tensor, "time trial input"],
        state: Float[Tensor, "trial joined"],
    ) -> tuple[Float[Tensor, "time trial hidden"], Float[Tensor, "trial joined"]]:
        """Unroll `memory` over `inputs`, reading where a read is due."""
        features, now = encoder(inputs), self.split(state)
        core, outputs = now.core, []
        ages = now.age + torch.arange(len(inputs), device=inputs.device)[:, None]
        due = ages == self.at
        reads = torch.nonzero(due.any(dim=1)).flatten().tolist()
        for begin, end in itertools.pairwise(sorted({0, *reads, len(inputs)})):
            if begin in reads:
                query = encoder.visible(inputs[begin])
                keys = encoder.visible(now.store[..., :INPUT_DIM])
                hidden = core[:, self.place]
                read = self.read(hidden, query, keys, now.store)
                read = torch.where(due[begin][:, None], read, hidden)
                core = torch.cat(
                    (core[:, : self.place.start], read, core[:, self.place.stop :]), dim=-1
                )
            output, core = memory.unroll(features[begin:end], core)
            outputs.append(output)
        after = dataclasses.replace(now, core=core, age=now.age + len(inputs))
        return torch.cat(outputs), after.join()

    @torch.no_grad()
    def entry(
        self,
        inputs: Float[Tensor, "time trial input"],
        state: Float[Tensor, "trial joined"],
    ) -> tuple[Float[Tensor, "trial cue"], Float[Tensor, "trial hidden"]]:
        """What whole trials leave behind: their input at the step of the read, and their state.

        Args:
            inputs: of the trials.
            state: after them.
        """
        return inputs[self.at, :, :INPUT_DIM], self.split(state).core[:, self.place]
