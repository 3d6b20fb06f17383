"""Suites: which tasks and goals are trained on, and which are held out."""

import pickle
from collections.abc import Sequence
from typing import Any

import metaworld
import numpy as np
import pytest
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from envs.metaworld.suites import GOALS_PER_TASK, SuiteError, make_suite, suite_problems
from envs.metaworld.task_env import TASKS
from tests.envs.toy import toy_suite, trials_of

ML1_TASKS = ("reach-v3", "push-v3", "door-open-v3")  # goals of 6, 6 (drawn with rejection) and 3


def official_goals(tasks: Sequence[Any]) -> dict[str, list[tuple[float, ...]]]:
    """What Meta-World's own `Task` records of this process hold, decoded without our code."""
    goals: dict[str, list[tuple[float, ...]]] = {}
    for task in tasks:
        vector = pickle.loads(task.data)["rand_vec"]
        goals.setdefault(task.env_name, []).append(tuple(vector.tolist()))
    return goals


def as_lists(goals: Any) -> dict[str, list[tuple[float, ...]]]:
    return {task: list(vectors) for task, vectors in goals.items()}


@pytest.fixture
def few_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks of 6 goals per task: the same draws, sooner done."""
    monkeypatch.setattr(metaworld, "_N_GOALS", 6)


@pytest.fixture
def undrawn_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites with Meta-World's real task lists, but goals that cost no simulation."""

    def made_up(classes: Any, arguments: Any, override: dict, seed: int | None) -> list[Any]:
        return [
            metaworld._encode_task(
                name, {"rand_vec": np.full(3, i), "env_cls": classes[name], **override}
            )
            for name in arguments
            for i in range(2)
        ]

    monkeypatch.setattr(metaworld, "_make_tasks", made_up)


# ------------------------------------------------------------------------------ tasks and goals


@pytest.mark.usefixtures("few_goals")
@pytest.mark.parametrize("task", ML1_TASKS)
def test_ml1_goals_are_the_official_ones(task: str) -> None:
    """Train is train and test is test, goal for goal and in order, though nothing was simulated.

    `gymnasium.make_vec("Meta-World/ML1-train")` of 3.1.1 silently returns the test goals: training
    on them would look like a miracle of generalisation.
    """
    suite, official = make_suite("ML1", task=task, seed=3), metaworld.ML1(task, seed=3)
    assert as_lists(suite.train) == official_goals(official.train_tasks)
    assert as_lists(suite.test) == official_goals(official.test_tasks)
    assert not set(suite.train[task]) & set(suite.test[task])
    assert suite.overlap == ()


def test_fifty_goals_of_each_kind() -> None:
    """Each seed draws its own fifty, all different, none of them in both splits."""
    one, two = (make_suite("ML1", task="push-v3", seed=seed) for seed in (1, 3))
    drawn = [
        set(suite.split(name)["push-v3"]) for suite in (one, two) for name in ("train", "test")
    ]
    assert [len(goals) for goals in drawn] == [GOALS_PER_TASK] * 4
    assert len(set.union(*drawn)) == 4 * GOALS_PER_TASK


def test_further_goals_for_training() -> None:
    """Fifty goals are learnt by heart; more of the same kind come after the official ones.

    They are drawn by the task itself, so they keep its rules (push: the puck not at the goal), are
    never goals of the test split, and depend on nothing but task and seed.
    """
    official = make_suite("ML1", task="push-v3", seed=3)
    more = make_suite("ML1", task="push-v3", seed=3, train_goals=130)
    goals = more.train["push-v3"]
    assert goals[:GOALS_PER_TASK] == official.train["push-v3"]
    assert more.test == official.test
    assert len(set(goals)) == 130
    assert not set(goals) & set(more.test["push-v3"])
    low, high = np.min(goals[:GOALS_PER_TASK], axis=0), np.max(goals[:GOALS_PER_TASK], axis=0)
    margin = 0.1 * (high - low) + 1e-9
    assert (np.array(goals) >= low - margin).all()
    assert (np.array(goals) <= high + margin).all()
    apart = np.linalg.norm(np.subtract(goals, np.roll(goals, 3, axis=1))[:, :2], axis=1)
    assert apart.min() >= 0.15
    again = make_suite("custom", tasks=["reach-v3", "push-v3"], seed=3, train_goals=60)
    assert again.train["push-v3"] == goals[:60]
    other = make_suite("ML1", task="push-v3", seed=4, train_goals=60)
    assert not set(other.train["push-v3"]) & set(goals)
    fewer = make_suite("ML1", task="push-v3", seed=3, train_goals=7)
    assert fewer.train["push-v3"] == goals[:7]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ML10", "ML25", "ML45", "MT50"])
def test_all_goals_are_the_official_ones(name: str) -> None:
    """All fifty tasks: the drawn vectors do not depend on the settling that `make_suite` skips."""
    suite, official = make_suite(name, seed=5), getattr(metaworld, name)(seed=5)
    assert as_lists(suite.train) == official_goals(official.train_tasks)
    assert as_lists(suite.test) == official_goals(official.test_tasks)


