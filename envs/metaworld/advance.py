"""Physics and observation of one step, bit-equal to the official ones: in Python, and in C.

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
from collections.abc import Callable
from typing import Protocol

import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from envs.metaworld import exact_scalars, primitives

FLAT = 18  # one frame: hand (3), gripper (1), objects (14); an observation is two and the goal
MOCAP_QUAT = (1.0, 0.0, 1.0, 0.0)
# MuJoCo resets when |qpos| or |qvel| passes 1e10; below this sum of squares none can have.
_TAME = 1e19


class Advance(Protocol):
    """Physics and observation of one step, which carry something over from step to step."""

    def __call__(self, action: np.ndarray) -> tuple[np.ndarray, bool]:
        """The next observation (39,) float64, the caller's own; whether the physics failed."""
        ...

    def note(self) -> None:
        """mj_forward has just run on the state as it is: its positions are valid still."""

    def forget(self) -> None:
        """The state or the model was edited."""


def make_advance(env: SawyerXYZEnv, frame: np.ndarray) -> Advance:
    """In C if that was compiled. Each step writes the observation into `frame`, (39,) float64."""
    make = PythonAdvance if primitives.compiled is None else compiled_advance
    return make(env, frame)


def _make_physics(env: SawyerXYZEnv) -> Callable[[bool], None]:
    """A function that runs MuJoCo for one step; True: the last mj_forward's positions are valid."""
    model, data, substeps = env.model, env.data, env.frame_skip
    forward, step2, mj_step = mujoco.mj_forward, mujoco.mj_step2, mujoco.mj_step
    make_constraint, reference_constraint = mujoco.mj_makeConstraint, mujoco.mj_referenceConstraint

    def physics(valid: bool) -> None:
        if valid:
            make_constraint(model, data)
            reference_constraint(model, data)
            step2(model, data)
            mj_step(model, data, substeps - 1)
        else:
            mj_step(model, data, substeps)
        forward(model, data)

    return physics


def _mocap_xpos(env: SawyerXYZEnv) -> np.ndarray:
    return env.data.xpos[int(np.flatnonzero(env.model.body_mocapid == 0)[0])]


def _scaled(env: SawyerXYZEnv) -> Callable[[np.ndarray], tuple[float, float, float, float]]:
    """The official arithmetic for an action that is not (4,) float32: displacement and grip."""

    def scaled(action: np.ndarray) -> tuple[float, float, float, float]:
        dx, dy, dz = (np.clip(action[:3], -1, 1) * env.action_scale).tolist()
        return dx, dy, dz, float(action[3])

    return scaled


def _goal(env: SawyerXYZEnv) -> Callable[[], np.ndarray] | None:
    """The goal as the observation shows it, (3,); None where it is hidden."""
    space = env.sawyer_observation_space
    low, high = space.low[2 * FLAT :], space.high[2 * FLAT :]
    if env._partially_observable:
        return None
    return lambda: np.clip(env._get_pos_goal(), low, high)


def _gap(env: SawyerXYZEnv) -> Callable[[], float] | None:
    """How far the fingers are apart, by the norm of BLAS; None where it is the norm in scalars."""
    norm = primitives.substitutes()["norm"]
    if norm is primitives.best.norm and norm is not exact_scalars.blas_norm:
        return None
    right, left = (env.data.body(name).xpos for name in ("rightclaw", "leftclaw"))
    return lambda: norm(right - left) / 0.1


def _objects(env: SawyerXYZEnv) -> int:
    """How many objects the observation has, 1 or 2."""
    layout = len(env._get_pos_objects()), len(env._get_quat_objects())
    if layout not in ((3, 4), (6, 8)):
        raise NotImplementedError(f"{env.task_name}: objects of {layout} numbers")
    return 2 if layout == (6, 8) else 1


