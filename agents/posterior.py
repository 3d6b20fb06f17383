"""Acting on a target that is drawn from the belief, instead of on the memory itself.

The belief loss alone teaches the memory: it learns to know which of M targets counts. The policy
reads no memory: it learns to reach whatever target its input names, the aim. Posterior sampling
joins them: at the last still step of an attempt the aim is drawn from the belief. Half of the
training trials practise with the true target, so the policy learns to move before the memory knows
(Rakelly et al. 2019, arXiv 1903.08254; Humplik et al. 2019, arXiv 1905.06424). Drawing from the
exact posterior is Bayes-optimal in FORK: a target that failed has probability 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from agents.input_layout import AIM


class TargetBelief(nn.Module):
    """A linear readout of the memory: scores of the M targets, whose softmax is the belief.

    Args:
        hidden: width H of the memory's output.
        targets: M.
    """

    def __init__(self, hidden: int, targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(hidden, targets)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch target"]:
        """Scores."""
        return self.out(hidden)

    def errors(
        self, hidden: Float[Tensor, "*batch hidden"], targets: Int[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy in nats: log M is a guess."""
        flat = self(hidden).flatten(0, -2), targets.flatten()
        return functional.cross_entropy(*flat, reduction="none").reshape(targets.shape)

    def knew(
        self,
        hidden: Float[Tensor, "*batch hidden"],
        truth: Int[Tensor, "*batch"],
        aims: Float[Tensor, "*batch aim"],
    ) -> dict[str, Float[Tensor, "*batch"]]:
        """``belief_right``: whether the likeliest target is the true one, where it is read."""
        right = self(hidden).argmax(dim=-1) == truth
        return {"belief_right": right.to(hidden.dtype)}


class AimedBody(nn.Module):
    """Two tanh layers over the present input and its aim: what the policy's head reads.

    Args:
        visible: numbers that the encoder sees of an input.
        aims: numbers of an aim.
        width: units of each layer.
    """

    def __init__(self, visible: int, aims: int, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(visible + aims, width), nn.Linear(width, width)
        for layer in (self.first, self.second):
            nn.init.orthogonal_(layer.weight, 2**0.5)
            nn.init.zeros_(layer.bias)

    def forward(
        self, visible: Float[Tensor, "*batch visible"], inputs: Float[Tensor, "*batch input"]
    ) -> Float[Tensor, "*batch width"]:
        """A function of the present input and its aim alone."""
        first = torch.tanh(self.first(torch.cat((visible, inputs[..., AIM]), dim=-1)))
        return torch.tanh(self.second(first))
