"""No memory: an MLP in a core's place, the baseline arm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memory.cores.core import Core


class Memoryless(Core):
    """A tanh layer of the present features; it remembers nothing."""

    stepper = "none"

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)
        self.net = nn.Linear(inputs, hidden)
        nn.init.orthogonal_(self.net.weight, 2**0.5)
        nn.init.zeros_(self.net.bias)

    @property
    def state_width(self) -> int:
        """0."""
        return 0

    def unroll(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Core.unroll`; the empty state stays as it is."""
        return torch.tanh(self.net(features)), state

    def export(self) -> dict[str, Tensor]:
        """The layer."""
        return {"weight": self.net.weight.t(), "bias": self.net.bias}
