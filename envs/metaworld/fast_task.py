"""A Meta-World task's own code over faster primitives, and its step without the detours.

`fast_class` derives from an official class and rebinds the functions of the task (same code
objects) to globals in which `np`, `reward_utils` and `Rotation` are those of `primitives`. The
official class, its module, NumPy and SciPy are left as they are, so that both run side by side.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco has no stubs)
from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from envs.metaworld import primitives

if TYPE_CHECKING:
    from metaworld.sawyer_xyz_env import SawyerXYZEnv

MAX_DRAWS = 100


class GoalRefusedError(Exception):
    """A task would draw again for ever, because the goal it is given puts things too close."""


class _Named:
    """What `data.body(name)` returns, its views kept: they are live, MuJoCo never moves them."""

    __slots__ = ("__dict__", "_official")

    def __init__(self, official: Any) -> None:
        object.__setattr__(self, "_official", official)

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(self._official, name)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._official, name, value)


class _Lookup(dict):
    """name -> _Named."""

    def __init__(self, official: Callable[[Any], Any]) -> None:
        super().__init__()
        self._official = official

    def __missing__(self, name: Any) -> _Named:
        self[name] = named = _Named(self._official(name))
        return named


class FastData(mujoco.MjData):
    """An `MjData` that looks a name up once. Task code reads only by-reference fields of these."""

    def __init__(self, model: mujoco.MjModel) -> None:
        super().__init__(model)
        for kind in ("body", "geom", "joint", "site"):
            setattr(self, kind, _Lookup(getattr(super(), kind)).__getitem__)

    def release(self) -> None:
        """Drop the look-ups: their arrays hold this object, a cycle hidden from the collector."""
        self.__dict__.clear()


class FastMethods:
    """Replacements of what `SawyerXYZEnv` provides to its tasks."""

    data: FastData
    obj_init_pos: np.ndarray
    init_tcp: np.ndarray
    _last_rand_vec: np.ndarray
    draws: int = 0
    in_vain: bool = False
    """Whether the next settling of the hand is one that nothing is left of."""

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, FastData]:
        model, _ = super()._initialize_simulation()  # type: ignore[misc]
        data = FastData(model)
        self._tips = data.site("rightEndEffector").xpos, data.site("leftEndEffector").xpos
        return model, data

    def _reset_hand(self, steps: int = 50) -> None:
        """Settle the hand, but the first time in a reset.

        Officially a reset calls `reset_model` on what the last episode left, then resets all of
        MuJoCo's data and calls `reset_model` again.
        """
        if self.in_vain:
            self.in_vain, self.init_tcp = False, self.tcp_center
        else:
            super()._reset_hand(steps)  # type: ignore[misc]

    def _get_state_rand_vec(self) -> np.ndarray:
        count_draw(self)
        return self._last_rand_vec

    @property
    def tcp_center(self) -> np.ndarray:
        """The point between the fingers, (3,) float64, a fresh array."""
        return primitives.best.middle(*self._tips)

    def touching_object(self, object_geom_id: int) -> bool:
        """Whether both finger pads press on the geom."""
        data = self.data
        if not data.ncon:
            return False
        contact = data.contact
        left, right = data.geom("leftpad_geom").id, data.geom("rightpad_geom").id
        left_at, right_at = [], []
        for i, pair in enumerate(contact.geom.tolist()):
            if object_geom_id in pair:
                if left in pair:
                    left_at.append(i)
                if right in pair:
                    right_at.append(i)
        if not (left_at and right_at):
            return False
        force, address = data.efc_force, contact.efc_address
        return bool(
            sum(force[address[i]] for i in left_at) > 0
            and sum(force[address[i]] for i in right_at) > 0
        )

    def _gripper_caging_reward(
        self,
        action: np.ndarray,
        obj_pos: np.ndarray,
        obj_radius: float,
        pad_success_thresh: float,
        object_reach_radius: float,
        xz_thresh: float,
        desired_gripper_effort: float = 1.0,
        high_density: bool = False,
        medium_density: bool = False,
    ) -> float:
        """The official formula in scalars; its comments say what each part is for."""
        if high_density and medium_density:
            raise ValueError("Can only be either high_density or medium_density")
        names = primitives.substitutes()
        if names["caged"] is None:
            return super()._gripper_caging_reward(  # type: ignore[misc]
                action,
                obj_pos,
                obj_radius,
                pad_success_thresh,
                object_reach_radius,
                xz_thresh,
                desired_gripper_effort,
                high_density,
                medium_density,
            )
        norm, tolerance = names["norm"], names["tolerance"]
        hamacher_product = names["reward_utils"].hamacher_product
        body, (right, left) = self.data.body, self._tips
        caged = names["caged"](
            body("leftpad").xpos,
            body("rightpad").xpos,
            obj_pos,
            self.obj_init_pos,
            obj_radius,
            pad_success_thresh,
            right,
            left,
            self.init_tcp,
            xz_thresh,
        )
        # The action's float32 goes on from here as it does in the official code.
        closed = min(max(0, action[-1]), desired_gripper_effort) / desired_gripper_effort
        gripping = closed if caged > 0.97 else 0.0
        reward = hamacher_product(caged, gripping)
        if high_density:
            reward = (reward + caged) / 2
        if medium_density:
            margin = abs(norm(self.obj_init_pos - self.init_tcp) - object_reach_radius)
            bounds = (0, object_reach_radius)
            reach = tolerance(norm(obj_pos - self.tcp_center), bounds, margin, "long_tail")
            reward = (reward + float(reach)) / 2
        return reward


def count_draw(env: Any) -> None:
    """Called at every draw of a goal: tasks draw again until their objects are apart.

    With a given goal that would never end.

    Raises:
        GoalRefusedError: `MAX_DRAWS` draws since `env.draws` was set to zero.
    """
    env.draws += 1
    if env.draws > MAX_DRAWS:
        raise GoalRefusedError


def bound_draws(env: SawyerXYZEnv) -> None:
    """Give an official environment the same bound; `env.draws` counts, and is to be zeroed."""
    official = env._get_state_rand_vec

    def draw() -> Any:
        count_draw(env)
        return official()

    env.draws = 0  # type: ignore[attr-defined]
    env._get_state_rand_vec = draw


def _rebound(value: Any, names: dict[str, Any]) -> Any:
    """A function, property or static method with other globals; anything else as it is."""
    if isinstance(value, staticmethod):
        return staticmethod(_rebound(value.__func__, names))
    if isinstance(value, property):
        return property(_rebound(value.fget, names), value.fset, value.fdel, value.__doc__)
    if not isinstance(value, types.FunctionType):
        return value
    if value.__closure__ and value.__code__.co_freevars == ("func",):
        # `assert_task_is_set` around the function: TaskEnv makes sure of that.
        return _rebound(value.__closure__[0].cell_contents, names)
    function = types.FunctionType(
        value.__code__, names, value.__name__, value.__defaults__, value.__closure__
    )
    function.__kwdefaults__ = value.__kwdefaults__
    return function


@functools.cache
def fast_class(official: type[SawyerXYZEnv]) -> type[SawyerXYZEnv]:
    """The subclass of an official task class that runs the same code over `primitives`."""
    names = vars(sys.modules[official.__module__]) | primitives.substitutes()
    body = {
        name: _rebound(value, names)
        for name, value in vars(official).items()
        if not name.startswith("__")
    }
    # The task's own functions are all in `body`, so FastMethods replaces inherited ones only.
    fast = type(official.__name__, (FastMethods, official), body)
    # Tasks call their static methods through the class's name.
    names[official.__name__] = fast
    return fast
