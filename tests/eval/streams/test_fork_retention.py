"""Streams of FORK trials: agents whose measures are known, and numbers worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from envs.memory_tests.fork import UNCOMMITTED, Fork
from envs.memory_tests.fork_table import Chooser, anything, bayes
from eval.streams.fork_retention import (
    FORK_METRICS,
    ForkPoints,
    finding_out,
    leak_check,
    memory_index,
)

PARTS, TRIALS, ATTEMPTS = 3, 60, 4
PHASES = (0, 1, 2, 0, 1, 2)


def lived(choose: Chooser, seed: int = 0) -> ForkPoints:
    """An agent that moves perfectly and chooses by `choose`, at each moment of a stream."""
    rng, points = np.random.default_rng(seed), 2 * len(PHASES) + 1
    targets = np.tile(rng.integers(2, size=(PARTS, TRIALS, 1)), (points, 1, 1, ATTEMPTS))
    choices = np.zeros_like(targets)
    for place in np.ndindex(points, PARTS, TRIALS):
        fork, past = Fork(2, tuple(targets[place].tolist()), 0), []
        for attempt, target in enumerate(fork.targets):
            choices[place][attempt] = choose(fork, past, rng)
            past.append((int(choices[place][attempt]), choices[place][attempt] == target))
    ends = np.arange(points) % 2 == 0
    told = np.ones((points, PARTS, TRIALS))
    return ForkPoints(np.arange(points) * 10, ends, PHASES, choices, targets, told)


def test_a_table_that_remembers_has_index_one_and_forgets_nothing() -> None:
    points = lived(bayes())
    assert (memory_index(points) == 1).all()
    assert (finding_out(points) == 1).all()
    for name, (_, measure) in FORK_METRICS.items():
        assert measure(points) == pytest.approx(0 if "forgotten" in name else 1), name
    assert not leak_check([points, lived(bayes(), 1)], 2).leaks


def test_without_memory_no_attempt_is_better_than_chance() -> None:
    points = lived(anything)
    error = 3 * (0.25 / points.right[..., 0].size) ** 0.5
    assert (points.right.mean(axis=(0, 1, 2)) < 0.5 + error).all()
    assert abs(memory_index(points).mean()) < 0.05
    assert not leak_check([points], 2).leaks


def test_an_agent_that_knows_in_its_first_attempt_leaks() -> None:
    def told(fork: Fork, past: object, rng: object) -> int:
        return fork.targets[0]

    check = leak_check([lived(told)], 2)
    assert (check.share, check.trials, check.bound) == (1.0, PARTS * TRIALS, 0.5)
    assert check.leaks


@pytest.fixture
def by_hand() -> ForkPoints:
    """Two parts, a phase each, two trials of three attempts; both parts' targets are 0 and 1.

    After its phase the first part is Bayes' own. At the end one trial gives up, and the other
    commits and never finds out.
    """
    no = UNCOMMITTED
    targets = np.array([[0, 0, 0], [1, 1, 1]])
    learnt, gone = [[1, 0, 0], [1, 1, 1]], [[no, no, no], [0, 0, 0]]
    untrained = [[no, no, no], [no, no, no]]
    choices = np.array([[untrained, untrained], [learnt, untrained], [gone, learnt]])
    told = np.array([[[0, 0], [0, 0]], [[1, 1], [0, 0]], [[1, 0], [1, 1]]], dtype=float)
    return ForkPoints(np.arange(3), np.ones(3, bool), (0, 1), choices,
                      np.broadcast_to(targets, choices.shape), told)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("memory index", (-1, 1)),  # by phase or part: of the lost one, and of the last one
        ("memory index, learned", (1, 1)),
        ("skill", (0.5, 1)),
        ("skill forgotten", (0.5, 0)),
        ("committed", (0.5, 1)),
        ("committed forgotten", (0.5, 0)),
        ("finding out", (0, 1)),
        ("finding out, learned", (1, 1)),
        ("finding out forgotten", (1, 0)),
    ],
)
def test_what_was_lost_is_told_apart(by_hand, name: str, expected: tuple[float, ...]) -> None:
    measure: Callable[[ForkPoints], np.ndarray] = FORK_METRICS[name][1]
    assert measure(by_hand) == pytest.approx(expected)


def test_of_none_that_committed_nothing_is_known(by_hand) -> None:
    assert np.isnan(finding_out(by_hand)[0]).all()


def test_first_attempts_that_committed_are_counted_by_trial(by_hand) -> None:
    """Learnt 0 1 of one part; at the end 0 of it and 0 1 of the other: 2 of 5, of four trials."""
    check = leak_check([by_hand], 2)
    assert (check.share, check.trials) == (0.4, 4)
