"""One step and one reset of a `fast_class` environment, bit-equal to the official ones.

What a step leaves out of the official one, none of which changes a bit: the second look-up of the
same things, `mj_rnePostConstraint` (its output is unused), `_set_pos_site` (`mj_forward`
recomputes the sites), clipping where the bounds are infinite, and the position and velocity stages
of the first `mj_step`, which the `mj_forward` at the end of the step before has computed: only
`ctrl` and the mocap body have changed since, and that body touches nothing but its weld.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco has no stubs)
from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from envs.metaworld import exact_scalars

MEMO_GOALS = 1024  # of 5 KB each: all of a training task's
Judge = Callable[[np.ndarray], tuple[float, bool]]
"""Reward and success of a step, by the observation (39,) that it led to."""
_FLAT = 18  # one frame: hand (3), gripper (1), objects (14); an observation is two and the goal
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_MOCAP_QUAT = (1.0, 0.0, 1.0, 0.0)
# MuJoCo resets when |qpos| or |qvel| passes 1e10; below this sum of squares none can have.
_TAME = 1e19


class StepResult(NamedTuple):
    """What one step of a task returns."""

    obs: np.ndarray
    """(39,) float64; the caller's own."""
    reward: float
    success: bool
    """Whether the task counts this very step as solved."""
    fault: bool
    """Whether a MuJoCo warning was raised: the simulation blew up and may have been reset."""
    info: dict[str, Any]
    """The task's own info; only success where a judge took the place of the task's reward."""


def judged(judge: Judge, obs: np.ndarray, _: np.ndarray) -> tuple[float, dict[str, Any]]:
    """`evaluate_state` by another judge."""
    reward, success = judge(obs)
    return reward, {"success": float(success)}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a reset to one goal leaves behind."""

    obs: np.ndarray
    state: np.ndarray
    warmstart: np.ndarray
    body_pos: np.ndarray
    site_pos: np.ndarray
    values: dict[str, Any]
    arrays: dict[str, np.ndarray]


def _is_live(array: np.ndarray) -> bool:
    """Whether the array is a view of MuJoCo's memory: such an attribute follows the simulation."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.base is not None


class FastStepper:
    """Steps and resets one environment; `frame` and `settled` carry over from step to step."""

    def __init__(self, env: SawyerXYZEnv) -> None:
        self.env = env
        self.memo: OrderedDict[bytes, Snapshot] = OrderedDict()
        self._passing: dict[bytes, Snapshot] = {}
        self._fast = type(env)
        self._recording = _recording(self._fast)
        self.frame = np.zeros(2 * _FLAT + 3)
        # [qpos, qvel] as bytes where mj_forward has just run on them, else [None, None].
        self.settled: list[bytes | None] = [None, None]
        space = env.sawyer_observation_space
        self._bounds = space.low[:_FLAT], space.high[:_FLAT]
        self.step = _make_step(env, self.frame, self.settled)

    def reset(self, start: bytes, *, returns: bool = True) -> np.ndarray:
        """Reset to what was set on the environment, known by its bytes; returns (39,) float64.

        Without `returns` it is a start of this trial alone and is kept only until the next one.
        """
        snapshot = self.memo.get(start) or self._passing.get(start)
        if snapshot is None:
            snapshot = self._simulate()
            if not returns:
                self._passing = {start: snapshot}
        else:
            self._restore(snapshot)
        if returns:
            self.memo[start] = snapshot
            self.memo.move_to_end(start)
            if len(self.memo) > MEMO_GOALS:
                self.memo.popitem(last=False)
        # Official code clips what it returns from a step, not what it returns from a reset.
        np.clip(snapshot.obs[:_FLAT], *self._bounds, out=self.frame[:_FLAT])
        return snapshot.obs.copy()

    def moved(self, obs: np.ndarray) -> None:
        """Something was moved after a reset, to be seen as in `obs` (39,)."""
        np.clip(obs[:_FLAT], *self._bounds, out=self.frame[:_FLAT])
        self.settled[:] = None, None

    def _simulate(self) -> Snapshot:
        env, model, data = self.env, self.env.model, self.env.data
        self.settled[:] = None, None
        env.in_vain = True
        env.__class__ = self._recording
        self._recording.written.clear()  # type: ignore[attr-defined]
        try:
            obs, _ = SawyerXYZEnv.reset(env)
        finally:
            object.__setattr__(env, "__class__", self._fast)  # not recorded
        written = {name: vars(env)[name] for name in self._recording.written}  # type: ignore[attr-defined]
        arrays = {
            name: value.copy()
            for name, value in written.items()
            if isinstance(value, np.ndarray) and not _is_live(value)
        }
        state = np.empty(mujoco.mj_stateSize(model, _STATE))
        mujoco.mj_getState(model, data, state, _STATE)
        return Snapshot(
            obs=obs.copy(),
            state=state,
            warmstart=data.qacc_warmstart.copy(),
            body_pos=model.body_pos.copy(),
            site_pos=model.site_pos.copy(),
            values={name: value for name, value in written.items() if name not in arrays},
            arrays=arrays,
        )

    def _restore(self, snapshot: Snapshot) -> None:
        env, model, data = self.env, self.env.model, self.env.data
        model.body_pos[:] = snapshot.body_pos
        model.site_pos[:] = snapshot.site_pos
        mujoco.mj_setState(model, data, snapshot.state, _STATE)
        mujoco.mj_forward(model, data)
        data.qacc_warmstart[:] = snapshot.warmstart  # mj_forward has overwritten it
        data.warning.number[:] = 0
        vars(env).update(snapshot.values)
        vars(env).update({name: value.copy() for name, value in snapshot.arrays.items()})
        if data.mocap_quat[0].tolist() == list(_MOCAP_QUAT):
            self.settled[:] = data.qpos.tobytes(), data.qvel.tobytes()
        else:
            self.settled[:] = None, None


