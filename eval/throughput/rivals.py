"""What steps Meta-World, each as a `Contender`: today's tools and ours, on the same tasks.

All take uniformly random actions but ours with a policy, and all step episodes of 500 steps with
their resets included.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from agents.rl2 import AgentConfig, RL2Agent
from envs.metaworld import primitives
from envs.metaworld.gym_stream import StreamEnv
from envs.metaworld.gym_task import TaskMaker
from envs.metaworld.suites import Suite
from envs.metaworld.task_env import ACTION_DIM, MAX_HORIZON, TaskEnv
from envs.pool.pool import Policy, WorkerPool, available_cores
from envs.pool.vector_env import TrialVectorEnv
from envs.trials.trial import Trial
from envs.trials.trial_env import TrialEnv
from eval.official.meta_evaluation import OfficialPlan, official_makers
from eval.throughput.physics import Physics
from train.collect import acting_policy

LANES = 10


@dataclass(frozen=True)
class Setup:
    """What all contenders are given.

    Attributes:
        suite: the tasks.
        envs: environments stepped together, a multiple of the number of tasks.
        seed: seed of actions, goals and weights.
        fast: whether `makers` are those of our Gymnasium ids.
    """

    suite: Suite
    envs: int
    seed: int = 1
    fast: bool = False

    @property
    def makers(self) -> list[Callable[[], gym.Env]]:
        """What `gym.make_vec("Meta-World/ML10-train")` gives to its vector environment.

        With `fast`, what `gym.make_vec("Strata/ML10-train")` gives.
        """
        per_task = self.envs // len(self.suite.tasks)
        goals = min(map(len, self.suite.train.values())) // per_task * per_task
        plan = OfficialPlan(1, self.envs, goals, MAX_HORIZON)
        official = official_makers(self.suite, "train", plan)
        return [partial(_with_a_task, _fast(make) if self.fast else make) for make in official]


def _fast(make: partial[gym.Env]) -> partial[gym.Env]:
    """The same as our ids make it: Meta-World's wrappers on our environment."""
    return partial(make, env_cls=TaskMaker(make.keywords["tasks"][0].env_name))


def _with_a_task(make: Callable[[], gym.Env]) -> gym.Env:
    """Meta-World's environments cannot be reset before they were told to choose a task."""
    env = make()
    env.get_wrapper_attr("sample_tasks")()
    return env


class Contender(Protocol):
    """One way to take environment steps."""

    def run(self, steps: int) -> int:
        """Take at least `steps` environment steps, as few as it can; returns how many."""
        ...

    def close(self) -> None:
        """End all processes."""
        ...


