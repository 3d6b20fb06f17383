"""Suites: which tasks and goals are trained on, which are held out, and how trials are drawn."""

import pickle
from collections import Counter
from collections.abc import Sequence
from typing import Any

import metaworld
import numpy as np
import pytest
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from envs.dealing import deal
from envs.stepping import TASKS
from envs.suites import GOALS_PER_TASK, Suite, SuiteError, make_suite, suite_problems
from envs.trial import Trial

ML1_TASKS = ("reach-v3", "push-v3", "door-open-v3")  # goals of 6, 6 (drawn with rejection) and 3
LENGTH = {"episodes": 2, "horizon": 5}


def official_goals(tasks: Sequence[Any]) -> dict[str, list[tuple[float, ...]]]:
    """What Meta-World's own `Task` records of this process hold, decoded without our code."""
    goals: dict[str, list[tuple[float, ...]]] = {}
    for task in tasks:
        vector = pickle.loads(task.data)["rand_vec"]
        goals.setdefault(task.env_name, []).append(tuple(vector.tolist()))
    return goals


def as_lists(goals: Any) -> dict[str, list[tuple[float, ...]]]:
    return {task: list(vectors) for task, vectors in goals.items()}


def toy_suite(tasks: int = 3, goals: int = 4) -> Suite:
    """Made-up goals: sampling needs no simulator."""

    def split(offset: float) -> dict[str, tuple[tuple[float, ...], ...]]:
        return {TASKS[t]: tuple((offset, t, g) for g in range(goals)) for t in range(tasks)}

    return Suite("toy", 1, split(0.0), split(1.0))


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


# ------------------------------------------------------------------------------------- sampling


def trials_of(suite: Suite, count: int, *, iteration: int = 0, seed: int = 1) -> list[Trial]:
    return suite.sample_trials(count, **LENGTH, iteration=iteration, seed=seed)


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
