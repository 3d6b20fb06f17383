"""From packed inputs to features: a running normaliser, saved with the weights, and an encoder."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agents.input_layout import (
    LAYOUT_VERSION,
    OBS,
    OBS_DIM,
    SLOPES,
    input_width,
    signal,
    slopes,
)

OBS_CLIP = 5.0
VARIANCE_FLOOR = 1e-4  # (1 cm)²: dimensions that never moved in training must not explode later


class ObservationNormaliser(nn.Module):
    """Running mean and variance of the observation, merged once per iteration.

    Frozen while an iteration is collected and learnt from, so that acting and training see the
    same numbers; always frozen at evaluation. Merging follows Chan et al. (1979).
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(OBS_DIM))
        self.register_buffer("var", torch.ones(OBS_DIM))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, obs: Float[Tensor, "*batch obs"]) -> None:
        """Merge a batch of observations. Non-finite rows are the caller's error and are refused."""
        flat = obs.reshape(-1, OBS_DIM)
        if not len(flat):
            return
        if not bool(torch.isfinite(flat).all()):
            raise ValueError("non-finite observation offered to the normaliser")
        flat = flat.to(self.mean.device).double()  # rollouts are on the CPU wherever learning is
        count, total = len(flat), self.count + len(flat)
        delta = flat.mean(0) - self.mean.double()
        merged = (
            self.var.double() * self.count
            + flat.var(0, correction=0) * count
            + delta**2 * self.count * count / total
        ) / total
        self.mean.copy_(self.mean.double() + delta * count / total)
        self.var.copy_(merged)
        self.count.copy_(total)

    def scale(self) -> Float[Tensor, " obs"]:
        """1 / standard deviation, with the variance floored at (1 cm)²."""
        return torch.rsqrt(self.var + VARIANCE_FLOOR)

    def forward(self, obs: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch obs"]:
        """Normalised observation, clipped to ± 5."""
        return ((obs - self.mean) * self.scale()).clamp(-OBS_CLIP, OBS_CLIP)


class Encoder(nn.Module):
    """Normalise the observation part of the input, then one tanh layer.

    Args:
        width: features per step.
        slopes: scale of `agents.input_layout.slopes`, which the layer sees
            besides the input; 0: not.
        inputs: version of the input's layout.
        signals: names in `memory.cores.signals.SIGNALS`, which follow the features as they are.
    """

    def __init__(
        self,
        width: int,
        *,
        slopes: float,
        inputs: int = LAYOUT_VERSION,
        signals: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.signals = signals
        self.inputs = input_width(inputs)
        self.normaliser = ObservationNormaliser()
        self.slopes = slopes
        self.layer = nn.Linear(self.inputs + SLOPES * bool(slopes), width)
        nn.init.orthogonal_(self.layer.weight, 2**0.5)
        nn.init.zeros_(self.layer.bias)

    def forward(self, inputs: Float[Tensor, "*batch input"]) -> Float[Tensor, "*batch features"]:
        """Features of packed inputs, with the signals as their last numbers."""
        features = torch.tanh(self.layer(self.visible(inputs)))
        told = [signal(name, inputs)[..., None] for name in self.signals]
        return torch.cat((features, *told), dim=-1) if told else features

    def visible(self, inputs: Float[Tensor, "*batch input"]) -> Float[Tensor, "*batch visible"]:
        """What the layer sees: the input with its observation normalised, and its slopes."""
        obs = self.normaliser(inputs[..., OBS])
        more = slopes(inputs, self.slopes) if self.slopes else []
        return torch.cat((obs, inputs[..., OBS_DIM : self.inputs], *more), dim=-1)
