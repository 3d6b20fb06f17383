"""Streams as Gymnasium environments: the task changes after so many steps.

    env = gymnasium.make("Strata/CW10", seed=1, use_one_hot=True)

Task order and budgets after Continual World (Wołczyk et al. 2021, arXiv 2105.10919) on Meta-World's
v3 tasks: figures are not comparable with those of the v1 tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import metaworld
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding

from envs.memory_tests.fork_streams import FORK_STREAMS
from envs.metaworld.goals import without_settling
from envs.metaworld.gym_task import TaskMaker
from envs.metaworld.streams import make_stream
from envs.metaworld.task_env import ACTION_DIM, MAX_HORIZON, OBS_DIM


class StreamEnv(gym.Env[np.ndarray, np.ndarray]):
    """Tasks one after another, each for `phase_steps` steps; each reset draws one of 50 goals.

    A phase's last step truncates its episode, and the next reset begins the next phase. Rewards
    and observations are Meta-World's. ``info`` has ``task``, ``task_index`` (its place among the
    stream's distinct tasks), ``phase`` (from 0) and ``goal_index`` after resets and steps; after a
    step ``is_success`` beside Meta-World's own. Several environments in a vector have a stream
    each, and each counts its own steps.

    Args:
        stream: ``CW10``, ``CW20``, ``CL5x2`` or ``custom``.
        tasks: the order of a custom stream.
        cycles: how often the order is gone through; None: as the stream has it.
        phase_steps: environment steps of a phase; None: as the stream has it.
        horizon: steps of an episode, at most 500.
        seed: of the goals and of the choice among them; ``reset(seed=)`` renews the choice and
            leaves the stream where it is.
        goal_hidden: show zeros in place of the goal.
        use_one_hot: append the task's identity to the observation, one number per distinct task.
        render_mode: Meta-World's, e.g. ``rgb_array``.
        options: of Meta-World's classes, e.g. ``reward_function_version``, ``camera_name``.

    Raises:
        ValueError: a stream that does not exist, or a horizon out of range.
    """

    metadata = {  # noqa: RUF012 - Gymnasium's own convention
        "render_modes": ["rgb_array", "depth_array"],
        "render_fps": 80,
    }

    def __init__(
        self,
        stream: str = "CW10",
        *,
        tasks: Sequence[str] = (),
        cycles: int | None = None,
        phase_steps: int | None = None,
        horizon: int = MAX_HORIZON,
        seed: int = 1,
        goal_hidden: bool = False,
        use_one_hot: bool = False,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if stream in FORK_STREAMS:
            raise ValueError(f"{stream} is of FORK trials: use Strata/FORK-joint or -reach-8")
        self.stream = make_stream(stream, tasks=tasks, cycles=cycles, phase_steps=phase_steps)
        if not 1 <= horizon <= MAX_HORIZON:
            raise ValueError(f"horizon must be from 1 to {MAX_HORIZON}, not {horizon}")
        self.render_mode, self.steps = render_mode, 0
        self._horizon, self._seed, self._one_hot = horizon, seed, use_one_hot
        self._benchmark = metaworld.ML1 if goal_hidden else metaworld.MT1
        self._options = {**options, "render_mode": render_mode}
        width = OBS_DIM + use_one_hot * len(self.stream.tasks)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (width,), np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)
        self._np_random, self._np_random_seed = seeding.np_random(seed)
        self._task, self._env, self._goals = "", None, []
        self._left = 0  # steps of the episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode of the phase that the stream has reached, with a goal drawn for it."""
        super().reset(seed=seed)
        self._phase = self.stream.phase_at(self.steps)
        if self._task != self._phase.task:
            self._enter(self._phase.task)
        goal = int(self.np_random.integers(len(self._goals)))
        self._where = {
            "task": self._task,
            "task_index": self.stream.tasks.index(self._task),
            "phase": self._phase.number,
            "goal_index": goal,
        }
        env: Any = self._env
        env.set_task(self._goals[goal])
        obs, _ = env.reset()
        self._left = self._horizon
        return self._shown(obs), dict(self._where)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step; truncated at the end of the episode or of the phase.

        Raises:
            ResetNeeded: there was no reset yet, the episode is over, or the stream is.
        """
        if self.steps >= self.stream.total_steps:
            raise ResetNeeded(f"the stream is over after {self.steps:,} steps: make a new one")
        if not self._left:
            raise ResetNeeded("call reset() before step(), and after each episode")
        env: Any = self._env
        obs, reward, _, _, info = env.step(action)
        self.steps += 1
        self._left -= 1
        if self.steps == self._phase.end:
            self._left = 0
        info = {**info, **self._where, "is_success": bool(info["success"])}
        return self._shown(obs), float(reward), False, not self._left, info

    def render(self) -> Any:
        """A picture of the current task, by Meta-World's own camera."""
        if self._env is None:
            raise ResetNeeded("call reset() before render()")
        return self._env.render()

    def close(self) -> None:
        """Free the simulator; idempotent."""
        if self._env is not None:
            self._env.close()
        self._task, self._env, self._left = "", None, 0

    def _enter(self, task: str) -> None:
        """Make the environment of a phase and draw its goals."""
        self.close()
        self._env, self._task = TaskMaker(task)(**self._options), task
        with without_settling():
            self._goals = self._benchmark(task, seed=self._seed).train_tasks

    def _shown(self, obs: np.ndarray) -> np.ndarray:
        if not self._one_hot:
            return obs
        identity = np.zeros(len(self.stream.tasks))
        identity[self._where["task_index"]] = 1.0
        return np.concatenate([obs, identity])
