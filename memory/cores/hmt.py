"""The Hierarchical Memory Transformer (He et al. 2024, arXiv 2405.06067) with a GRU as backbone.

The trial is cut into segments of S = 25 steps. B is the backbone, X_n segment n:

    summary  s_n = B(X_n[:12]) from a cleared state
    recall   p_n = Σ_i a_i m_i, a = softmax over m_0, m_1 … m_{n-1} of (W_q s_n) · (W_k m_i) / √d
    process  outputs of B over X_{n+1}, from B([p_n; X_n[12:]]): h = p_n, then the sensory tail
    memory   m_n = B's state after segment n

m_0 is learnt, the paper's initial memory embedding: nothing to recall. There is no value matrix.
Memories are those of the trial, the last 64 of them (the paper keeps 100).

Departures. (1) Causality: an agent acts in a segment before its first half is over, so what is
recalled by the summary of segment n is there from segment n + 1 on: one segment of latency. (2) The
sensory tail is the second half of the last segment, 13 steps (32 tokens there): one auxiliary run
of B makes the summary in the first half of a segment and the tail's state in the second. (3) p_n is
not appended at the segment's end, since a GRU's state is its memory. (4) Back-propagation is
truncated at the learner's stretches (`--bptt`: 125 steps are 5 segments; the paper takes 2 to 6).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memory.cores.core import Core, exported_gates, initialise_gates
from memory.cores.gru import run_gru

SEGMENT, HALF = 25, 12  # steps
MEMORIES = 64


class HMT(Core):
    """See this module; its state is h, the auxiliary run's, the ring of memories and the age."""

    stepper = "hmt"

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)
        self.backbone = nn.GRU(inputs, hidden)
        initialise_gates(self.backbone, hidden)
        self.query, self.key = (nn.Linear(hidden, hidden, bias=False) for _ in range(2))
        self.null = nn.Parameter(torch.zeros(hidden))

    @property
    def state_width(self) -> int:
        """66 H + 1."""
        return (2 + MEMORIES) * self.hidden + 1

    def unroll(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Core.unroll`; both runs of the backbone go from border to border at once."""
        parts = [self.hidden, self.hidden, MEMORIES * self.hidden, 1]
        h, aside, ring, age = state.split(parts, dim=-1)
        ring, age = ring.unflatten(-1, (MEMORIES, self.hidden)), age.detach().round()
        rows, outputs, done = len(h), [], 0
        while done < len(features):
            place = age % SEGMENT
            left = torch.where(place < HALF, HALF, SEGMENT) - place
            x = features[done : done + int(left.min())]
            both = run_gru(self.backbone, x.repeat(1, 2, 1), torch.cat((h, aside)))
            outputs.append(both[:, :rows])
            h, aside = both[-1].split(rows)
            age, done = age + len(x), done + len(x)
            half, whole = age % SEGMENT == HALF, age % SEGMENT == 0
            slot = (age / SEGMENT - 1) % MEMORIES
            here = whole & (torch.arange(MEMORIES, device=x.device) == slot)
            ring = torch.where(here[..., None], h[:, None], ring)
            recalled = self._recalled(aside, ring, age) if bool(half.any()) else aside
            h, aside = (
                torch.where(whole, aside, h),
                torch.where(half, recalled, torch.where(whole, 0.0, aside)),
            )
        return torch.cat(outputs), torch.cat((h, aside, ring.flatten(1), age), dim=-1)

    def _recalled(
        self,
        summary: Float[Tensor, "trial hidden"],
        ring: Float[Tensor, "trial memory hidden"],
        age: Float[Tensor, "trial 1"],
    ) -> Float[Tensor, "trial hidden"]:
        """The mixture of the trial's memories that the summary asks for."""
        count = age // SEGMENT
        used = min(int(count.max()), MEMORIES)
        stock = torch.cat((self.null.expand(len(ring), 1, -1), ring[:, :used]), dim=1)
        seen = torch.arange(used + 1, device=age.device) <= count
        scores = torch.einsum("bd,bnd->bn", self.query(summary), self.key(stock))
        scores = scores * self.hidden**-0.5
        weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
        return torch.einsum("bn,bnd->bd", weights, stock)

    def export(self) -> dict[str, Tensor]:
        """Gates in the order r, z, n; the two matrices transposed."""
        return {
            **exported_gates(self.backbone),
            "query": self.query.weight.t(),
            "key": self.key.weight.t(),
            "null": self.null,
        }
