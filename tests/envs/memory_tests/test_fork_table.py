"""Agents that move by script in the real simulator meet the floors and ceilings of the lemma."""

import numpy as np
import pytest

from envs.memory_tests import ceilings, fork_table
from envs.memory_tests.fork import UNCOMMITTED, fork_settings
from envs.memory_tests.fork_table import Chooser, play
from envs.metaworld.suites import make_suite
from envs.trials.trial import TrialRunner

COUNT = 24  # trials


@pytest.fixture(scope="module")
def runner() -> TrialRunner:
    return TrialRunner("reach-v3")


def right(runner: TrialRunner, name: str, choose: Chooser, *, count: int = COUNT) -> np.ndarray:
    """Success (trial, attempt); all attempts but some of a joint's touch a target."""
    suite = make_suite(name, train_goals=1)
    assert suite.fork is not None
    length = {"episodes": suite.fork.episodes, "horizon": suite.fork.horizon}
    trials = suite.evaluation_trials("test", goals=count, **length, seed=2)
    rng = np.random.default_rng(0)
    choices = np.array([play(runner, trial, choose, rng) for trial in trials])
    assert (choices >= 0).mean() > 0.95
    return choices == np.array([trial.fork.targets for trial in trials if trial.fork])


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    """Within 3 standard errors in each attempt, and exactly where nothing is left to chance."""
    error = 3 * np.sqrt(expected * (1 - expected) / len(found))
    assert (abs(found.mean(axis=0) - expected) <= error + 1e-9).all()


@pytest.mark.parametrize("options", [2, 4])
def test_a_perfect_memory_reaches_the_ceiling(runner, options: int) -> None:
    found = right(runner, f"FORK-reach-{options}", fork_table.bayes())
    assert_near(found, ceilings.bayes(options, found.shape[1]))


def test_one_bit_has_its_own_curve(runner) -> None:
    found = right(runner, "FORK-reach-4", fork_table.win_stay_lose_shift)
    assert_near(found, ceilings.win_stay_lose_shift(4, 5))


@pytest.mark.parametrize("choose", [fork_table.fixed, fork_table.anything])
def test_without_memory_one_in_m(runner, choose: Chooser) -> None:
    """The trial is the unit: a fixed site succeeds in all of its attempts or in none."""
    by_trial = right(runner, "FORK-reach-4", choose).mean(axis=1)
    assert by_trial.mean() <= 0.25 + 3 * np.sqrt(0.25 * 0.75 / len(by_trial))


def test_eight_sites_can_be_told_apart_by_moving(runner) -> None:
    found = right(runner, "FORK-reach-8", fork_table.oracle, count=8)
    assert found.mean() > 0.9


def test_a_target_that_moves_is_found_again(runner) -> None:
    found = right(runner, "FORK-reach-2-switch20", fork_table.bayes(0.2))
    assert_near(found, ceilings.bayes(2, 4, 0.2))


def test_an_attempt_that_touches_nothing_still_lets_the_target_move() -> None:
    """Else a target that moves each time is believed where it was, and its failure impossible."""
    settings = fork_settings("FORK-reach-2-switch100")
    assert settings is not None
    fork = settings.draw("reach-v3", 1, 4, split="test")
    past = [(0, True), (UNCOMMITTED, False)]
    assert fork_table.bayes(1.0)(fork, past[:1], np.random.default_rng(0)) == 1
    assert fork_table.bayes(1.0)(fork, past[:2], np.random.default_rng(0)) == 0
    assert fork_table.bayes(1.0)(fork, [*past, (1, False)], np.random.default_rng(0)) == 1


@pytest.mark.parametrize("scene", ["drawer", "window", "faucet", "handle-side", "lock"])
def test_joints_can_be_moved_either_way(scene: str) -> None:
    """By Meta-World's own experts, who know what counts; the lock's errs at its left placements."""
    suite = make_suite(f"FORK-{scene}", train_goals=1)
    (task,) = suite.tasks
    trials = suite.evaluation_trials("test", goals=4, episodes=1, horizon=100, seed=1)
    joint, rng, found = TrialRunner(task), np.random.default_rng(0), []
    for trial in trials:
        for option in (0, 1):
            (touched,) = play(joint, trial, lambda *_, option=option: option, rng)
            found.append(touched == option)
    assert np.mean(found) >= (0.7 if scene == "lock" else 1.0)