def _recording(fast: type[SawyerXYZEnv]) -> type[SawyerXYZEnv]:
    """The class an environment has while it resets, to learn which attributes a reset writes."""
    written: set[str] = set()

    def record(self: Any, name: str, value: Any) -> None:
        written.add(name)
        object.__setattr__(self, name, value)

    return type(fast.__name__, (fast,), {"__setattr__": record, "written": written})


def _make_step(
    env: SawyerXYZEnv, frame: np.ndarray, settled: list[bytes | None]
) -> Callable[[np.ndarray, Judge | None], StepResult]:
    """The step of one environment, of closures: their names are then cells, not look-ups."""
    steer, simulate = _make_steer(env), _make_simulate(env, settled)
    observe, evaluate = _make_observe(env, frame), env.evaluate_state
    new = tuple.__new__

    def step(action: np.ndarray, judge: Judge | None) -> StepResult:
        mocap = steer(action)
        env.curr_path_length += 1
        fault = simulate(mocap)
        obs = observe()
        reward, info = evaluate(obs, action) if judge is None else judged(judge, obs, action)
        success = bool(info["success"] == 1)
        return new(StepResult, (obs, float(reward), success, fault, info))

    return step


def _make_steer(env: SawyerXYZEnv) -> Callable[[np.ndarray], tuple[float, float, float]]:
    """A function that sets the controls and moves the mocap body; it returns where that is now."""
    mocap_pos, ctrl = env.data.mocap_pos[0], env.data.ctrl
    low_x, low_y, low_z = env.mocap_low.tolist()
    high_x, high_y, high_z = env.mocap_high.tolist()
    scale = np.float32(env.action_scale)
    reach = float(scale)
    scaled = np.empty(4, np.float32)
    multiply, ndarray, float32 = np.multiply, np.ndarray, np.dtype(np.float32)

    def steer(action: np.ndarray) -> tuple[float, float, float]:
        if type(action) is ndarray and action.dtype is float32 and action.shape == (4,):
            # Clipping after the float32 product is the same as before it: rounding is monotone.
            multiply(action, scale, scaled)
            dx, dy, dz, _ = scaled.tolist()
            dx = reach if dx > reach else -reach if dx < -reach else dx
            dy = reach if dy > reach else -reach if dy < -reach else dy
            dz = reach if dz > reach else -reach if dz < -reach else dz
        else:
            dx, dy, dz = (np.clip(action[:3], -1, 1) * env.action_scale).tolist()
        grip = float(action[3])
        x, y, z = mocap_pos.tolist()
        x += dx
        y += dy
        z += dz
        x = low_x if x < low_x else high_x if x > high_x else x
        y = low_y if y < low_y else high_y if y > high_y else y
        z = low_z if z < low_z else high_z if z > high_z else z
        mocap = x, y, z
        mocap_pos[:] = mocap
        ctrl[0] = grip
        ctrl[1] = -grip
        return mocap

    return steer


