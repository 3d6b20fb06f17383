"""Divergence of Gaussian policies, the measure of all pulls between them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def gaussian_kl(
    mean_p: Float[Tensor, "*batch action"],
    log_std_p: Float[Tensor, "*#batch action"],
    mean_q: Float[Tensor, "*batch action"],
    log_std_q: Float[Tensor, "*#batch action"],
) -> Float[Tensor, "*batch"]:
    """KL(p ‖ q) of diagonal Gaussians, in nats, summed over the action."""
    spread = (2 * log_std_p).exp() + (mean_p - mean_q).square()
    return (log_std_q - log_std_p + spread / (2 * (2 * log_std_q).exp()) - 0.5).sum(-1)
