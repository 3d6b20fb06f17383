"""Ceilings of FORK: the published table, and agents that remember as much against simulation."""

import numpy as np
import pytest

from envs.memory_tests.belief import after_outcome, uniform
from envs.memory_tests.ceilings import (
    bayes,
    tried_by_chance,
    win_stay_lose_shift,
)


@pytest.mark.parametrize(
    ("options", "attempts", "switch", "curve", "mean"),
    [
        (2, 4, 0.0, [0.5, 1, 1, 1], 0.875),
        (3, 4, 0.0, [1 / 3, 2 / 3, 1, 1], 0.75),
        (4, 5, 0.0, [0.25, 0.5, 0.75, 1, 1], 0.7),
        (8, 8, 0.0, np.arange(1, 9) / 8, 0.5625),
        (2, 8, 0.1, [0.5, *[0.9] * 7], 0.85),
        (4, 8, 0.1, [0.25, 0.467, 0.654, *[0.817] * 5], 0.682),
        (4, 8, 0.2, [0.25, 0.433, 0.568, *[0.666] * 5], 0.573),
    ],
)
def test_the_ideal_memory(options, attempts, switch, curve, mean) -> None:
    found = bayes(options, attempts, switch)
    np.testing.assert_allclose(found, curve, atol=6e-4)
    assert found.mean() == pytest.approx(mean, abs=6e-4)


@pytest.mark.parametrize(
    ("options", "curve"),
    [(2, [0.5, 1, 1, 1, 1]), (4, [0.25, 0.5, 0.667, 0.778, 0.852])],
)
def test_one_bit_of_memory(options, curve) -> None:
    np.testing.assert_allclose(win_stay_lose_shift(options, 5), curve, atol=6e-4)


@pytest.mark.parametrize(("options", "attempts", "most"), [(4, 5, 0.684), (2, 4, 0.875)])
def test_attempts_that_learn_nothing_from_one_another(options, attempts, most) -> None:
    """No policy of one distribution tries the right target more often than a uniform one."""
    found = tried_by_chance(options, attempts)
    assert found == pytest.approx(most, abs=6e-4)
    policies = np.random.default_rng(0).dirichlet(np.ones(options), 1000)
    tried = (1 - (1 - policies) ** (attempts - 1)).mean(axis=1)
    assert tried.max() <= found
    draws = np.random.default_rng(1).integers(options, size=(20_000, attempts - 1))
    assert (draws == 0).any(axis=1).mean() == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize(("options", "switch"), [(2, 0.1), (4, 0.2)])
def test_the_programme_agrees_with_played_trials(options: int, switch: float) -> None:
    """A hidden target that moves, met by an agent that tries what is likeliest."""
    rng, attempts, trials = np.random.default_rng(0), 5, 1500
    right = np.zeros((trials, attempts))
    for row in right:
        target, belief = int(rng.integers(options)), uniform(options)
        for attempt in range(attempts):
            choice = int(rng.choice(np.flatnonzero(np.isclose(belief, max(belief)))))
            row[attempt] = choice == target
            belief = after_outcome(belief, choice, choice == target, switch)
            assert sum(belief) == pytest.approx(1)
            if rng.random() < switch:
                target = (target + int(rng.integers(1, options))) % options
    error = 4 * np.sqrt(0.25 / trials)
    np.testing.assert_allclose(right.mean(axis=0), bayes(options, attempts, switch), atol=error)
