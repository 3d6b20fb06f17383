"""Meta-World's own environment classes with fast steps and resets, for Meta-World's own wrappers.

    env = TaskMaker("reach-v3")(render_mode="rgb_array")
    env.set_task(metaworld.MT1("reach-v3", seed=1).train_tasks[0])

Everything but `step`, `reset` and the choice of OpenGL is inherited, so that other people's code
finds what it knows. `TaskEnv` is what Strata itself steps.
"""

from __future__ import annotations

import functools
import logging
import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from envs.metaworld.fast_step import FastStepper
from envs.metaworld.fast_task import GoalRefusedError, fast_class
from envs.metaworld.task_env import steps_fast
from envs.viewing import gl

if TYPE_CHECKING:
    from metaworld.sawyer_xyz_env import SawyerXYZEnv
    from metaworld.types import Task

_log = logging.getLogger(__name__)


class FastGym:
    """`step`, `reset` and `render` in place of `SawyerXYZEnv`'s; the rest is its own."""

    _stepper: FastStepper | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Names that were looked up hold the data, and the collector does not see it.
        weakref.finalize(self, self.data.release).atexit = False  # type: ignore[attr-defined]

    def set_task(self: Any, task: Task) -> None:
        """Choose the goal, as officially. Needs a `reset` after it."""
        hidden = self._partially_observable
        super().set_task(task)  # type: ignore[misc]
        if self._stepper is None or hidden != self._partially_observable:
            self._stepper = FastStepper(self)

    def reset(
        self: Any, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode. As officially, `seed` and `options` do not matter.

        Raises:
            RuntimeError: no task was set, or goals are to be drawn by the environment itself.
            ValueError: the task refuses the goal.
        """
        if self._stepper is None or not self._freeze_rand_vec:
            raise RuntimeError("call set_task() before reset(): it chooses the goal")
        self.draws = 0
        try:
            return self._stepper.reset(self._last_rand_vec.tobytes()), {}
        except GoalRefusedError:
            raise ValueError(f"{self.task_name} refuses the goal {self._last_rand_vec}") from None

    def evaluate_state(
        self: Any, obs: np.ndarray, action: np.ndarray
    ) -> tuple[float, dict[str, Any]]:
        """As officially; keeps the reward as it is: returns of float32 rewards add up otherwise."""
        self._reward, info = super().evaluate_state(obs, action)  # type: ignore[misc]
        return self._reward, info

    def step(self: Any, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step, truncated at the last one that Meta-World allows.

        Raises:
            RuntimeError: no task was set.
            ValueError: the action is not four finite numbers, or the episode is over.
        """
        if self._stepper is None:
            raise RuntimeError("call set_task() and reset() before step()")
        if len(action) != 4 or not np.isfinite(action).all():
            raise ValueError(f"an action is 4 finite numbers, not {action}")
        if self.curr_path_length >= self.max_path_length:
            raise ValueError("the episode is over: call reset()")
        found = self._stepper.step(action, None)
        if found.fault:
            _log.warning("%s: the simulation blew up in this step", self.task_name)
        ended = self.curr_path_length == self.max_path_length
        return found.obs, self._reward, False, ended, found.info

    def render(self: Any) -> Any:
        """A picture as officially, by an OpenGL library that works here unless MUJOCO_GL names one.

        Raises:
            GLError: nothing can be rendered here.
        """
        viewer = self.mujoco_renderer.viewer
        if viewer is not None:
            viewer.make_context_current()  # another environment may have drawn in between
        if viewer is not None or self.render_mode == "human" or os.environ.get("MUJOCO_GL"):
            return super().render()  # type: ignore[misc]
        os.environ["MUJOCO_GL"] = gl.backend()
        try:
            return super().render()  # type: ignore[misc]
        finally:
            del os.environ["MUJOCO_GL"]


@functools.cache
def gym_class(official: type[SawyerXYZEnv]) -> type[SawyerXYZEnv]:
    """The subclass of an official class, of the same name, that steps fast."""
    return type(official.__name__, (FastGym, fast_class(official)), {})


@dataclass(frozen=True)
class TaskMaker:
    """What to give to Meta-World's own code in place of an environment class.

    Its text is that of the official class, because checkpoints of Meta-World's wrappers go by it.

    Attributes:
        task: a name in `TASKS`.
    """

    task: str

    def __str__(self) -> str:
        return str(ALL_V3_ENVIRONMENTS[self.task])

    def __call__(self, **options: Any) -> SawyerXYZEnv:
        """An environment, with the official class's own arguments."""
        official = ALL_V3_ENVIRONMENTS[self.task]
        return (gym_class(official) if steps_fast() else official)(**options)
