"""Measures of FORK on made-up choices whose values can be counted by hand."""

import math

import numpy as np
import pytest

from envs.metaworld.suites import make_suite
from eval.memory_tests.fork_measure import fork_outcomes
from eval.memory_tests.fork_metrics import known_to_fail, memory_index, summarise_fork

TRIALS = 400
rng = np.random.default_rng(0)


def played(options: int, attempts: int, *, memory: bool) -> tuple[np.ndarray, np.ndarray]:
    """Choices and targets of a full search, or of one that tries anything anew."""
    targets = np.repeat(rng.integers(options, size=(TRIALS, 1)), attempts, axis=1)
    choices = rng.integers(options, size=targets.shape)
    if memory:
        orders = rng.permuted(np.tile(np.arange(options), (TRIALS, 1)), axis=1)
        found = (orders == targets[:, :1]).argmax(axis=1)
        turn = np.minimum(np.arange(attempts), found[:, None])
        choices = np.take_along_axis(orders, turn, axis=1)
    return choices, targets


def test_a_perfect_memory() -> None:
    summary = summarise_fork(*played(4, 5, memory=True), 4)
    np.testing.assert_allclose(
        [rate.value for rate in summary.success], [0.25, 0.5, 0.75, 1, 1], atol=0.08
    )
    assert summary.memory_index.value == pytest.approx(1, abs=0.06)
    assert summary.memory_index.low < 1 < summary.memory_index.high
    assert summary.win_stay.value == summary.lose_shift.value == 1
    assert summary.perseveration.value == 0


def test_no_memory() -> None:
    summary = summarise_fork(*played(4, 5, memory=False), 4)
    assert summary.memory_index.low < 0 < summary.memory_index.high
    assert summary.win_stay.value == pytest.approx(0.25, abs=0.1)
    assert summary.lose_shift.value == pytest.approx(0.75, abs=0.06)
    assert summary.perseveration.value > 0.3


def test_giving_up_is_no_memory() -> None:
    """It is always right when it commits, and half as often right as a memory."""
    targets = np.repeat(np.tile([0, 1], TRIALS // 2)[:, None], 4, axis=1)
    choices = np.where(targets == 0, 0, -1)
    choices[:, 0] = 0
    summary = summarise_fork(choices, targets, 2)
    assert [rate.value for rate in summary.right_if_committed] == [0.5, 1, 1, 1]
    assert [rate.value for rate in summary.committed] == [1, 0.5, 0.5, 0.5]
    assert summary.memory_index.value == 0
    assert math.isnan(summary.lose_shift.value)


def test_trials_that_all_agree_still_have_an_interval() -> None:
    right = np.zeros((10, 4), dtype=int)
    index = summarise_fork(right, right, 2).memory_index
    assert index.value == 1
    assert 0 < index.low < 1


def test_trials_of_one_place_count_as_one() -> None:
    """Fifty places four times, alike in each: as many as fifty trials."""
    later = np.random.default_rng(0).random(50) < 0.7
    right = np.repeat(np.stack([later, later], axis=1), 4, axis=0)
    places = np.repeat(np.arange(50), 4)
    once = memory_index(np.stack([later, later], axis=1), 2)
    four = memory_index(right, 2, places=places)
    assert four.value == pytest.approx(once.value)
    assert (four.low, four.high) == pytest.approx((once.low, once.high))
    naive = memory_index(right, 2)
    assert naive.high - naive.low < 0.6 * (four.high - four.low)


def test_placements_that_come_round_again_are_one_place() -> None:
    """A joint has 50 placements for 400 trials: the goal's number differs, the place does not."""
    suite = make_suite("FORK-window", train_goals=50)
    trials = suite.evaluation_trials("test", goals=120, episodes=2, horizon=20, seed=1)
    none = np.full((120, 2), -1)
    places = fork_outcomes(trials, none, np.zeros(120, dtype=bool), None).places
    assert places is not None
    assert len(set(places.tolist())) == 50
    assert (places[:20] == places[50:70]).all()
    assert (places[:20] == places[100:]).all()


def test_scenes_are_strata() -> None:
    """One scene is always found out and another never: that they differ is no uncertainty."""
    right = np.repeat([[True, True], [False, False]], 20, axis=0)
    right[[0, 39]] = ~right[[0, 39]]
    together = memory_index(right, 2)
    apart = memory_index(right, 2, scenes=("one",) * 20 + ("other",) * 20)
    assert apart.value == together.value == 0
    assert apart.high - apart.low < 0.6 * (together.high - together.low)


def test_what_is_known_to_fail() -> None:
    """A target is no longer known to fail once it was right."""
    choices, targets = np.array([[0, 2, -1, 0, 1]]), np.array([[1, 1, 1, 0, 0]])
    failed = known_to_fail(choices, targets, 3)[0]
    assert [row.nonzero()[0].tolist() for row in failed] == [[], [0], [0, 2], [0, 2], [2]]
