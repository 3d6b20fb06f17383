"""The cascade: on a quadratic loss a linear filter, known in closed form."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memory.behaviour import Behaviour
from memory.cascade import Cascade, CascadeConfig, minibatches
from memory.gaussian import gaussian_kl
from memory.reservoir import Replay

RATE = 0.02
INPUTS = torch.zeros(6, 4, 3)


class Point(nn.Module):
    """A policy whose mean is its only weight and σ = 1: KL is half the squared distance."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.full((2,), value))


def unroll(policy: Point, inputs: Tensor, state: Tensor) -> tuple[Behaviour, Tensor]:
    mean = policy.mean.expand(*inputs.shape[:2], 2)
    return Behaviour(mean, torch.zeros(2)), state + len(inputs)


def start(_: Point, trials: int) -> Tensor:
    return torch.zeros(trials, 1)


def make(policy: nn.Module, optimiser: Any = torch.optim.SGD, **config: object) -> Cascade:
    how = CascadeConfig(**{"slow_minibatches": 1, **config})  # type: ignore[arg-type]
    return Cascade(policy, how, learning_rate=RATE, unroll=unroll, start=start, optimiser=optimiser)


def follow(cascade: Cascade, fast: nn.Module, **options: object) -> dict[str, float]:
    return cascade.follow(fast, INPUTS, np.random.default_rng(0), length=6, **options)


def positions(cascade: Cascade) -> np.ndarray:
    return np.array([float(level.mean[0].detach()) for level in cascade.policies])


@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("omega", [2.0, 4.0])
def test_the_cascade_is_its_linear_filter(levels: int, omega: float) -> None:
    """θ(t + 1) = A θ(t) + b θ_1(t): after a jump of the fast policy, A^t in closed form.

    Level k moves by lr ω^{-(k-1)} [ω (θ_{k-1} - θ_k) + (θ_{k+1} - θ_k)], a chain of vessels.
    """
    fast = Point(0.0)
    cascade = make(fast, levels=levels, omega=omega)
    n = levels - 1
    step, pull = np.eye(n), np.zeros(n)
    for i in range(n):
        rate = RATE * omega ** -(i + 1)
        step[i, i] -= rate * omega
        if i:
            step[i, i - 1] += rate * omega
        else:
            pull[i] = rate * omega
        if i + 1 < n:
            step[i, i] -= rate
            step[i, i + 1] += rate
    with torch.no_grad():
        fast.mean.fill_(1.0)
    for _ in range(40):
        follow(cascade, fast)
    expected = np.ones(n) - np.linalg.matrix_power(step, 40) @ np.ones(n)
    np.testing.assert_allclose(positions(cascade), expected, rtol=1e-4)
    assert (np.diff(positions(cascade)) < 0).all()
    assert pull[0] == RATE


def test_averages_are_their_linear_filter() -> None:
    """θ_2(t) = Σ_s (1 - η) η^s θ_1(t - s), and the next level the same of θ_2 before."""
    fast = Point(0.0)
    cascade = make(fast, consolidation="ema", half_lives=(3.0, 10.0))
    keep = 0.5 ** (1 / np.array([3.0, 10.0]))
    path = np.random.default_rng(1).normal(size=30)
    second = third = 0.0
    for value in path:
        with torch.no_grad():
            fast.mean.fill_(value)
        follow(cascade, fast)
        second, third = (
            keep[0] * second + (1 - keep[0]) * value,
            keep[1] * third + (1 - keep[1]) * second,
        )
    weights = (1 - keep[0]) * keep[0] ** np.arange(30)[::-1]
    assert second == pytest.approx(float(weights @ path))
    np.testing.assert_allclose(positions(cascade), [second, third], rtol=1e-5)


def test_a_half_life_is_one() -> None:
    fast = Point(0.0)
    cascade = make(fast, levels=2, consolidation="ema", half_lives=(7.0,))
    with torch.no_grad():
        fast.mean.fill_(1.0)
    for _ in range(7):
        follow(cascade, fast)
    assert positions(cascade)[0] == pytest.approx(0.5, rel=1e-5)


def test_replay_holds_a_slow_policy() -> None:
    """Drawn between the fast policy and what was done once, weighted by ω and λ."""
    fast = Point(0.0)
    cascade = make(fast, levels=2, inertia=0.0)
    with torch.no_grad():
        fast.mean.fill_(1.0)
    old = Replay(torch.zeros(6, 5, 3), -torch.ones(6, 5, 2), torch.zeros(5, 2), torch.ones(5))
    for _ in range(300):  # what is left of the way shrinks by 3% in each
        follow(cascade, fast, replay=old, replay_weight=2.0)
    assert positions(cascade)[0] == pytest.approx((4 * 1 - 2 * 1) / 6, abs=1e-3)


def test_inertia_slows_down() -> None:
    """With several steps an iteration, KL to what it was before it holds a level back."""
    moved = []
    for inertia in (0.0, 2.0):
        fast = Point(0.0)
        cascade = make(fast, levels=2, inertia=inertia, slow_minibatches=4)
        with torch.no_grad():
            fast.mean.fill_(1.0)
        follow(cascade, fast)
        moved.append(positions(cascade)[0])
    assert 0 < moved[1] < moved[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_gradient_moves_no_slow_policy(bad: float) -> None:
    fast = Point(0.5)
    cascade = make(fast)
    with torch.no_grad():
        fast.mean.fill_(bad)
    follow(cascade, fast)
    assert positions(cascade)[0] == 0.5


def test_kl_by_numbers() -> None:
    """Against torch's own, both ways round."""
    torch.manual_seed(0)
    p, q, log_p, log_q = torch.randn(3, 2), torch.randn(3, 2), torch.randn(2), torch.randn(2)
    normal = torch.distributions.Normal
    for a, la, b, lb in ((p, log_p, q, log_q), (q, log_q, p, log_p)):
        expected = torch.distributions.kl_divergence(normal(a, la.exp()), normal(b, lb.exp()))
        torch.testing.assert_close(gaussian_kl(a, la, b, lb), expected.sum(-1))


def test_the_sweep_is_by_stretches() -> None:
    cascade = make(Point(0.0))
    swept = cascade.sweep(cascade.policies[0], torch.zeros(7, 4, 3), 3)
    assert swept.done.mean.shape == (7, 4, 2)
    assert swept.done.log_std.shape == (2,)
    assert [float(state[0]) for state in swept.starts] == [0.0, 3.0, 6.0]


@pytest.mark.parametrize(
    ("steps", "length", "count"), [(21, 5, 3), (20, 5, 8), (4, 9, 4), (9, 3, 1)]
)
def test_minibatches_hold_every_step_once(steps: int, length: int, count: int) -> None:
    seen = np.zeros((steps, 6), int)
    for stretch, columns in minibatches(steps, 6, length, count, np.random.default_rng(0)):
        for column in columns.tolist():
            seen[stretch * length : (stretch + 1) * length, column] += 1
    assert (seen == 1).all()


def test_restored_it_goes_on_to_the_bit() -> None:
    fast = Point(0.0)
    one, other = (make(point, torch.optim.Adam) for point in (fast, Point(9.0)))
    with torch.no_grad():
        fast.mean.fill_(1.0)
    for _ in range(3):
        follow(one, fast)
    other.restore(one.tensors())
    for cascade in (one, other):
        follow(cascade, fast)
    for name, tensor in one.tensors().items():
        assert torch.equal(tensor, other.tensors()[name]), name


def test_a_slow_policy_is_settled_after_each_of_its_steps() -> None:
    """As PPO clamps the fast one's log σ: outside its bounds it would never move again."""
    fast, settled = Point(1.0), []
    how = CascadeConfig(levels=3, slow_minibatches=4)
    cascade = Cascade(
        fast, how, learning_rate=RATE, unroll=unroll, start=start, settle=settled.append
    )
    follow(cascade, fast)
    assert settled == [level for level in cascade.policies for _ in range(4)]