@pytest.mark.usefixtures("undrawn_goals")
@pytest.mark.parametrize(
    ("name", "train", "test", "overlap"),
    [
        ("ML10", 10, 5, ()),
        ("ML25", 25, 5, ("basketball-v3",)),
        ("ML45", 45, 5, ()),
        ("MT10", 10, 0, ()),
        ("MT50", 50, 0, ()),
    ],
)
def test_held_out_tasks(name: str, train: int, test: int, overlap: tuple[str, ...]) -> None:
    """No task is in both splits but for Meta-World's own mistake in ML25, which is reported."""
    suite = make_suite(name)
    assert (len(suite.train), len(suite.test)) == (train, test)
    assert suite.overlap == overlap
    assert set(suite.train) & set(suite.test) == set(overlap)
    assert suite.goal_hidden == name.startswith("ML")
    assert all(trial.goal_hidden == suite.goal_hidden for trial in trials_of(suite, 3))


@pytest.mark.usefixtures("few_goals")
def test_custom_suites() -> None:
    """Without test tasks the held-out part is unseen goals of the same tasks, as in ML1."""
    same = make_suite("custom", tasks=["reach-v3"], seed=4)
    ml1 = make_suite("ML1", task="reach-v3", seed=4)
    assert (same.train, same.test) == (ml1.train, ml1.test)
    other = make_suite("custom", tasks=["reach-v3"], test_tasks=["door-open-v3"], seed=4)
    assert other.train == ml1.train
    assert tuple(other.test) == ("door-open-v3",)


@pytest.mark.usefixtures("few_goals")
def test_drawing_goals_leaves_the_world_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settling is skipped only while goals are drawn, also when that fails half-way."""
    original, random_state = SawyerXYZEnv._reset_hand, np.random.get_state()[1].copy()
    make_suite("ML1", task="reach-v3")
    assert SawyerXYZEnv._reset_hand is original
    np.testing.assert_array_equal(np.random.get_state()[1], random_state)

    def fail(*_: Any, **__: Any) -> None:
        assert SawyerXYZEnv._reset_hand is not original
        raise RuntimeError("half-way")

    monkeypatch.setattr(metaworld, "ML1", fail)
    with pytest.raises(RuntimeError, match="half-way"):
        make_suite("ML1", task="reach-v3")
    assert SawyerXYZEnv._reset_hand is original


@pytest.mark.slow
def test_further_goals_of_all_tasks() -> None:
    """In no task do further training goals repeat or meet a test goal."""
    suite = make_suite("custom", tasks=TASKS, train_goals=300)
    for task in TASKS:
        assert len(set(suite.train[task])) == 300, task
        assert not set(suite.train[task]) & set(suite.test[task]), task


# --------------------------------------------------------------------------------------- errors


def problems(name: str, **request: Any) -> list[str]:
    return suite_problems(name, **{"task": None, "tasks": (), "test_tasks": (), **request})


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"name": "ML11"}, "unknown suite 'ML11': did you mean ML1"),
        ({"name": "ML1", "task": "reach"}, "--task: unknown task 'reach': did you mean reach-v3"),
        ({"name": "ML1"}, "needs one task"),
        ({"name": "ML10", "task": "reach-v3"}, "use --suite ML1"),
        ({"name": "custom"}, "needs its tasks"),
        ({"name": "custom", "tasks": ["reach-v2"]}, "--tasks: unknown task 'reach-v2': did you"),
        ({"name": "custom", "tasks": ["reach-v3"], "test_tasks": ["x"]}, "--test-tasks: unknown"),
        ({"name": "custom", "tasks": ["reach-v3", "reach-v3"]}, "each task once"),
        (
            {"name": "custom", "tasks": ["reach-v3", "push-v3"], "test_tasks": ["push-v3"]},
            "share a task",
        ),
        ({"name": "ML10", "tasks": ["reach-v3"]}, "belong to --suite custom"),
    ],
)
def test_bad_requests_say_what_to_type(request_: dict[str, Any], says: str) -> None:
    found = problems(**request_)
    assert any(says in problem for problem in found), found
    with pytest.raises(SuiteError, match=r"\w"):
        make_suite(**request_)


def test_all_problems_at_once() -> None:
    found = problems("custom", task="reach-v3", tasks=["rech-v3", "rech-v3"], test_tasks=["pus-v3"])
    text = "\n".join(found)
    for part in ("--tasks: unknown", "--test-tasks: unknown", "--task belongs", "each task once"):
        assert part in text
    assert "did you mean reach-v3" in text


@pytest.mark.parametrize("name", ["ML1", "ML10", "custom"])
def test_right_requests_have_no_problems(name: str) -> None:
    options = {"ML1": {"task": "reach-v3"}, "custom": {"tasks": ["reach-v3"]}}
    assert problems(name, **options.get(name, {})) == []


@pytest.mark.usefixtures("undrawn_goals")
def test_a_missing_split_is_explained() -> None:
    with pytest.raises(SuiteError, match="MT10 has no split 'test': use --split train"):
        make_suite("MT10").split("test")
    with pytest.raises(SuiteError, match="no split 'tset': use --split train or --split test"):
        toy_suite().split("tset")


def test_a_suite_with_missing_observations_hides_them_in_both_splits() -> None:
    suite = make_suite("FORK-reach-2", train_goals=2, missing=0.25)
    assert {
        suite.trial(split, "reach-v3", 0, 1, 5, seed=1).missing for split in ("train", "test")
    } == {0.25}
