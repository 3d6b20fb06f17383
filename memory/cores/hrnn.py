"""Hierarchical recurrent experts by presence pattern, for inputs that are missing now and then.

Sahin & Kozat 2024, "Nonlinear Regression With Hierarchical Recurrent Neural Networks Under Missing
Data", IEEE Transactions on Artificial Intelligence, with their tree of LSTMs (2020) and its code.
b_t is the presence of the last w = 3 inputs. A main GRU runs over the inputs that leave this
window, if present. For each pattern i of the window there is a leaf; it is valid where all inputs
that it wants are there:

    h_0 = GRU_0 over the present inputs before the window
    h_i = GRU_i over the window's inputs in pattern_i, from h_0, for i in V = {i: pattern_i ≤ b_t}
    α = softmax over V and the main one of v · [h_i; pattern_i; b_t]; the output is Σ_i α_i h_i

So nothing is imputed, and a missing input is not an input of zeros. Departures: GRUs instead of
LSTMs, and one learning rate. An input whose observation is hidden is skipped whole, with its reward
and its action. All leaves of all steps are computed together, 12 steps of a GRU each.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memory.cores.core import Core, exported_gates, initialise_gates
from memory.cores.gru import run_gru

WINDOW = 3
PATTERNS = tuple(itertools.product((0, 1), repeat=WINDOW))
"""The window's oldest input first; the first pattern, all zeros, is the main GRU's own."""


class HRNN(Core):
    """See this module; its state is the main GRU's, then the inputs of the window."""

    stepper = "hrnn"
    signals = ("present",)
    patterns: Tensor

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)
        self.main = nn.GRU(inputs, hidden)
        self.leaves = nn.ModuleList(nn.GRU(inputs, hidden) for _ in PATTERNS[1:])
        for net in (self.main, *self.leaves):
            initialise_gates(net, hidden)
        self.mix = nn.Linear(hidden + 2 * WINDOW, 1, bias=False)
        self.register_buffer("patterns", torch.tensor(PATTERNS, dtype=torch.float32))

    @property
    def state_width(self) -> int:
        """H + 3 F."""
        return self.hidden + WINDOW * self.inputs

    def unroll(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Core.unroll`; a window's first inputs come from the state."""
        h, window = state[:, : self.hidden], state[:, self.hidden :]
        time, trials = features.shape[:2]
        before = window.unflatten(-1, (WINDOW, self.inputs)).transpose(0, 1)
        x = torch.cat((before, features))
        main = self._main(x[:time], h)
        recent = torch.stack([x[1 + i : 1 + i + time] for i in range(WINDOW)]).flatten(1, 2)
        output = self._mixed(main.flatten(0, 1), recent).unflatten(0, (time, trials))
        after = x[time:].transpose(0, 1).flatten(1)
        return output, torch.cat((main[-1], after), dim=-1)

    def _main(
        self, x: Float[Tensor, "time trial features"], h: Float[Tensor, "trial hidden"]
    ) -> Float[Tensor, "time trial hidden"]:
        """The main state after each input: present ones run in their order, without gaps."""
        present = x[..., -1] > 0.5
        order = torch.argsort((~present).byte(), dim=0, stable=True)
        kept = x.gather(0, order[..., None].expand_as(x))
        states = torch.cat((h[None], run_gru(self.main, kept, h)))
        return states.gather(0, present.cumsum(0)[..., None].expand(-1, -1, self.hidden))

    def _mixed(
        self, main: Float[Tensor, "n hidden"], recent: Float[Tensor, "window n features"]
    ) -> Float[Tensor, "n hidden"]:
        """The mixture of the main state and of all valid leaves."""
        there = (recent[..., -1] > 0.5).to(main).t()
        experts = [main]
        for leaf, pattern in zip(self.leaves, PATTERNS[1:], strict=True):
            wanted = [i for i, wants in enumerate(pattern) if wants]
            experts.append(run_gru(leaf, recent[wanted], main)[-1])  # type: ignore[arg-type]
        h = torch.stack(experts, dim=1)
        valid = (self.patterns <= there[:, None]).all(dim=-1)
        told = torch.cat(
            (self.patterns.expand(len(h), -1, -1), there[:, None].expand(-1, len(PATTERNS), -1)),
            dim=-1,
        )
        scores = self.mix(torch.cat((h, told.to(h)), dim=-1))[..., 0]
        weights = scores.masked_fill(~valid, -torch.inf).softmax(dim=-1)
        return torch.einsum("nk,nkd->nd", weights, h)

    def export(self) -> dict[str, Tensor]:
        """Gates in the order r, z, n of all GRUs, 0 for the main one; the mixture's vector."""
        gates = {"mix": self.mix.weight.t(), "patterns": self.patterns}
        for number, net in enumerate((self.main, *self.leaves)):
            gates |= exported_gates(net, f"{number}.")
        return gates
