"""Meta-World's own meta-evaluation of our agent: the figure that published tables show.

`metaworld.evaluation.metalearning_evaluation` (Meta-World 3.1.1) drives `OfficialAgent`, our agent
behind its protocol, on Meta-World's own environments and wrappers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import TimeoutError as StepTimeout
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from envs.metaworld.suites import Suite
from envs.metaworld.task_env import MAX_HORIZON
from envs.pool.pool import Policy, WorkerError
from eval.official.protocol import OfficialAgent

ADAPTATION_EPISODES = 10
EVALUATION_EPISODES = 3
STALL_SECONDS = 120.0
OVER_REPORTS = (
    "over-reports: it counts the first 3 episodes of a task that finish in any of its environments,"
    " and a success finishes early, so one solved goal is counted several times"
)
# Environments and goals per task, from Meta-World's documentation and examples. ML25's and a
# custom suite's are ours. The default of make_vec, 20 environments and 50 goals, does not divide.
_BATCH = {"ML1": (10, 50), "ML10": (20, 40), "ML25": (20, 40), "ML45": (45, 45), "custom": (20, 40)}


@dataclass(frozen=True)
class OfficialPlan:
    """How an official evaluation is run.

    Attributes:
        rounds: each adapts to new goals, until all were used.
        environments: stepped in parallel, equally many per task.
        goals: goals per task that the rounds draw from, the first of the suite's.
        horizon: steps of an episode; only 500 gives the official figure.
    """

    rounds: int
    environments: int
    goals: int
    horizon: int

    @property
    def steps(self) -> int:
        """Environment steps, about: evaluation ends with the third success or the first timeout."""
        return self.rounds * self.environments * (ADAPTATION_EPISODES + 1) * self.horizon


@dataclass(frozen=True)
class OfficialResult:
    """What `metalearning_evaluation` reported.

    Attributes:
        plan: how it was run.
        success: mean over tasks; biased upwards, see `OVER_REPORTS`.
        mean_return: mean return of the counted episodes, which a success cuts short.
        task_success: the same by task.
        seconds: wall-clock time.
    """

    plan: OfficialPlan
    success: float
    mean_return: float
    task_success: dict[str, float]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON values, with the warning that belongs to them."""
        return {**asdict(self), "warning": OVER_REPORTS}


