"""A belief over what a task asks: which part, the hand or an object, is to come to which place.

It is a distribution, not a point: a mixture of Gaussians over the place, each with a probability
that the part is the hand. A trial is then search by elimination: the policy acts on a sample
(`agents.acting.place_aims`), which is drawn anew at each episode's start from what the episodes
before have left probable. Mixture density networks: Bishop 1994. Posterior sampling: Rakelly et al.
2019 (arXiv 1903.08254). The negative log-likelihood of the truth alone teaches the memory, as in
`agents.posterior`.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from agents.acting.place_aims import COMPONENT, LEAST_SPREAD, MOST_SPREAD, UNIT

START_SPREAD = 0.9  # before squashing: 17 cm
APART = 0.5  # units between the components at the start, about: equal ones would stay equal


class PlaceBelief(nn.Module):
    """A linear readout of the memory: K components of `COMPONENT` numbers each.

    Args:
        hidden: width H of the memory's output.
        components: K.
    """

    def __init__(self, hidden: int, components: int) -> None:
        super().__init__()
        self.out = nn.Linear(hidden, components * COMPONENT)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            start = torch.zeros(components, COMPONENT)
            start[:, 2:5] = APART * torch.randn(components, 3)
            start[:, 5:] = START_SPREAD
            self.out.bias.copy_(start.flatten())

    def forward(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch number"]:
        """The numbers of all components."""
        return self.out(hidden)

    def errors(
        self, hidden: Float[Tensor, "*batch hidden"], truth: Float[Tensor, "*batch 4"]
    ) -> Float[Tensor, "*batch"]:
        """Negative log-likelihood of true aims in nats, the place's density in units of `UNIT`."""
        parts = self(hidden).unflatten(-1, (-1, COMPONENT))
        hand, place = truth[..., None, 0], truth[..., None, 1:]
        log_spread = math.log(LEAST_SPREAD) + math.log(MOST_SPREAD / LEAST_SPREAD) * torch.sigmoid(
            parts[..., 5:]
        )
        z = (place - parts[..., 2:5]) * torch.exp(-log_spread)
        log_place = -(0.5 * z.square() + log_spread + 0.5 * math.log(2 * math.pi)).sum(dim=-1)
        log_part = functional.logsigmoid(parts[..., 1] * (2 * hand - 1))
        log_weight = parts[..., 0].log_softmax(dim=-1)
        return -(log_weight + log_part + log_place).logsumexp(dim=-1)

    def likeliest(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch 4"]:
        """The aim at the middle of the likeliest component, with its likelier part."""
        parts = self(hidden).unflatten(-1, (-1, COMPONENT))
        best = parts[..., 0].argmax(dim=-1)[..., None, None].expand(*parts.shape[:-2], 1, COMPONENT)
        chosen = parts.gather(-2, best).squeeze(-2)
        return torch.cat(((chosen[..., 1:2] > 0).to(chosen.dtype), chosen[..., 2:5]), dim=-1)

    def knew(
        self,
        hidden: Float[Tensor, "*batch hidden"],
        truth: Float[Tensor, "*batch 4"],
        aims: Float[Tensor, "*batch 4"],
    ) -> dict[str, Float[Tensor, "*batch"]]:
        """How right the belief is where it is read.

        Returns:
            ``part_right``, whether the likeliest part is the true one; ``place_error`` and
            ``aim_error``, the metres from the true place to that of the likeliest component, and to
            that of the aim which was drawn.
        """
        believed = self.likeliest(hidden)
        return {
            "part_right": (believed[..., 0] == truth[..., 0]).to(hidden.dtype),
            "place_error": UNIT * (believed - truth)[..., 1:].norm(dim=-1),
            "aim_error": UNIT * (aims - truth)[..., 1:].norm(dim=-1),
        }