class Single:
    """The official environments one after the other in one process, an equal part of steps each."""

    def __init__(self, setup: Setup) -> None:
        makers, each = setup.makers, setup.envs // len(setup.suite.tasks)
        self._envs: list[Any] = [make() for make in makers[::each]]
        self._rng = np.random.default_rng(setup.seed)
        for env in self._envs:
            env.reset()

    def run(self, steps: int) -> int:
        """See `Contender`."""
        each = -(-steps // len(self._envs))
        for env in self._envs:
            for action in self._rng.uniform(-1, 1, (each, ACTION_DIM)).astype(np.float32):
                self._step(env, action)
        return each * len(self._envs)

    @staticmethod
    def _step(env: Any, action: np.ndarray) -> None:
        _, _, ended, cut, _ = env.step(action)
        if ended or cut:
            env.reset()

    def close(self) -> None:
        """See `Contender`."""
        for env in self._envs:
            env.close()


class SingleOurs(Single):
    """Our environments, stepped as `Single` steps the official ones, each on one goal."""

    def __init__(self, setup: Setup) -> None:
        self._envs = [TaskEnv(task) for task in setup.suite.tasks]
        self._rng = np.random.default_rng(setup.seed)
        for env, goals in zip(self._envs, setup.suite.train.values(), strict=True):
            env.set_goal(np.array(goals[0]))
            env.reset()

    @staticmethod
    def _step(env: Any, action: np.ndarray) -> None:
        env.step(action)
        if env.env.curr_path_length == MAX_HORIZON:
            env.reset()


class Stream(Single):
    """What `gym.make("Strata/Stream")` makes, as CW10 is made: a task after the other, for ever."""

    def __init__(self, setup: Setup) -> None:
        tasks, phase = setup.suite.tasks, 4 * MAX_HORIZON
        self._envs = [StreamEnv("custom", tasks=tasks, cycles=1000, phase_steps=phase)]
        self._rng = np.random.default_rng(setup.seed)
        self._envs[0].reset()


class SingleTrial(Single):
    """What `gym.make("Strata/Trials")` makes: one trial of four episodes at a time."""

    def __init__(self, setup: Setup) -> None:
        self._envs = [TrialEnv(_trials(setup))]
        self._rng = np.random.default_rng(setup.seed)
        self._envs[0].reset()


def _trials(setup: Setup) -> list[Trial]:
    return setup.suite.sample_trials(
        setup.envs, episodes=4, horizon=MAX_HORIZON, iteration=0, seed=setup.seed
    )


class _Vector:
    """A vector environment of somebody else's, stepped as a whole with random actions."""

    def __init__(self, envs: Any, setup: Setup) -> None:
        self._envs = envs
        self._rng, self._count = np.random.default_rng(setup.seed), setup.envs

    def run(self, steps: int) -> int:
        """See `Contender`."""
        rounds = -(-steps // self._count)
        for _ in range(rounds):
            self._envs.step(self._rng.uniform(-1, 1, (self._count, ACTION_DIM)).astype(np.float32))
        return rounds * self._count

    def close(self) -> None:
        """See `Contender`."""
        self._envs.close()


class GymVector(_Vector):
    """What `gym.make_vec` makes of Meta-World: Gymnasium's own vector environments.

    Args:
        setup: see there.
        kind: AsyncVectorEnv (one process per environment) or SyncVectorEnv (none).
    """

    def __init__(self, setup: Setup, kind: type[gym.vector.VectorEnv]) -> None:
        envs = kind(setup.makers, autoreset_mode=AutoresetMode.SAME_STEP)  # type: ignore[call-arg]
        super().__init__(envs, setup)
        self._envs.reset(seed=setup.seed)


class TrialVector(_Vector):
    """What `gym.make_vec("Strata/Trials")` makes: trials of four episodes in the worker pool."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(TrialVectorEnv(_trials(setup)), setup)
        self._envs.reset()


class Subproc(_Vector):
    """Stable-Baselines3's SubprocVecEnv: one process per environment."""

    def __init__(self, setup: Setup) -> None:
        from stable_baselines3.common.vec_env import SubprocVecEnv

        super().__init__(SubprocVecEnv(setup.makers), setup)
        self._envs.reset()


class EnvPool:
    """EnvPool's native C++ Meta-World, one pool per task, all stepped at the same time.

    A speed reference only: it draws a new goal at every reset, so it cannot run trials, and links
    another MuJoCo.
    """

    def __init__(self, setup: Setup) -> None:
        import envpool  # pyright: ignore[reportMissingImports] - the bench extra
        from envpool.mujoco.metaworld.registration import (  # pyright: ignore[reportMissingImports]
            metaworld_task_id,
        )

        tasks = setup.suite.tasks
        self._each = setup.envs // len(tasks)
        threads = max(1, available_cores() // len(tasks))
        self._pools = [
            envpool.make(
                metaworld_task_id(task),
                env_type="gymnasium",
                num_envs=self._each,
                num_threads=threads,
                seed=setup.seed,
            )
            for task in tasks
        ]
        self._rng = np.random.default_rng(setup.seed)
        for pool in self._pools:
            pool.reset()

    def run(self, steps: int) -> int:
        """See `Contender`."""
        together = self._each * len(self._pools)
        rounds = -(-steps // together)
        for _ in range(rounds):
            for pool in self._pools:
                pool.send(self._rng.uniform(-1, 1, (self._each, ACTION_DIM)))
            for pool in self._pools:
                pool.recv()
        return rounds * together

    def close(self) -> None:
        """See `Contender`."""
        for pool in self._pools:
            pool.close()


class Ours:
    """Our worker pool, one worker per core, with or without an agent in the loop.

    Args:
        setup: see there.
        agent: act by an untrained agent of the default size; else by random actions.
    """

    def __init__(self, setup: Setup, *, agent: bool) -> None:
        self._setup, self._iteration = setup, 0
        self._policy = Policy("random")
        if agent:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(setup.seed)
                self._policy = acting_policy(RL2Agent(AgentConfig()))
        self._pool = WorkerPool()

    def run(self, steps: int) -> int:
        """See `Contender`; the steps are dealt to trials of equal length."""
        setup = self._setup
        each = -(-steps // setup.envs)
        episodes = -(-each // MAX_HORIZON)
        trials = setup.suite.sample_trials(
            setup.envs,
            episodes=episodes,
            horizon=-(-each // episodes),
            iteration=self._iteration,
            seed=setup.seed,
        )
        self._iteration += 1
        lanes = min(LANES, -(-setup.envs // self._pool.workers))
        batch = self._pool.run(trials, self._policy, lanes=lanes)
        return batch.rewards.size

    def close(self) -> None:
        """See `Contender`."""
        self._pool.close()


class OursInPython(Ours):
    """`Ours` with an agent, its workers stepping without what was compiled."""

    def __init__(self, setup: Setup) -> None:
        before = os.environ.get("STRATA_COMPILED")
        os.environ["STRATA_COMPILED"] = "0"  # which the workers read when they start
        try:
            super().__init__(setup, agent=True)
        finally:
            if before is None:
                del os.environ["STRATA_COMPILED"]
            else:
                os.environ["STRATA_COMPILED"] = before


def nothing_compiled() -> str:
    """What to say where everything is stepped in Python; empty where it is not."""
    return "" if primitives.compiled else "nothing was compiled: it would be ours-policy again"


def missing(module: str) -> str:
    """What to say where `module` is not installed; empty where it is."""
    if importlib.util.find_spec(module) is not None:
        return ""
    return f"{module} is not installed: pip install -e '.[bench]'"


@dataclass(frozen=True)
class Entry:
    """A contender that can be chosen by name.

    Attributes:
        title: its line in the table.
        make: constructs it.
        absent: why it cannot run here; empty if it can.
    """

    title: str
    make: Callable[[Setup], Contender]
    absent: Callable[[], str] = lambda: ""


STEPPING: dict[str, Entry] = {
    "official": Entry("official environment, one process", Single),
    "gym-sync": Entry("gym.make_vec, sync", lambda setup: GymVector(setup, SyncVectorEnv)),
    "gym-async": Entry("gym.make_vec, async", lambda setup: GymVector(setup, AsyncVectorEnv)),
    "strata-sync": Entry(
        "gym.make_vec of Strata's ids, sync",
        lambda setup: GymVector(replace(setup, fast=True), SyncVectorEnv),
    ),
    "strata-async": Entry(
        "gym.make_vec of Strata's ids, async",
        lambda setup: GymVector(replace(setup, fast=True), AsyncVectorEnv),
    ),
    "strata-single": Entry(
        "gym.make of Strata's ids, one process", lambda setup: Single(replace(setup, fast=True))
    ),
    "strata-stream": Entry("Strata/Stream, as CW10, one process", Stream),
    "strata-trial": Entry("gym.make of Strata/Trials, one process", SingleTrial),
    "strata-trials": Entry("gym.make_vec of Strata/Trials, a message per step", TrialVector),
    "sb3-subproc": Entry("SB3 SubprocVecEnv", Subproc),
    "envpool": Entry(
        "EnvPool, C++ (other physics, no trials)", EnvPool, lambda: missing("envpool")
    ),
    "ours-single": Entry("Strata's environment, one process", SingleOurs),
    "ours": Entry("Strata, random actions", lambda setup: Ours(setup, agent=False)),
    "ours-policy": Entry("Strata, policy in the loop", lambda setup: Ours(setup, agent=True)),
    "ours-python": Entry("the same, stepped in Python", OursInPython, nothing_compiled),
    "physics": Entry(
        "native physics limit, all cores",
        lambda setup: Physics(setup.suite.train, seed=setup.seed),
    ),
}