def compiled_advance(env: SawyerXYZEnv, frame: np.ndarray) -> Advance:
    """`PythonAdvance` in C, over the same memory."""
    data = env.data
    hand, right, left = (data.body(name).xpos for name in ("hand", "rightclaw", "leftclaw"))
    space = env._HAND_SPACE
    limits = np.concatenate([env.mocap_low, env.mocap_high, space.low, space.high])
    return primitives.compiled.Advance(
        (
            data.mocap_pos[0],
            data.mocap_quat[0],
            data.ctrl,
            _mocap_xpos(env),
            data.qpos,
            data.qvel,
            frame,
            hand,
            right,
            left,
            limits.astype(np.float64),
        ),
        data.warning.number,
        float(np.float32(env.action_scale)),
        (
            _scaled(env),
            _make_physics(env),
            env._get_pos_objects,
            env._get_quat_objects,
            _goal(env),
            _gap(env),
        ),
        _objects(env),
    )


class PythonAdvance:
    """Physics and observation of one step, of closures: their names are cells, not look-ups."""

    def __init__(self, env: SawyerXYZEnv, frame: np.ndarray) -> None:
        self._qpos, self._qvel = env.data.qpos, env.data.qvel
        # [qpos, qvel] as bytes where mj_forward has just run on them, else [None, None].
        self.settled: list[bytes | None] = [None, None]
        self._steer, self._simulate = _make_steer(env), _make_simulate(env, self.settled)
        self._observe = _make_observe(env, frame)

    def __call__(self, action: np.ndarray) -> tuple[np.ndarray, bool]:
        """See `Advance`."""
        fault = self._simulate(self._steer(action))
        return self._observe(), fault

    def note(self) -> None:
        """See `Advance`."""
        self.settled[:] = self._qpos.tobytes(), self._qvel.tobytes()

    def forget(self) -> None:
        """See `Advance`."""
        self.settled[:] = None, None


def _make_steer(env: SawyerXYZEnv) -> Callable[[np.ndarray], tuple[float, float, float]]:
    """A function that sets the controls and moves the mocap body; it returns where that is now."""
    mocap_pos, ctrl = env.data.mocap_pos[0], env.data.ctrl
    low_x, low_y, low_z = env.mocap_low.tolist()
    high_x, high_y, high_z = env.mocap_high.tolist()
    scale = np.float32(env.action_scale)
    reach = float(scale)
    scaled = np.empty(4, np.float32)
    other = _scaled(env)
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
            dx, dy, dz, _ = other(action)
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
    data, physics, mocap_xpos = env.data, _make_physics(env), _mocap_xpos(env)
    qpos, qvel, mocap_quat = data.qpos, data.qvel, data.mocap_quat[0]
    warnings = data.warning.number

    def simulate(mocap: tuple[float, float, float]) -> bool:
        valid = (
            qpos.tobytes() == settled[0]
            and qvel.tobytes() == settled[1]
            and qpos.dot(qpos) < _TAME
            and qvel.dot(qvel) < _TAME
        )
        if valid:
            mocap_xpos[:] = mocap
        else:
            mocap_quat[:] = MOCAP_QUAT
        physics(valid)
        fault = any(warnings.tolist())
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
    two_objects, goal = _objects(env) == 2, _goal(env)
    sqrt, gap_by_blas = math.sqrt, _gap(env)

    def observe() -> np.ndarray:
        frame[18:36] = frame[:18]
        x, y, z = hand.tolist()
        x = floor_x if x < floor_x else top_x if x > top_x else x
        y = floor_y if y < floor_y else top_y if y > top_y else y
        z = floor_z if z < floor_z else top_z if z > top_z else z
        if gap_by_blas is None:
            ax, ay, az = right.tolist()
            bx, by, bz = left.tolist()
            ax -= bx
            ay -= by
            az -= bz
            gap = sqrt(ax * ax + ay * ay + az * az) / 0.1
        else:
            gap = gap_by_blas()
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
        if goal is not None:
            frame[36:] = goal()
        return frame.copy()

    return observe
