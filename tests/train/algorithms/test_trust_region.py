"""TRPO's step: it solves for the natural gradient, improves, and stays within δ."""

import pytest
import torch

from train.algorithms.trust_region import conjugate_gradient, trust_region_step


def quadratic(scale: torch.Tensor):
    """A loss whose best weights are far away, and a KL of half the scaled squared distance."""

    def evaluate(weights):
        w = weights["w"]
        return (w - 5).square().sum(), 0.5 * (scale * (w - 1).square()).sum()

    return evaluate


def test_conjugate_gradients_solve() -> None:
    root = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix, b = root @ root.T + torch.eye(6), torch.arange(6.0, dtype=torch.float64)
    found = conjugate_gradient(lambda v: matrix @ v, b, 10)
    assert torch.allclose(matrix @ found, b, atol=1e-6)


@pytest.mark.parametrize("delta", [0.01, 0.1])
def test_a_step_improves_within_the_region(delta: float) -> None:
    weights, scale = {"w": torch.ones(3)}, torch.tensor([1.0, 10.0, 100.0])
    step = trust_region_step(quadratic(scale), weights, delta=delta, iterations=10)
    assert step.accepted
    assert step.after < step.before
    assert 0.5 * delta < step.kl <= delta
    moved = step.weights["w"] - 1
    assert torch.allclose(moved * scale / moved[0], torch.ones(3), rtol=0.01)  # natural
    assert torch.equal(weights["w"], torch.ones(3))


def test_where_no_step_is_better_the_weights_stay() -> None:
    def evaluate(weights):
        w = weights["w"]
        return (w * 0).sum(), 0.5 * (w - 1).square().sum()

    step = trust_region_step(evaluate, {"w": torch.ones(3)}, delta=0.01, iterations=10)
    assert not step.accepted
    assert torch.equal(step.weights["w"], torch.ones(3))


def test_a_number_that_is_not_finite_is_told() -> None:
    def evaluate(weights):
        return (weights["w"] * float("nan")).sum(), weights["w"].square().sum()

    step = trust_region_step(evaluate, {"w": torch.ones(2)}, delta=0.01, iterations=3)
    assert not step.healthy
    assert torch.equal(step.weights["w"], torch.ones(2))
