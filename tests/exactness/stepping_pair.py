"""A fast environment beside an official one in the same process, compared to the last bit."""

from __future__ import annotations

import functools
import math
import pickle
import re
from collections import Counter
from collections.abc import Callable

import mujoco
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP
from metaworld.types import Task

from envs.metaworld.task_env import TASKS, TaskEnv

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
COUNT: Counter[str] = Counter()


@functools.cache
def goals(task: str, n: int) -> list[np.ndarray]:
    """Goals drawn as Meta-World's benchmarks draw them."""
    before = np.random.get_state()
    np.random.seed(TASKS.index(task))
    env = ALL_V3_ENVIRONMENTS[task]()
    env._freeze_rand_vec, env._set_task_called = False, True
    drawn = []
    for _ in range(n):
        env.reset()
        drawn.append(np.array(env._last_rand_vec))
    np.random.set_state(before)
    return drawn


def same(a: object, b: object) -> bool:
    """Equal to the last bit (any NaN equals any NaN, and -0.0 differs from 0.0)."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    if x.shape != y.shape:
        return False
    if x.tobytes() == y.tobytes():
        return True
    x, y = np.atleast_1d(x), np.atleast_1d(y)
    nan = np.isnan(x) & np.isnan(y)
    return bool((nan | (x.view(np.int64) == y.view(np.int64))).all())


def state(env) -> np.ndarray:
    """All of the simulation's state, and the parts of the model that resets edit."""
    size = mujoco.mj_stateSize(env.model, STATE)
    vector = np.empty(size)
    mujoco.mj_getState(env.model, env.data, vector, STATE)
    return np.concatenate([vector, env.model.body_pos.ravel(), env.model.site_pos.ravel()])


class Pair:
    """A fast environment and an official one, driven alike and compared at each step.

    With `both`, a second fast environment has the other visibility of the goal and the other
    reward: the official one need not simulate again to say what these are. Its observation then
    differs in the goal alone, and the same `evaluate_state` gives the other reward.
    """

    def __init__(self, task: str, hidden: bool = True, version: str = "v2", both: bool = False):
        self.task, self.hidden, self.version = task, hidden, version
        self.successes = 0
        self.errors: Counter[str] = Counter()
        self.ours = TaskEnv(task, reward_version=version, goal_hidden=hidden, fast=True)
        self.official = ALL_V3_ENVIRONMENTS[task](reward_function_version=version)
        self.others: list[TaskEnv] = []
        if both:
            other = "v1" if version == "v2" else "v2"
            self.others = [TaskEnv(task, reward_version=other, goal_hidden=not hidden, fast=True)]

    def reset(self, goal: np.ndarray) -> np.ndarray:
        data = {"rand_vec": goal, "env_cls": type(self.official)}
        data["partially_observable"] = self.hidden
        self.official.set_task(Task(self.task, pickle.dumps(data)))
        if self.others:  # assembly-v3 needs its reward v1 reset for reward v1, not the reverse
            self.official.reward_function_version = "v1"
        theirs = self.official.reset()[0]
        self.official.reward_function_version = self.version
        for env in (self.ours, *self.others):
            env.set_goal(goal)
            ours = env.reset()
            assert ours.shape == (39,)
            assert ours.dtype == np.float64
            assert same(ours[:36], theirs[:36]), f"{self.task}: first observation"
            assert same(state(env.env), state(self.official)), f"{self.task}: state after reset"
            goal_seen = self.official._target_pos if env in self.others else theirs[36:]
            assert same(ours[36:], goal_seen if self.hidden or env is self.ours else np.zeros(3))
        return theirs.copy()

    def step(self, action: np.ndarray) -> np.ndarray | None:
        """Step all; the observation, or None where official code raises, and ours the same."""
        official = self.official
        at = f"{self.task}, step {official.curr_path_length}"
        obs = self._check(self.ours, action, at, lambda: official.step(action))
        for env in self.others:
            self._check(env, action, at, functools.partial(self._other_step, action))
        return obs

    def _other_step(self, action: np.ndarray) -> tuple:
        """What the official environment's last step would have returned in the other variant."""
        official, version = self.official, self.version
        obs = official._last_stable_obs.copy()
        space = official.goal_space
        obs[36:] = np.clip(official._target_pos, space.low, space.high) if self.hidden else 0.0
        official.reward_function_version = "v1" if version == "v2" else "v2"
        try:
            reward, info = official.evaluate_state(obs, action)
        finally:
            official.reward_function_version = version
        return obs, reward, False, False, info

    def _check(
        self, env: TaskEnv, action: np.ndarray, at: str, official_step: Callable[[], tuple]
    ) -> np.ndarray | None:
        COUNT["steps"] += 1
        try:
            obs, reward, _, _, info = official_step()
        except Exception as error:
            with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
                env.step(action)
            self.errors[f"{self.task}: {error!r}"] += 1
            return None
        result = env.step(action)
        assert same(result.obs, obs), f"{at}: observation {result.obs - obs}"
        assert same(result.reward, reward), f"{at}: reward {result.reward} and {reward}"
        assert result.success == (info["success"] == 1), at
        assert result.info.keys() == info.keys(), at
        for key, value in info.items():
            assert same(result.info[key], value), f"{at}: {key} {result.info[key]} and {value}"
        self.successes += result.success
        result.obs[:] = math.nan  # what is returned is ours to write on
        return obs

    def episode(self, goal: np.ndarray, seed: int, scripted: bool, length: int) -> None:
        rng = np.random.default_rng(seed)
        policy = ENV_POLICY_MAP[self.task]()
        obs: np.ndarray | None = self.reset(goal)
        for _ in range(length):
            if obs is None:
                break
            if scripted:
                obs[36:39] = self.official._target_pos
                action = policy.get_action(obs) + (seed % 2) * rng.normal(scale=0.1, size=4)
            else:
                action = rng.normal(scale=1.0, size=4)
            obs = self.step(np.clip(action, -1.2, 1.2).astype(np.float32))
        for env in (self.ours, *self.others):
            assert same(state(env.env), state(self.official)), f"{self.task}: state at the end"
        COUNT["episodes"] += 1
