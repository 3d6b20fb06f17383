"""The attempts of one FORK trial on one simulator: the four rules are kept here.

R1 Nothing but success depends on the target. R2 The first target touched is the choice, and the
rest of the attempt is idle. R3 Only the outcome is observed, in the still steps of the next
attempt. R4 In the still steps the hand is pushed at random, whatever the action.

In RECALL the still steps show the context's cue, and the closing steps the attempt's outcome. In
trials that are shown the target, which are practice and no test, they show the target's code.
"""

from __future__ import annotations

import numpy as np

from agents.input_layout import ACTION_DIM, CUE, REWARD_SCALE
from envs.memory_tests.fork import (
    JOINTS,
    REACH,
    REACH_GOAL,
    UNCOMMITTED,
    UNRELATED,
    Fork,
    target_code,
)
from envs.memory_tests.scenes import companion, make_scene, nothing
from envs.metaworld.fast_step import StepResult
from envs.metaworld.task_env import TaskEnv

OUTCOME = 1.0 / REWARD_SCALE  # shown as ± 1
NO_ACTION = np.zeros(ACTION_DIM, np.float32)
ELSEWHERE = {REACH: (JOINTS["drawer"].task, (0.0, 0.9, 0.0))}
"""The scene in between, by task; reach for every joint."""


class ForkTask:
    """Runs a trial's attempts: `begin` before each, then `step` to its horizon.

    Args:
        env: the simulator, set to the trial's goal.
        fork: the trial's.
        goal: the trial's ``rand_vec``.
        horizon: H, steps of an attempt with its delay.
        companions: simulators of other tasks that belong to `env`; grows, and is the caller's.
        tells: show the target in the still steps: against R1, for practice.
    """

    choice: int
    """The target touched in this attempt, or UNCOMMITTED."""

    def __init__(
        self,
        env: TaskEnv,
        fork: Fork,
        goal: np.ndarray,
        horizon: int,
        companions: dict[str, TaskEnv],
        *,
        tells: bool = False,
    ) -> None:
        self.fork, self._pushes, self._tells = fork, fork.pushes(), tells
        self.scene = make_scene(env, fork, goal, companions)
        if UNRELATED in fork.targets:
            other, place = ELSEWHERE.get(env.task, (REACH, REACH_GOAL))
            self._elsewhere = companion(other, companions)
            self._elsewhere.set_goal(np.array(place))
        self._end = horizon - fork.closing
        self._episode, self._active, self._outcome = -1, self._end - fork.delay, 0.0

    def begin(self) -> np.ndarray:
        """Start the next attempt; returns its first observation (39,)."""
        self._episode += 1
        self._t, self.choice = 0, UNCOMMITTED
        if self.target == UNRELATED:
            self._obs = self._elsewhere.reset()
        else:
            self._obs = self.scene.begin()
        self._first = self._obs
        return self._seen()

    @property
    def target(self) -> int:
        """What counts in this attempt; UNRELATED in another scene."""
        return self.fork.targets[self._episode]

    @property
    def place(self) -> np.ndarray:
        """(3,) metres: where what counts in this attempt is."""
        return self.scene.place(self.target)

    @property
    def right(self) -> bool:
        """Whether the right target was touched."""
        return self.choice == self.target != UNRELATED

    @property
    def still(self) -> bool:
        """Whether the next step's action is ignored."""
        return self._t < self.fork.still

    @property
    def closing(self) -> bool:
        """Whether the attempt is over and its outcome is shown."""
        return self.fork.closing > 0 and self._t >= self._end

    def _seen(self) -> np.ndarray:
        """The observation of the next step: with what the still steps show in the goal's place.

        In the closing steps it is the attempt's first one, as if the scene were put back.
        """
        if self.closing:
            return self._first
        code = self._code() if self.still else ()
        return np.append(self._obs[: CUE.start], code) if code else self._obs

    def _code(self) -> tuple[float, ...]:
        """The cue of RECALL's context, or in practice the target's code; () where there is none."""
        if self.fork.meetings:
            return self.fork.meetings[self._episode].cue
        return target_code(self.target) if self._tells and self.target != UNRELATED else ()

    def step(self, action: np.ndarray) -> StepResult:
        """One step; its reward is for training and is not to be shown to the agent."""
        reward, fault = self.scene.after * self.right, False
        if self.choice == UNCOMMITTED and self._t < self._active:
            reward, fault = self._move(self._applied(action))
        self._t += 1
        if self.target != UNRELATED and self._t == self._active:
            self._outcome = OUTCOME if self.right else -OUTCOME
        return StepResult(self._seen(), reward, self.right, fault, {"success": float(self.right)})

    def _applied(self, action: np.ndarray) -> np.ndarray:
        """What the arm does: in the still steps a random push (R4)."""
        return np.append(self._pushes[self._episode], np.float32(0)) if self.still else action

    def _move(self, action: np.ndarray) -> tuple[float, bool]:
        """Training reward and fault of one simulated step."""
        if self.target == UNRELATED:
            result = self._elsewhere.step(action, nothing)
            self._obs = result.obs
            return 0.0, result.fault
        self._obs, fault = self.scene.step(action)
        if self.still:
            return 0.0, fault
        self.choice = self._chosen()
        return self.scene.reward(self.target) + self.scene.right * self.right, fault

    def _chosen(self) -> int:
        """The choice after a step of an attempt that had none: any target, right or wrong (R2)."""
        return self.scene.touched()

    def shown(self, action: np.ndarray) -> tuple[np.ndarray, float]:
        """Previous action (4,) and reward as the next input shows them (R3, R4)."""
        visible = (self.still or self.closing) and self.target != UNRELATED
        obeyed = self._t > self.fork.still and not self.closing
        return action if obeyed else NO_ACTION, self._outcome if visible else 0.0
