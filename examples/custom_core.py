"""A core of your own in one file: the minimal gated unit (Zhou et al. 2016, arXiv 1603.09420).

In the folder of this file, without any change to Strata:

    python -m train.rl2 --suite ML1 --task reach-v3 --core custom_core:MinimalGatedUnit
    python -m eval.evaluate runs/... --core custom_core:MinimalGatedUnit

Workers run the core as an ONNX graph that torch makes of `unroll`: pip install -e '.[onnx]'.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memory.cores.core import Core


class MinimalGatedUnit(Core):
    """f = σ(W_f x + U_f h); n = tanh(W_n x + U_n (f h)); h' = (1 - f) h + f n."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)
        self.from_input = nn.Linear(inputs, 2 * hidden)
        self.forget = nn.Linear(hidden, hidden, bias=False)
        self.candidate = nn.Linear(hidden, hidden, bias=False)

    @property
    def state_width(self) -> int:
        """The state is h."""
        return self.hidden

    def unroll(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (time, trial, H) of features (time, trial, F), and the state after them."""
        outputs = []
        for x in self.from_input(features):
            x_f, x_n = x.chunk(2, dim=-1)
            f = torch.sigmoid(x_f + self.forget(state))
            n = torch.tanh(x_n + self.candidate(f * state))
            state = torch.lerp(state, n, f)
            outputs.append(state)
        return torch.stack(outputs), state
