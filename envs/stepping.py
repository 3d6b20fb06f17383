"""One Meta-World task, stepped fast and bit-exactly as the official environment."""

from __future__ import annotations

import logging
import pickle
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.types import Task

if TYPE_CHECKING:
    from metaworld.sawyer_xyz_env import SawyerXYZEnv

OBS_DIM: Final = 39
ACTION_DIM: Final = 4
MAX_HORIZON: Final = 500
TASKS: Final[tuple[str, ...]] = tuple(sorted(ALL_V3_ENVIRONMENTS))
VERIFIED: Final = {"metaworld": "3.1.1", "mujoco": "3.3.0"}

_log = logging.getLogger(__name__)
# Without a handler MuJoCo prints its warnings and appends them to MUJOCO_LOG.TXT in the cwd.
mujoco.set_mju_user_warning(lambda message: _log.debug("MuJoCo: %s", message))


class StepResult(NamedTuple):
    """What one step returns: obs (39,) float64, scalars, and the task's own info dict."""

    obs: np.ndarray
    reward: float
    success: bool
    fault: bool
    info: dict[str, Any]


def _verified() -> bool:
    return all(version(name) == wanted for name, wanted in VERIFIED.items())


class TaskEnv:
    """One Meta-World task, stepped fast and bit-exactly as the official environment."""

    def __init__(
        self,
        task: str,
        *,
        reward_version: str = "v2",
        goal_hidden: bool = True,
        fast: bool | None = None,
    ) -> None:
        if task not in ALL_V3_ENVIRONMENTS:
            raise ValueError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
        if reward_version not in ("v1", "v2"):
            raise ValueError(f"reward_version must be 'v1' or 'v2', got {reward_version!r}")
        if fast is None and not _verified():
            warnings.warn("unverified Meta-World or MuJoCo: official stepping", stacklevel=2)
        self.task = task
        self.fast = _verified() if fast is None else fast
        self._cls = ALL_V3_ENVIRONMENTS[task]
        self._env: SawyerXYZEnv = self._cls(reward_function_version=reward_version)
        self._hidden = goal_hidden
        self._ready = False
        self._faults = self._env.data.warning.number

    @property
    def env(self) -> SawyerXYZEnv:
        """The underlying official environment, for rendering (`.model`, `.data`)."""
        return self._env

    def set_goal(self, rand_vec: np.ndarray) -> None:
        """Choose the goal; equals the official `set_task` with that `rand_vec` (float64)."""
        data = {
            "rand_vec": np.array(rand_vec, dtype=np.float64),
            "env_cls": self._cls,
            "partially_observable": self._hidden,
        }
        self._env.set_task(Task(env_name=self.task, data=pickle.dumps(data)))
        self._ready = False

    def reset(self) -> np.ndarray:
        """Start an episode; returns the first observation, (39,) float64."""
        obs, _ = self._env.reset()
        self._faults[:] = 0
        self._ready = True
        return obs

    def step(self, action: np.ndarray) -> StepResult:
        """Apply one (4,) float32 action.

        Raises:
            ValueError: the action is not finite, or the episode is over.
            RuntimeError: there was no `set_goal` and `reset` before.
        """
        if not np.isfinite(action).all():
            raise ValueError(f"{self.task}: non-finite action {action}")
        if not self._ready:
            raise RuntimeError(f"{self.task}: call set_goal() and reset() before step()")
        self._faults[:] = 0
        obs, reward, _, _, info = self._env.step(action)
        fault = bool(self._faults.any())
        return StepResult(obs, float(reward), info["success"] == 1, fault, info)

    def close(self) -> None:
        """Free rendering contexts, if any were made."""
        self._env.close()
