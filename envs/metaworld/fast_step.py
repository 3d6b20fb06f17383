"""One step and one reset of a `fast_class` environment, bit-equal to the official ones.

`advance` has the physics and the observation of a step. A reset to a goal is simulated once and
restored from then on.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco has no stubs)
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from envs.metaworld.advance import FLAT, MOCAP_QUAT, make_advance

MEMO_GOALS = 1024  # of 5 KB each: all of a training task's
Judge = Callable[[np.ndarray], tuple[float, bool]]
"""Reward and success of a step, by the observation (39,) that it led to."""
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


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
    """Steps and resets one environment; `frame` and `advance` carry over from step to step."""

    def __init__(self, env: SawyerXYZEnv) -> None:
        self.env = env
        self.memo: OrderedDict[bytes, Snapshot] = OrderedDict()
        self._passing: dict[bytes, Snapshot] = {}
        self._fast = type(env)
        self._recording = _recording(self._fast)
        self.frame = np.zeros(2 * FLAT + 3)
        space = env.sawyer_observation_space
        self._bounds = space.low[:FLAT], space.high[:FLAT]
        self.advance = make_advance(env, self.frame)
        self.step = _make_step(env, self.advance)

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
        np.clip(snapshot.obs[:FLAT], *self._bounds, out=self.frame[:FLAT])
        return snapshot.obs.copy()

    def moved(self, obs: np.ndarray) -> None:
        """Something was moved after a reset, to be seen as in `obs` (39,)."""
        np.clip(obs[:FLAT], *self._bounds, out=self.frame[:FLAT])
        self.advance.forget()

    def _simulate(self) -> Snapshot:
        env, model, data = self.env, self.env.model, self.env.data
        self.advance.forget()
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
        if data.mocap_quat[0].tolist() == list(MOCAP_QUAT):
            self.advance.note()
        else:
            self.advance.forget()


def _recording(fast: type[SawyerXYZEnv]) -> type[SawyerXYZEnv]:
    """The class an environment has while it resets, to learn which attributes a reset writes."""
    written: set[str] = set()

    def record(self: Any, name: str, value: Any) -> None:
        written.add(name)
        object.__setattr__(self, name, value)

    return type(fast.__name__, (fast,), {"__setattr__": record, "written": written})


def _make_step(
    env: SawyerXYZEnv, advance: Callable[[np.ndarray], tuple[np.ndarray, bool]]
) -> Callable[[np.ndarray, Judge | None], StepResult]:
    """The step of one environment, a closure: its names are then cells, not look-ups."""
    evaluate, new = env.evaluate_state, tuple.__new__

    def step(action: np.ndarray, judge: Judge | None) -> StepResult:
        env.curr_path_length += 1
        obs, fault = advance(action)
        reward, info = evaluate(obs, action) if judge is None else judged(judge, obs, action)
        success = bool(info["success"] == 1)
        return new(StepResult, (obs, float(reward), success, fault, info))

    return step
