"""One Meta-World task, stepped fast and bit-exactly as the official environment.

    env = TaskEnv("reach-v3")
    env.set_goal(rand_vec)
    obs = env.reset()
    obs, reward, success, fault, info = env.step(action)

`fast_task` runs the task's own code over `primitives`, `fast_step` replaces the step and the
reset around it; here are the choice between them and the official environment, and the checks.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco has no stubs)
from __future__ import annotations

import functools
import importlib.metadata
import logging
import math
import warnings
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from envs.metaworld import primitives
from envs.metaworld.fast_step import FastStepper, Judge, StepResult, judged
from envs.metaworld.fast_task import GoalRefusedError, bound_draws, fast_class

if TYPE_CHECKING:
    from metaworld.sawyer_xyz_env import SawyerXYZEnv

__all__ = ["ACTION_DIM", "MAX_HORIZON", "OBS_DIM", "TASKS", "VERIFIED", "StepResult", "TaskEnv"]

OBS_DIM: Final = 39
ACTION_DIM: Final = 4
MAX_HORIZON: Final = 500
TASKS: Final[tuple[str, ...]] = tuple(sorted(ALL_V3_ENVIRONMENTS))
VERIFIED: Final = {"metaworld": "3.1.1", "mujoco": "3.3.0"}
"""The versions on which fast stepping was shown to equal official stepping bit for bit."""

ROBOT_JOINTS: Final = ("right_", "r_close", "l_close")

_isfinite = math.isfinite
_log = logging.getLogger(__name__)
# Without a handler MuJoCo prints its warnings and appends them to MUJOCO_LOG.TXT in the cwd.
mujoco.set_mju_user_warning(lambda message: _log.debug("MuJoCo: %s", message))


def unverified() -> str:
    """Why fast stepping is refused here; empty if it is not."""
    installed = {name: importlib.metadata.version(name) for name in VERIFIED}
    if installed == VERIFIED:
        return ""
    return f"fast stepping was verified on {VERIFIED}, installed are {installed}"


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def steps_fast(wanted: bool | None = None) -> bool:
    """Whether to step fast, with one warning where that was to be but cannot be.

    Args:
        wanted: None: on verified versions.

    Raises:
        RuntimeError: `wanted` on versions that were not verified.
    """
    if wanted is False:
        return False
    if refusal := unverified():
        if wanted:
            raise RuntimeError(refusal)
        _warn_once(f"{refusal}; stepping officially, at about a fifth of the speed")
        return False
    if primitives.differences():
        _warn_once(f"not bit-equal on this machine and left official: {primitives.differences()}")
    return True


class TaskEnv:
    """One Meta-World task, stepped fast and bit-exactly as the official environment.

    Args:
        task: a name in `TASKS`.
        reward_version: Meta-World's reward functions, "v2" or "v1".
        goal_hidden: whether obs[36:39] are zeros (meta-learning) or the goal (multi-task).
        fast: True, False for official stepping, or None for fast stepping on verified versions
            of Meta-World and MuJoCo and official stepping, with one warning, on others.

    Raises:
        ValueError: unknown task or reward version.
        RuntimeError: `fast=True` on versions that were not verified.
    """

    task: str
    fast: bool

    def __init__(
        self,
        task: str,
        *,
        reward_version: str = "v2",
        goal_hidden: bool = True,
        fast: bool | None = None,
    ) -> None:
        if task not in ALL_V3_ENVIRONMENTS:
            raise ValueError(f"unknown task {task!r}; known are {', '.join(TASKS)}")
        if reward_version not in ("v1", "v2"):
            raise ValueError(f"reward_version must be 'v1' or 'v2', not {reward_version!r}")
        self.task = task
        self.fast = steps_fast(fast)
        official = ALL_V3_ENVIRONMENTS[task]
        cls = fast_class(official) if self.fast else official
        self._env: SawyerXYZEnv = cls(reward_function_version=reward_version)
        self._env._set_task_called = True
        self._env._freeze_rand_vec = True
        if not goal_hidden:
            # What the official `set_task` does where the visibility of the goal changes.
            self._env._partially_observable = False
            del self._env.sawyer_observation_space
        space = self._env._random_reset_space
        assert space is not None
        self._goal_shape = space.shape
        self._goal: bytes | None = None
        self._own_hand = self._env.hand_init_pos
        self._ready = False
        self._faults = self._env.data.warning.number
        self._stepper = FastStepper(self._env) if self.fast else None
        if self._stepper:
            weakref.finalize(self, self._env.data.release).atexit = False
        else:
            bound_draws(self._env)

    @property
    def env(self) -> SawyerXYZEnv:
        """The environment underneath, for rendering: read its `.model` and `.data`.

        Edits of `data.qpos` and `data.qvel` between steps are honoured; edits of the model are
        undone by the next reset. Its own `reset` and `step` are not to be called.
        """
        return self._env

    def set_goal(self, rand_vec: np.ndarray) -> None:
        """Choose the goal: the official `set_task` with this `rand_vec`. Needs a `reset` after it.

        Args:
            rand_vec: (3,) or (6,) float64, as Meta-World draws it for the task.

        Raises:
            ValueError: wrong shape, or not finite.
        """
        goal = np.array(rand_vec, dtype=np.float64)
        if goal.shape != self._goal_shape or not np.isfinite(goal).all():
            raise ValueError(f"{self.task}: a goal is {self._goal_shape} finite, not {rand_vec}")
        self._env._last_rand_vec = goal
        self._goal = goal.tobytes()
        self._ready = False

    def reset(self, hand: Sequence[float] | None = None) -> np.ndarray:
        """Start an episode; returns its first observation, (39,) float64.

        Args:
            hand: (3,) metres, where the hand is to start; None: where the task has it. It settles
                within a centimetre or two of a place that nothing stands in.

        Raises:
            RuntimeError: no goal was set.
            ValueError: the task refuses the goal: what it places would be too close together
                (officially it would draw for ever).
        """
        if self._goal is None:
            raise RuntimeError(f"{self.task}: call set_goal() before reset()")
        self._ready = False
        self._env.draws = 0
        start, self._env.hand_init_pos = self._goal, self._own_hand
        if hand is not None:
            place = self._env.hand_init_pos = np.array(hand, dtype=np.float64)
            start += place.tobytes()
        try:
            if self._stepper:
                obs = self._stepper.reset(start, returns=hand is None)
            else:
                obs = self._env.reset()[0]
        except GoalRefusedError:
            raise ValueError(
                f"{self.task} refuses the goal {np.frombuffer(self._goal).tolist()}: object and "
                "target are too close together; 0.25 m apart in x and y is enough for every task"
            ) from None
        self._faults[:] = 0
        self._ready = True
        return obs

    @property
    def target(self) -> np.ndarray:
        """(3,) metres: where the task wants its hand or object, since the last reset."""
        assert self._env._target_pos is not None
        return self._env._target_pos[:3].copy()

    @functools.cached_property
    def moves_hand(self) -> bool:
        """Whether the task's target is for the hand, and not for an object; ask after a reset.

        Meta-World's own measure says so: ``obj_to_target`` of a step's info, which counts for
        success, is then the distance from the fingers to the target, as in reach-v3.
        """
        env = self._env
        kept = dict(vars(env))  # bin-picking-v3 notes in its reward how far it was at first
        _, info = env.evaluate_state(env._get_obs(), np.zeros(ACTION_DIM, np.float32))
        vars(env).update(kept)
        return math.isclose(info["obj_to_target"], math.dist(env.tcp_center, self.target))

    @property
    def seen_target(self) -> np.ndarray:
        """(3,) metres: `target` as the observation would show the part there; after a reset.

        The observation's hand is the wrist, some centimetres above the fingers that are to come to
        the target.
        """
        if not self.moves_hand:
            return self.target
        return self.target + self._env.get_endeff_pos() - self._env.tcp_center

    @functools.cached_property
    def object_joint(self) -> tuple[float, float] | None:
        """Range of the joint that the task's door, drawer, window or button moves along.

        In radians or metres; None where nothing has one. It need not be the observed object's.
        """
        return None if self._joint is None else tuple(self._env.model.jnt_range[self._joint])

    @property
    def joint_position(self) -> float:
        """Where the object's joint is now, in radians or metres."""
        assert self._joint is not None
        return float(self._env.data.qpos[self._env.model.jnt_qposadr[self._joint]])

    @functools.cached_property
    def _joint(self) -> int | None:
        model = self._env.model
        moving = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE
        return next(
            (
                number
                for number in range(model.njnt)
                if model.jnt_type[number] in moving
                and not model.joint(number).name.startswith(ROBOT_JOINTS)
            ),
            None,
        )

    def move_object(self, value: float) -> np.ndarray:
        """Put the object's joint at `value` and at rest, after a reset and before any step.

        Returns:
            The first observation of the episode as it is now, (39,) float64.

        Raises:
            RuntimeError: the task's object has no joint, or there was no reset.
        """
        if self._joint is None or not self._ready or self._env.curr_path_length:
            raise RuntimeError(f"{self.task}: no joint to move, or not right after a reset")
        env, model = self._env, self._env.model
        env.data.qpos[model.jnt_qposadr[self._joint]] = value
        env.data.qvel[model.jnt_dofadr[self._joint]] = 0.0
        mujoco.mj_forward(model, env.data)
        env._prev_obs = env._get_curr_obs_combined_no_goal()
        obs = env._get_obs()
        if self._stepper:
            self._stepper.moved(obs)
        return obs

    def step(self, action: np.ndarray, judge: Judge | None = None) -> StepResult:
        """Apply one action, (4,) float32, each number clipped to [-1, 1] as officially.

        Args:
            action: what to do.
            judge: gives reward and success in place of the task's own, which is then not asked: it
                may have none, as Meta-World's formulas fail where a hand starts at its object.

        Raises:
            ValueError: the action is not four finite numbers, or the episode is over.
            RuntimeError: no `reset` since the last `set_goal`.
        """
        # A NaN would make MuJoCo reset itself in mid-episode, and nothing would look wrong.
        if len(action) != 4 or not _isfinite(sum(action.tolist())):
            raise ValueError(f"{self.task}: an action is 4 finite numbers, not {action}")
        if not self._ready:
            raise RuntimeError(f"{self.task}: call reset() before step()")
        env = self._env
        if env.curr_path_length >= env.max_path_length:
            raise ValueError(f"{self.task}: the episode ended after {env.max_path_length} steps")
        if self._stepper:
            return self._stepper.step(action, judge)
        if judge is not None:
            env.evaluate_state = functools.partial(judged, judge)
        try:
            obs, reward, _, _, info = env.step(action)
        finally:
            vars(env).pop("evaluate_state", None)
        fault = bool(self._faults.any())
        self._faults[:] = 0
        return StepResult(obs, float(reward), bool(info["success"] == 1), fault, info)

    def close(self) -> None:
        """Free what the environment holds for rendering; it can't be stepped afterwards."""
        self._ready = False
        self._env.close()
