"""One step of TRPO: the natural gradient by conjugate gradients, and a line search.

Schulman et al. 2015 (arXiv 1502.05477).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import grad

from train.algorithms.adaptation import Weights

DAMPING = 1e-4  # of the Fisher matrix
SHORTER = 0.8  # each next step of the line search
TRIES = 15
Evaluate = Callable[[Weights], tuple[Tensor, Tensor]]
"""Loss and mean KL(old ‖ new), both scalars, of weights."""


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        weights: the new ones; the old ones where no step was better.
        before, after: the loss.
        kl: KL(old ‖ new) in nats, at most δ.
        tries: steps of the line search.
        accepted: whether the weights have changed.
        grad_norm: of the loss.
        healthy: whether gradient and curvature were finite; otherwise nothing was done.
    """

    weights: Weights
    before: float
    after: float
    kl: float
    tries: int
    accepted: bool
    grad_norm: float
    healthy: bool = True


def trust_region_step(
    evaluate: Evaluate, weights: Weights, *, delta: float, iterations: int
) -> Step:
    """The best step of mean KL at most `delta` along the natural gradient.

    Args:
        evaluate: differentiable twice.
        weights: where to step from; left as they are.
        delta: nats.
        iterations: of conjugate gradients.
    """
    old = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    leaves = list(old.values())
    loss, kl = evaluate(old)
    gradient = _flat(grad(loss, leaves, retain_graph=True, materialize_grads=True)).detach()
    of_kl = _flat(grad(kl, leaves, create_graph=True, materialize_grads=True))

    def fisher(v: Tensor) -> Tensor:
        product = grad(of_kl @ v, leaves, retain_graph=True, materialize_grads=True)
        return _flat(product).detach() + DAMPING * v

    direction = conjugate_gradient(fisher, -gradient, iterations)
    curvature = direction @ fisher(direction)
    norm, before = float(gradient.norm()), float(loss.detach())
    kept = {name: weight.detach() for name, weight in old.items()}
    if not bool(torch.isfinite(curvature)) or not norm < float("inf"):
        return Step(kept, before, before, 0.0, 0, False, 0.0, healthy=False)
    full = direction * (2 * delta / curvature.clamp(min=1e-12)).sqrt()
    for tried in range(TRIES):
        candidate = _moved(kept, full * SHORTER**tried)
        with torch.no_grad():
            after, apart = map(float, evaluate(candidate))
        if after < before and apart <= delta:
            return Step(candidate, before, after, apart, tried + 1, True, norm)
    return Step(kept, before, before, 0.0, TRIES, False, norm)


def conjugate_gradient(
    apply: Callable[[Tensor], Tensor], b: Float[Tensor, " n"], iterations: int
) -> Float[Tensor, " n"]:
    """Solve A x ≈ b for a positive definite A that is known by `apply`."""
    x, residual = torch.zeros_like(b), b.clone()
    direction, squared = residual.clone(), residual @ residual
    for _ in range(iterations):
        if float(squared) < 1e-12:
            break
        applied = apply(direction)
        length = squared / (direction @ applied)
        x, residual = x + length * direction, residual - length * applied
        smaller = residual @ residual
        direction, squared = residual + smaller / squared * direction, smaller
    return x


def _flat(parts: Iterable[Tensor]) -> Float[Tensor, " n"]:
    return torch.cat([part.reshape(-1) for part in parts])


def _moved(weights: Weights, step: Float[Tensor, " n"]) -> Weights:
    parts = step.split([weight.numel() for weight in weights.values()])
    return {
        name: weight + part.reshape(weight.shape)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }
