"""The extinction probe on agents whose order of sites is known."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from envs.metaworld.streams import make_stream
from eval.memory_tests.extinction import (
    Extinction,
    first_touched,
    kendall,
    past_before_never,
    recency_of,
)

NONE = -1
RECENCY = np.array([2, 2, 1, 1, 0, 0, 3, 3])


def test_eras_lie_back_as_they_came() -> None:
    stream = make_stream("ERAS", phase_steps=10)
    assert recency_of(stream, 60).tolist() == RECENCY.tolist()
    assert recency_of(stream, 40).tolist() == [0, 0, 2, 2, 1, 1, 3, 3]
    assert recency_of(stream, 15).tolist() == [1, 1, 0, 0, 2, 2, 2, 2]


def test_a_memory_of_all_eras_has_tau_one() -> None:
    found = Extinction.of(np.tile([5, 4, 2, 3, 1, 0, 6, 7], (20, 1)), RECENCY)
    assert (found.tau, found.tau_past, found.past, found.touched) == (1.0, 1.0, 4.0, 8.0)
    assert max(found.p_tau, found.p_tau_past) < 0.05
    assert min(found.p_tau, found.p_tau_past) > 0  # the order itself is one of the orders
    assert found.chance_past == pytest.approx(4 / 3, abs=0.1)


def test_the_reverse_order_has_tau_minus_one() -> None:
    found = Extinction.of(np.tile([7, 6, 0, 1, 3, 2, 5, 4], (20, 1)), RECENCY)
    assert (found.tau, found.past) == (-1.0, 0.0)
    assert found.p_tau > 0.99


def test_a_flat_memory_tries_its_own_pair_and_then_anything() -> None:
    rng = np.random.default_rng(0)
    choices = np.array([[4, 5, *rng.permutation([0, 1, 2, 3, 6, 7])] for _ in range(100)])
    found = Extinction.of(choices, RECENCY)
    assert found.tau == pytest.approx(0.5, abs=0.1)
    assert abs(found.tau_past) < 0.15
    assert found.past == pytest.approx(4 / 3, abs=0.3)


def test_tau_is_scipys() -> None:
    rng = np.random.default_rng(0)
    choices = rng.integers(-1, 8, size=(50, 8))
    order = first_touched(choices, 8)
    expected = [kendalltau(row, RECENCY, variant="c").statistic for row in order]
    np.testing.assert_allclose(kendall(order, RECENCY), expected)


def test_what_is_never_touched_comes_last() -> None:
    order = first_touched(np.array([[4, 4, NONE, 2], [NONE] * 4]), 8)
    assert order.tolist() == [[4, 4, 3, 4, 0, 4, 4, 4], [4] * 8]
    assert past_before_never(order, RECENCY) == 0.5
    assert kendall(order, RECENCY)[1] == 0