def _make_simulate(
    env: SawyerXYZEnv, settled: list[bytes | None]
) -> Callable[[tuple[float, float, float]], bool]:
    """A function that advances the physics to the mocap body; it returns whether that failed."""
    model, data, substeps = env.model, env.data, env.frame_skip
    forward, step2, mj_step = mujoco.mj_forward, mujoco.mj_step2, mujoco.mj_step
    make_constraint, reference_constraint = mujoco.mj_makeConstraint, mujoco.mj_referenceConstraint
    qpos, qvel, mocap_quat = data.qpos, data.qvel, data.mocap_quat[0]
    mocap_xpos = data.xpos[int(np.flatnonzero(model.body_mocapid == 0)[0])]
    warnings = data.warning.number
    quiet = warnings.tolist()

    def simulate(mocap: tuple[float, float, float]) -> bool:
        if (
            qpos.tobytes() == settled[0]
            and qvel.tobytes() == settled[1]
            and qpos.dot(qpos) < _TAME
            and qvel.dot(qvel) < _TAME
        ):
            mocap_xpos[:] = mocap
            make_constraint(model, data)
            reference_constraint(model, data)
            step2(model, data)
            mj_step(model, data, substeps - 1)
        else:
            mocap_quat[:] = _MOCAP_QUAT
            mj_step(model, data, substeps)
        forward(model, data)
        fault = warnings.tolist() != quiet
        if fault:
            warnings[:] = 0
            settled[0] = None  # MuJoCo has reset the mocap body with the rest
        else:
            settled[:] = qpos.tobytes(), qvel.tobytes()
        return fault

    return simulate


def _make_observe(env: SawyerXYZEnv, frame: np.ndarray) -> Callable[[], np.ndarray]:
    """A function that moves `frame` on and returns the observation (39,), the caller's own."""
    hand, right, left = (env.data.body(name).xpos for name in ("hand", "rightclaw", "leftclaw"))
    floor_x, floor_y, floor_z = env._HAND_SPACE.low.tolist()
    top_x, top_y, top_z = env._HAND_SPACE.high.tolist()
    positions, quaternions = env._get_pos_objects, env._get_quat_objects
    layout = len(positions()), len(quaternions())
    if layout not in ((3, 4), (6, 8)):
        raise NotImplementedError(f"{env.task_name}: objects of {layout} numbers")
    two_objects = layout == (6, 8)
    visible = not env._partially_observable
    space = env.sawyer_observation_space
    goal_low, goal_high = space.low[2 * _FLAT :], space.high[2 * _FLAT :]
    sqrt, norm = math.sqrt, exact_scalars.substitutes()["norm"]
    in_scalars = norm is exact_scalars.scalar_norm

    def observe() -> np.ndarray:
        frame[18:36] = frame[:18]
        x, y, z = hand.tolist()
        x = floor_x if x < floor_x else top_x if x > top_x else x
        y = floor_y if y < floor_y else top_y if y > top_y else y
        z = floor_z if z < floor_z else top_z if z > top_z else z
        if in_scalars:
            ax, ay, az = right.tolist()
            bx, by, bz = left.tolist()
            ax -= bx
            ay -= by
            az -= bz
            gap = sqrt(ax * ax + ay * ay + az * az) / 0.1
        else:
            gap = norm(right - left) / 0.1
        frame[:4] = x, y, z, 1.0 if gap > 1.0 else gap
        if two_objects:
            pos, quat = positions(), quaternions()
            frame[4:7] = pos[:3]
            frame[7:11] = quat[:4]
            frame[11:14] = pos[3:]
            frame[14:18] = quat[4:]
        else:
            frame[4:7] = positions()
            frame[7:11] = quaternions()
        if visible:
            frame[36:] = np.clip(env._get_pos_goal(), goal_low, goal_high)
        return frame.copy()

    return observe