def official_plan(
    suite: Suite, split: str, rounds: int | None = None, horizon: int = MAX_HORIZON
) -> OfficialPlan:
    """Meta-World's own numbers for this suite; without `rounds`, as many as use each goal once.

    Raises:
        ValueError: the suite is not for meta-learning, or has no such split.
    """
    if not suite.goal_hidden:
        raise ValueError(f"{suite.name}: Meta-World's meta-evaluation is for the ML suites only")
    chosen = suite.split(split)
    total, goals = _BATCH[suite.name]
    fewest = min(map(len, chosen.values()))
    per_task = min(max(1, total // len(chosen)), fewest)
    goals = min(goals, fewest) // per_task * per_task
    return OfficialPlan(rounds or goals // per_task, per_task * len(chosen), goals, horizon)


def official_evaluation(
    policy: Policy,
    envs: gym.vector.VectorEnv,
    plan: OfficialPlan,
    *,
    seed: int,
    on_steps: Callable[[int], None] = lambda steps: None,
) -> OfficialResult:
    """Run Meta-World's `metalearning_evaluation` on our agent.

    Each round: 10 stochastic adaptation episodes, then evaluation, deterministic or repeating the
    best of the ten, until each task has 3 finished episodes.

    Args:
        policy: the agent, as `train.collect.acting_policy` gives it.
        envs: from `official_envs`.
        plan: from `official_plan`.
        seed: seed of the exploration noise.
        on_steps: called with the environment steps done so far.
    """
    from metaworld.evaluation import metalearning_evaluation

    began, done = time.perf_counter(), 0

    def count() -> None:
        nonlocal done
        done += plan.environments
        on_steps(done)

    agent = OfficialAgent(policy, plan.environments, seed=seed, on_step=count)
    success, mean_return, by_task = metalearning_evaluation(
        agent,
        envs,  # pyright: ignore[reportArgumentType] - a Sync- or AsyncVectorEnv
        num_evals=plan.rounds,
        adaptation_episodes=ADAPTATION_EPISODES,
        evaluation_episodes=EVALUATION_EPISODES,
    )
    return OfficialResult(
        plan=plan,
        success=success,
        mean_return=mean_return,
        task_success={task: float(by_task[task]) for task in sorted(by_task)},
        seconds=time.perf_counter() - began,
    )


@contextmanager
def official_envs(
    suite: Suite, split: str, plan: OfficialPlan, *, workers: int = 1
) -> Iterator[gym.vector.VectorEnv]:
    """What Meta-World's `make_ml_envs` makes, on the suite's own goals.

    Not made by `gymnasium.make_vec`: its ``ML1-train`` is the test split, it cannot make the test
    split of a custom suite, and it draws all goals anew.

    Args:
        suite: an ML suite.
        split: ``train`` or ``test``.
        plan: from `official_plan`.
        workers: environments that step at the same time, each in its own process, forked where
            the system forks: make them before starting threads; 1: no processes.

    Raises:
        WorkerError: an environment's process died or took no step for `STALL_SECONDS`.
    """
    makers = official_makers(suite, split, plan)
    if workers == 1:
        envs = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    else:
        same_step = AutoresetMode.SAME_STEP
        envs = _Processes(makers, autoreset_mode=same_step, max_concurrency=workers)
    try:
        yield envs
    except BaseException as error:
        if isinstance(envs, _Processes):
            envs.kill()
        if isinstance(error, EOFError | ConnectionError | StepTimeout):
            raise WorkerError(f"an environment of the official evaluation: {error!r}") from error
        raise
    finally:
        envs.close()


def official_makers(suite: Suite, split: str, plan: OfficialPlan) -> list[partial[gym.Env]]:
    """One maker per environment, as `make_ml_envs` makes them: a task's goals are dealt in turn.

    Args:
        suite: an ML suite.
        split: ``train`` or ``test``.
        plan: how many environments, goals and steps.
    """
    import metaworld
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    chosen, makers = suite.split(split), []
    per_task = plan.environments // len(chosen)
    for name, vectors in chosen.items():
        cls = ALL_V3_ENVIRONMENTS[name]
        hidden = {"env_cls": cls, "partially_observable": True}
        tasks = [
            metaworld._encode_task(name, {"rand_vec": np.array(vector), **hidden})
            for vector in vectors[: plan.goals]
        ]
        makers += [
            partial(
                metaworld._init_each_env,
                env_cls=cls,
                tasks=tasks[first::per_task],
                seed=suite.seed,
                max_episode_steps=plan.horizon,
                task_select="pseudorandom",
                recurrent_info_in_obs=True,
            )
            for first in range(per_task)
        ]
    return makers


class _Processes(AsyncVectorEnv):
    """One process per environment; a wait has an end, and so has closing after a failure."""

    # Gymnasium's own `step`, `reset` and `call` would wait for a hung environment for ever.

    def step_wait(self, timeout: float | None = STALL_SECONDS) -> Any:
        """As in Gymnasium, with a deadline."""
        return super().step_wait(timeout)

    def reset_wait(self, timeout: float | None = STALL_SECONDS) -> Any:
        """As in Gymnasium, with a deadline."""
        return super().reset_wait(timeout)

    def call_wait(self, timeout: float | None = STALL_SECONDS) -> Any:
        """As in Gymnasium, with a deadline."""
        return super().call_wait(timeout)

    def kill(self) -> None:
        """End all processes now: after a failure Gymnasium's `close` can wait for ever."""
        for process in self.processes:
            process.kill()
            process.join()
        for pipe in self.parent_pipes:
            if pipe is not None:
                pipe.close()
        self.closed = True
