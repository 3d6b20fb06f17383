"""Goals of Meta-World's tasks, read from its benchmark objects or drawn by the task's own code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from envs.metaworld.task_env import TASKS

Goals = dict[str, tuple[tuple[float, ...], ...]]
"""Task name -> goals, each a ``rand_vec`` in metres."""


def further_goals(task: str, count: int, seed: int) -> list[tuple[float, ...]]:
    """`count` more goals of `task`, drawn and where needed redrawn by its own `reset_model`."""
    if not count:
        return []
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env: Any = ALL_V3_ENVIRONMENTS[task]()
    env._freeze_rand_vec, env.seeded_rand_vec, env._set_task_called = False, True, True
    env.seed(int(np.random.SeedSequence([seed, TASKS.index(task)]).generate_state(1)[0]))
    goals = []
    for _ in range(count):
        env.reset_model()
        goals.append(tuple(map(float, env._last_rand_vec)))
    env.close()
    return goals


def goals_of(tasks: Sequence[Any], classes: Mapping[str, type], *, hidden: bool = True) -> Goals:
    """Task name -> goals, read from Meta-World `Task` objects drawn in this process.

    Meta-World decodes its own records: `set_task` runs on an instance without a simulator.
    """
    goals: dict[str, list[tuple[float, ...]]] = {}
    for task in tasks:
        reader: Any = object.__new__(classes[task.env_name])
        reader._partially_observable = hidden
        reader.set_task(task)
        goals.setdefault(task.env_name, []).append(tuple(map(float, reader._last_rand_vec)))
    return {name: tuple(vectors) for name, vectors in goals.items()}


@contextlib.contextmanager
def without_settling() -> Iterator[None]:
    """Draw benchmark goals without simulating the arm's settling at every reset.

    The benchmark classes reset each environment 50 times only to read the drawn vector, which the
    simulation cannot influence (tests/envs/metaworld/test_suites.py compares all 50 tasks).
    """
    import mujoco
    from metaworld.sawyer_xyz_env import SawyerXYZEnv

    original = SawyerXYZEnv._reset_hand

    def place_only(self: SawyerXYZEnv, steps: int = 50) -> None:
        mujoco.mj_forward(self.model, self.data)  # pyright: ignore[reportAttributeAccessIssue]
        self.init_tcp = self.tcp_center

    SawyerXYZEnv._reset_hand = place_only
    try:
        yield
    finally:
        SawyerXYZEnv._reset_hand = original
