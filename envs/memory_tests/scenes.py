"""The scenes of FORK: what is simulated, which target is touched, and what teaches the motion."""

# pyright: reportAttributeAccessIssue=false
# (mujoco has no stubs)
from __future__ import annotations

import math
from typing import Protocol

import mujoco
import numpy as np

from agents.input_layout import HAND
from envs.memory_tests.fork import JOINT_OF, UNCOMMITTED, Fork, Joint
from envs.metaworld.task_env import TaskEnv

TOUCH = 0.05  # metres, as Meta-World's reach counts success
PROGRESS = 2.0  # reward per metre nearer to the right site
RIGHT_SITE = 5.0  # for touching it
TURNED = 0.6  # of the way from half-way to an end
DENSE = 0.02  # of Meta-World's reward of 0 to 10 a step
RIGHT_WAY = 4.0  # for moving the joint the right way
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


def nothing(_: np.ndarray) -> tuple[float, bool]:
    """Judge of a step whose task's own reward does not matter."""
    return 0.0, False


class Scene(Protocol):
    """One simulator with M targets. Only `reward` is told which of them counts."""

    right: float
    """Reward for the right choice."""
    after: float
    """Reward of each step that is left after the right choice."""

    def begin(self) -> np.ndarray:
        """Start an attempt; returns its first observation (39,)."""
        ...

    def step(self, action: np.ndarray) -> tuple[np.ndarray, bool]:
        """Observation (39,) after an action (4,), and whether physics became unstable."""
        ...

    def touched(self) -> int:
        """The target that is touched now, or UNCOMMITTED."""
        ...

    def reward(self, target: int) -> float:
        """What the last step is worth for one who is to touch `target`."""
        ...

    def place(self, target: int) -> np.ndarray:
        """(3,) metres: where the target is."""
        ...


class ReachScene:
    """The hand is to be brought to one of M sites."""

    right, after = RIGHT_SITE, 0.0

    def __init__(self, env: TaskEnv, fork: Fork) -> None:
        self._env, self._sites = env, fork.sites

    def begin(self) -> np.ndarray:
        """Start an attempt; returns its first observation (39,)."""
        obs = self._env.reset()
        self._far = self._before = self._distances(obs)
        return obs

    def step(self, action: np.ndarray) -> tuple[np.ndarray, bool]:
        """Observation (39,) after an action (4,), and whether physics became unstable."""
        result = self._env.step(action, nothing)
        self._before, self._far = self._far, self._distances(result.obs)
        return result.obs, result.fault

    def touched(self) -> int:
        """The nearest site within TOUCH, or UNCOMMITTED."""
        nearest = min(self._far)
        return self._far.index(nearest) if nearest < TOUCH else UNCOMMITTED

    def reward(self, target: int) -> float:
        """Progress to the site in the last step."""
        return PROGRESS * (self._before[target] - self._far[target])

    def place(self, target: int) -> np.ndarray:
        """(3,) metres: where the site is."""
        return np.array(self._sites[target])

    def _distances(self, obs: np.ndarray) -> list[float]:
        hand = obs[HAND].tolist()
        return [math.dist(hand, site) for site in self._sites]


class OtherWay:
    """Observation and reward of another Meta-World task on the simulator of a task of its scene.

    The two tasks share their model file and differ in what they observe and reward. One of them is
    simulated; its state is copied into the other, which never takes a step of its own.
    """

    def __init__(self, other: TaskEnv, env: TaskEnv, goal: np.ndarray) -> None:
        self._other, self._env = other, env
        self._state = np.empty(mujoco.mj_stateSize(env.env.model, _STATE))
        other.set_goal(goal)

    def begin(self, joint: float) -> None:
        """Start an attempt with the joint at `joint`, after the simulated task has."""
        self._other.reset()
        self._other.move_object(joint)
        ours, theirs = self._env.env.model, self._other.env.model
        theirs.body_pos[:], theirs.site_pos[:] = ours.body_pos, ours.site_pos

    def look(self) -> np.ndarray:
        """The other task's observation (39,) of the present state."""
        ours, theirs = self._env.env, self._other.env
        mujoco.mj_getState(ours.model, ours.data, self._state, _STATE)
        mujoco.mj_setState(theirs.model, theirs.data, self._state, _STATE)
        mujoco.mj_forward(theirs.model, theirs.data)
        return theirs._get_obs()

    def reward(self, action: np.ndarray) -> float:
        """The other task's reward, 0 to 10, of the step by `action` that led to this state."""
        return float(self._other.env.evaluate_state(self.look(), action)[0])

    @property
    def target(self) -> np.ndarray:
        """(3,) metres: where the other task wants its object."""
        return self._other.target


class JointScene:
    """A joint that stands half-way is to be moved to one of its ends: 0 the low, 1 the high one."""

    right, after = RIGHT_WAY, 10 * DENSE

    def __init__(
        self, env: TaskEnv, joint: Joint, goal: np.ndarray, companions: dict[str, TaskEnv]
    ) -> None:
        self._env, self._own = env, joint.ways.index(joint.task)
        other = companion(joint.ways[1 - self._own], companions)
        self._other = OtherWay(other, env, goal)
        assert env.object_joint is not None
        low, high = env.object_joint
        self._middle, self._half = (low + high) / 2, (high - low) / 2

    def begin(self) -> np.ndarray:
        """Start an attempt; returns its first observation (39,)."""
        self._env.reset()
        self._obs = self._env.move_object(self._middle)
        self._other.begin(self._middle)
        return self._obs

    def step(self, action: np.ndarray) -> tuple[np.ndarray, bool]:
        """Observation (39,) after an action (4,), and whether physics became unstable."""
        result = self._env.step(action)
        self._obs, self._action, self._reward = result.obs, action, result.reward
        return result.obs, result.fault

    def seen(self, target: int) -> np.ndarray:
        """The state (39,) as the task that wants the joint there observes it, with its goal."""
        obs = self._obs.copy() if target == self._own else self._other.look()
        obs[-3:] = self.place(target)
        return obs

    def touched(self) -> int:
        """The end that the joint is near, or UNCOMMITTED."""
        turned = (self._env.joint_position - self._middle) / self._half
        return int(turned > 0) if abs(turned) > TURNED else UNCOMMITTED

    def reward(self, target: int) -> float:
        """Meta-World's own reward of the task that wants the joint there."""
        return DENSE * (self._reward if target == self._own else self._other.reward(self._action))

    def place(self, target: int) -> np.ndarray:
        """(3,) metres: where the task that wants it there wants the object."""
        return self._env.target if target == self._own else self._other.target


def make_scene(env: TaskEnv, fork: Fork, goal: np.ndarray, companions: dict[str, TaskEnv]) -> Scene:
    """The scene of a trial; arguments as `envs.memory_tests.fork_task.ForkTask` has them."""
    joint = JOINT_OF.get(env.task)
    return JointScene(env, joint, goal, companions) if joint else ReachScene(env, fork)


def companion(task: str, companions: dict[str, TaskEnv]) -> TaskEnv:
    """The simulator of `task` among `companions`, made where there is none."""
    if task not in companions:
        companions[task] = TaskEnv(task)
    return companions[task]
