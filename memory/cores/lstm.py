"""An LSTM (Hochreiter & Schmidhuber 1997)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memory.cores.core import Core, exported_gates, initialise_gates


class LSTM(Core):
    """`torch.nn.LSTM`; its state is h, then the cell c."""

    stepper = "lstm"

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)
        self.net = nn.LSTM(inputs, hidden)
        initialise_gates(self.net, hidden)

    @property
    def state_width(self) -> int:
        """2 H: h and c."""
        return 2 * self.hidden

    @property
    def hidden_part(self) -> slice:
        """The cell, as in epLSTM (Ritter et al. 2018)."""
        return slice(self.hidden, 2 * self.hidden)

    def unroll(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Core.unroll`; one fused call."""
        h, c = (part.contiguous() for part in state.unsqueeze(0).chunk(2, dim=-1))
        output, (h, c) = self.net(features, (h, c))
        return output, torch.cat((h, c), dim=-1).squeeze(0)

    def export(self) -> dict[str, Tensor]:
        """Gates in the order i, f, g, o."""
        return exported_gates(self.net)
