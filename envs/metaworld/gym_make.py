"""Meta-World's Gymnasium environments with fast stepping: its arguments, wrappers and bits.

    gymnasium.make("Strata/MT1", env_name="reach-v3", seed=1)
    gymnasium.make_vec("Strata/ML10-train", vector_strategy="async", seed=1)

Meta-World's own code draws the goals, chooses among them and wraps; only the environments inside
are ours. One thing differs: ``ML1-train`` gives the train split. Meta-World 3.1.1 registers its
``ML1-train`` and ``ML1-test`` in a loop whose variable both ids read later: both give test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import metaworld
from gymnasium.vector import AutoresetMode

from envs.metaworld.goals import without_settling
from envs.metaworld.gym_task import TaskMaker
from envs.metaworld.suites import nearest
from envs.metaworld.task_env import TASKS

STRATEGIES = {"sync": gym.vector.SyncVectorEnv, "async": gym.vector.AsyncVectorEnv}


def make_mt1(
    env_name: str, seed: int | None = None, num_goals: int | None = None, **options: Any
) -> gym.Env:
    """``Meta-World/MT1``: one task, its goal visible, a goal per reset.

    Args:
        env_name: a task, e.g. ``reach-v3``.
        seed: of the goals and of the choice among them; None: drawn by NumPy's own generator.
        num_goals: goals to draw; None: 50.
        options: of `metaworld._init_each_env`, e.g. ``render_mode``, ``max_episode_steps``.

    Raises:
        ValueError: unknown task.
    """
    benchmark = _drawn("MT1", env_name, seed, num_goals)
    return _maker(env_name, benchmark.train_tasks, seed=seed, **{"num_tasks": 1} | options)()


def make_mt(
    benchmark: str,
    seed: int | None = None,
    num_goals: int | None = None,
    vector_strategy: str = "sync",
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    num_envs: int | None = None,
    **options: Any,
) -> gym.vector.VectorEnv:
    """``Meta-World/MT10``, ``MT25`` and ``MT50``: one environment per task.

    Args:
        benchmark: ``MT10``, ``MT25`` or ``MT50``.
        seed: see `make_mt1`.
        num_goals: see `make_mt1`.
        vector_strategy: ``sync``, or ``async`` for a process per environment.
        autoreset_mode: Gymnasium's.
        num_envs: ignored, as officially.
        options: of `metaworld._init_each_env`.

    Raises:
        ValueError: unknown strategy.
    """
    vectorizer = _vectorizer(vector_strategy)
    drawn = _drawn(benchmark, None, seed, num_goals)
    names = list(drawn.train_classes)
    makers = [
        _maker(
            name, drawn.train_tasks, seed=seed, **{"env_id": i, "num_tasks": len(names)} | options
        )
        for i, name in enumerate(names)
    ]
    return vectorizer(makers, autoreset_mode=autoreset_mode)


def make_ml(
    benchmark: str,
    split: str,
    env_name: str | None = None,
    seed: int | None = None,
    vector_strategy: str = "sync",
    num_envs: int | None = None,
    **options: Any,
) -> gym.vector.VectorEnv:
    """``Meta-World/ML1-train`` and its like: goals hidden, chosen by ``sample_tasks``.

    Args:
        benchmark: ``ML1``, ``ML10``, ``ML25`` or ``ML45``.
        split: ``train``, or ``test``, whose episodes end at success.
        env_name: the task of ``ML1``.
        seed: of the goals and of the choice among them.
        vector_strategy: ``sync``, or ``async`` for a process per environment.
        num_envs: ignored, as officially: ``meta_batch_size`` counts.
        options: of `metaworld.make_ml_envs`, e.g. ``meta_batch_size``, ``total_tasks_per_cls``.

    Raises:
        ValueError: unknown task or strategy.
    """
    _vectorizer(vector_strategy)
    drawn: Any = _drawn(benchmark, env_name, seed)
    drawn._train_classes = {name: TaskMaker(name) for name in drawn.train_classes}
    drawn._test_classes = {name: TaskMaker(name) for name in drawn.test_classes}
    options = {"task_select": "pseudorandom", "terminate_on_success": split == "test"} | options
    return metaworld._make_ml_envs_inner(
        drawn,
        meta_batch_size=options.pop("meta_batch_size", 20),
        split=split,  # type: ignore[arg-type]
        seed=seed,
        vector_strategy=vector_strategy,  # type: ignore[arg-type]
        **options,
    )


def _maker(task: str, drawn: list[Any], **options: Any) -> partial[gym.Env]:
    """What makes Meta-World's stack of wrappers on our environment."""
    tasks = [one for one in drawn if one.env_name == task]
    return partial(metaworld._init_each_env, env_cls=TaskMaker(task), tasks=tasks, **options)  # type: ignore[arg-type]


def _drawn(
    benchmark: str, task: str | None, seed: int | None, goals: int | None = None
) -> metaworld.Benchmark:
    """Meta-World's benchmark object with its goals."""
    single = benchmark in ("MT1", "ML1")
    if single and task not in TASKS:
        raise ValueError(f"env_name: unknown task {task!r}{nearest(str(task), TASKS)}")
    with without_settling(), _number_of_goals(goals):
        return getattr(metaworld, benchmark)(*[task] if single else [], seed=seed)


@contextlib.contextmanager
def _number_of_goals(count: int | None) -> Iterator[None]:
    """Officially a module's variable that stays changed for whatever is made later."""
    before = metaworld._N_GOALS
    metaworld._N_GOALS = count or before
    try:
        yield
    finally:
        metaworld._N_GOALS = before


def _vectorizer(strategy: str) -> Any:
    if strategy not in STRATEGIES:
        raise ValueError(f"vector_strategy must be 'sync' or 'async', not {strategy!r}")
    return STRATEGIES[strategy]
