"""How trials are drawn from a suite: for training by seed and iteration, for evaluation fixed."""

from collections import Counter

import numpy as np
import pytest

from envs.trials.sampling import deal
from tests.envs.toy import LENGTH, toy_suite, trials_of
from train.run.config import Config


def test_trials_are_a_function_of_seed_and_iteration() -> None:
    """There is no generator to save: that is what makes a resumed run the same run."""
    suite = toy_suite()
    first = trials_of(suite, 12)
    np.random.default_rng().random(5)
    trials_of(suite, 12, iteration=3)
    assert trials_of(suite, 12) == first
    assert trials_of(suite, 12, iteration=1) != first
    assert trials_of(suite, 12, seed=2) != first


def test_trials_are_balanced_and_without_replacement() -> None:
    """Every task as often, every goal once before any comes again, noise never the same."""
    suite = toy_suite(tasks=3, goals=4)
    for iteration in range(5):
        trials = trials_of(suite, 3 * 6, iteration=iteration)
        assert Counter(trial.task for trial in trials) == dict.fromkeys(suite.tasks, 6)
        for task in suite.tasks:
            indices = [trial.goal_index for trial in trials if trial.task == task]
            assert sorted(indices[:4]) == [0, 1, 2, 3]
            assert len(set(indices[4:])) == 2
        assert len({trial.seed for trial in trials}) == len(trials)
        for trial in trials:
            assert trial.goal == suite.train[trial.task][trial.goal_index]
            assert (trial.split, trial.episodes, trial.horizon) == ("train", 2, 5)


def test_trials_go_where_success_is_lacking() -> None:
    """Each task keeps one; on average the others go out in proportion to what success lacks."""
    suite = toy_suite(tasks=3, goals=4)
    never, half, always = suite.tasks
    dealt = Counter[str]()
    for iteration in range(400):
        trials = suite.sample_trials(
            12, **LENGTH, iteration=iteration, seed=1, success={never: 0.0, half: 0.5, always: 1.0}
        )
        count = Counter(trial.task for trial in trials)
        assert sum(count.values()) == 12
        assert min(count.values()) >= 1
        goals = [trial.goal_index for trial in trials if trial.task == never]
        assert set(goals) == {0, 1, 2, 3}  # all of them before any comes again
        dealt += count
    lack = np.array([1.05, 0.55, 0.05])
    expected = 1 + 9 * lack / lack.sum()
    assert [dealt[task] / 400 for task in suite.tasks] == pytest.approx(expected, abs=0.1)


def test_dealing_leaves_seeds_and_proposed_tasks_alone() -> None:
    """Nothing known, or all tasks alike: the plain deal. Proposed trials stay with every task."""
    suite = toy_suite(tasks=3, goals=9)
    request = {**LENGTH, "iteration": 3, "seed": 1, "proposals": 0.5}
    plain = suite.sample_trials(12, **request)
    assert suite.sample_trials(12, **request, success={}) == plain
    assert suite.sample_trials(12, **request, success=dict.fromkeys(suite.tasks, 0.9)) == plain
    first, *others = suite.tasks
    dealt = suite.sample_trials(12, **request, success={first: 0.0, **dict.fromkeys(others, 1.0)})
    assert dealt[:6] == plain[:6]
    assert all(trial.proposal for trial in dealt[:6])
    assert not any(trial.proposal for trial in dealt[6:])
    assert Counter(trial.task for trial in dealt[6:])[first] >= 3
    assert [trial.seed for trial in dealt] == [trial.seed for trial in plain]


@pytest.mark.parametrize("seed", range(20))
def test_deal_gives_each_task_its_share_rounded_up_or_down(seed: int) -> None:
    order = [f"task {i % 7}" for i in range(35)]
    success = {f"task {i}": (i * 0.37) % 1 for i in range(6)}  # nothing is known of the seventh
    lack = np.array([1.05 - success.get(f"task {i}", 0.0) for i in range(7)])
    share = 1 + 28 * lack / lack.sum()
    dealt = deal(order, success, np.random.default_rng(seed))
    count = np.array([dealt.count(f"task {i}") for i in range(7)])
    assert count.sum() == 35
    assert (np.floor(share) <= count).all()
    assert (count <= np.ceil(share)).all()
    assert dealt[:7] == order[:7]
    assert deal([], {}, np.random.default_rng(seed)) == []


def test_all_goals_come_up() -> None:
    suite, seen = toy_suite(tasks=2, goals=4), set()
    for iteration in range(30):
        seen |= {(t.task, t.goal_index) for t in trials_of(suite, 2, iteration=iteration)}
    assert len(seen) == 8


def test_evaluation_trials_are_fixed() -> None:
    """All arms meet the same goals and the same noise; the splits are never mixed."""
    suite = toy_suite(tasks=2, goals=3)
    trials = suite.evaluation_trials("test", goals=3, repeats=2, **LENGTH, seed=7)
    assert trials == suite.evaluation_trials("test", goals=3, repeats=2, **LENGTH, seed=7)
    assert Counter((t.task, t.goal_index) for t in trials) == {
        (task, goal): 2 for task in suite.tasks for goal in range(3)
    }
    assert len({trial.seed for trial in trials}) == len(trials)
    for trial in trials:
        assert trial.goal == suite.test[trial.task][trial.goal_index]
        assert trial.split == "test"
    train = suite.evaluation_trials("train", goals=1, **LENGTH, seed=7)
    assert {trial.goal for trial in train} == {suite.train[task][0] for task in suite.tasks}


def test_evaluation_shares_no_noise_with_training() -> None:
    """NumPy takes seeds [7, 1] and [7, 1, 0] for the same: streams must differ in more than length.

    With one goal a task no number is drawn before the noise seeds, so a shared stream would show.
    """
    suite = toy_suite(tasks=2, goals=1)
    held_out = {t.seed for t in suite.evaluation_trials("test", goals=5, **LENGTH, seed=7)}
    for iteration in range(4):
        train = {t.seed for t in trials_of(suite, 10, iteration=iteration, seed=7)}
        assert not train & held_out


@pytest.mark.parametrize(
    ("share", "rounds", "proposed"),
    [(0.0, 4, 0), (0.5, 4, 2), (0.5, 2, 1), (0.5, 3, 2), (0.5, 5, 3), (0.1, 4, 1), (0.9, 4, 3)],
)
def test_proposals_take_the_nearest_number_of_rounds(
    share: float, rounds: int, proposed: int
) -> None:
    """And leave one, for the suite's own tasks are what success is measured by."""
    trials = toy_suite().sample_trials(3 * rounds, **LENGTH, iteration=0, seed=1, proposals=share)
    assert sum(trial.proposal is not None for trial in trials) == 3 * proposed


@pytest.mark.parametrize(("suite", "tasks"), [("ML10", 10), ("ML25", 25), ("ML45", 45)])
def test_half_of_the_trials_are_proposed_on_every_suite_that_holds_out_tasks(
    suite: str, tasks: int
) -> None:
    config = Config(suite=suite)
    trials = toy_suite(tasks).sample_trials(
        config.trials_for(tasks), **LENGTH, iteration=0, seed=1, proposals=config.proposal_share
    )
    assert 2 * sum(trial.proposal is not None for trial in trials) == len(trials)
