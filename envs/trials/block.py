"""A block: trials that are stepped together, and the rules for what may go wrong in a step.

Workers, playback and the Gymnasium environments all step trials here, so that a trial has the same
bits wherever it runs. The rules: actions are clipped to the box; an action that is not finite stops
the block, because MuJoCo would reset itself in mid-episode and nothing would look wrong; a trial
whose physics became unstable stands still from there on, and shows zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.input_layout import ACTION_DIM, INPUT_DIM
from envs.trials.trial import Trial, TrialRunner, TrialStep

ONES = np.ones(INPUT_DIM, dtype=np.float32)


class Runners:
    """Runners of tasks, kept for the next block: a simulator takes about a second to make."""

    def __init__(self) -> None:
        self._runners: dict[tuple[str, bool], list[TrialRunner]] = {}

    def idle(self, trial: Trial, busy: Sequence[TrialRunner | None]) -> TrialRunner:
        """A runner for `trial` that is not among `busy`."""
        runners = self._runners.setdefault((trial.task, trial.goal_hidden), [])
        runner = next((r for r in runners if r not in busy), None)
        if runner is None:
            runner = TrialRunner(trial.task, goal_hidden=trial.goal_hidden)
            runners.append(runner)
        return runner

    def close(self) -> None:
        """Free the simulators."""
        for runners in self._runners.values():
            for runner in runners:
                runner.close()
        self._runners.clear()


class Block:
    """Trials in lockstep, each on a simulator of its own. Call `start` before anything else.

    Args:
        trials: B trials; None is a row that is not run here. Such rows stay zeros: they are kept
            because the bits of a row depend on the shape of the matrix products that act.
        runners: where the simulators come from.
        stepping: (1,) int64, where the block notes the row that it steps; for those who look after
            a process that died. None: nobody looks.
        width: numbers of an input; more than INPUT_DIM for agents that add their aims to it.
    """

    inputs: np.ndarray
    """Packed inputs of the next step, (B, input) float32."""
    faulted: np.ndarray
    """Physics became unstable in this trial, (B,) bool."""
    faults: list[dict[str, Any]]
    """Every such fault: where it was and what it was, in words."""

    def __init__(
        self,
        trials: Sequence[Trial | None],
        runners: Runners,
        *,
        stepping: np.ndarray | None = None,
        width: int = INPUT_DIM,
    ) -> None:
        self.trials = list(trials)
        self.runners: list[TrialRunner | None] = [None] * len(self.trials)
        self.inputs = np.zeros((len(self.trials), width), dtype=np.float32)
        self.faulted = np.zeros(len(self.trials), dtype=bool)
        self.faults = []
        self._source = runners
        self._stepping = np.zeros(1, dtype=np.int64) if stepping is None else stepping

    def start(self) -> None:
        """Begin all trials."""
        for row, trial in enumerate(self.trials):
            if trial is not None:
                self.restart(row, trial)

    def restart(self, row: int, trial: Trial) -> None:
        """Begin `trial` in `row`, in the place of what ran there."""
        self._stepping[0] = row
        self.trials[row], self.runners[row] = trial, None
        runner = self._source.idle(trial, self.runners)
        runner.inputs = self.inputs[
            row, :INPUT_DIM
        ]  # a view: the block's input is always assembled
        runner.begin(trial)
        self.runners[row], self.faulted[row] = runner, False

    def noise(self) -> np.ndarray:
        """Exploration noise of all trials, (T, B, 4) float32; zeros in rows that are not run."""
        drawn = {row: trial.noise() for row, trial in enumerate(self.trials) if trial is not None}
        steps = max(map(len, drawn.values()))
        noise = np.zeros((steps, len(self.trials), ACTION_DIM), dtype=np.float32)
        for row, values in drawn.items():
            noise[:, row] = values
        return noise

    def step(self, actions: np.ndarray) -> list[TrialStep | None]:
        """Take one step of every trial that has one left.

        Args:
            actions: (B, 4), clipped here to [-1, 1].

        Returns:
            B outcomes; None where no trial is run, or where it is over. After a fault they are
            zeros with `fault` set.

        Raises:
            FloatingPointError: an action is not finite.
        """
        clipped = np.clip(actions, -1.0, 1.0).astype(np.float32)
        if not math.isfinite(clipped.sum()):
            self._refuse(actions)
        return [
            None if runner is None or runner.finished else self._step_row(row, runner, action)
            for row, (runner, action) in enumerate(zip(self.runners, clipped, strict=True))
        ]

    def _step_row(self, row: int, runner: TrialRunner, action: np.ndarray) -> TrialStep:
        if self.faulted[row]:
            return TrialStep(0.0, False, runner.count_step(), True, {})
        self._stepping[0] = row
        at = runner.episode, runner.step_in_episode
        step = runner.step_clipped(action)
        # One sum finds whatever is not finite, at a fraction of the cost of looking at each number.
        if not step.fault and math.isfinite(float(runner.inputs.dot(ONES)) + step.reward):
            return step
        self.faults.append({**_place(runner.trial, *at), "what": _what(runner, step)})
        self.faulted[row] = True
        runner.inputs[:] = 0.0
        return TrialStep(0.0, False, step.done, True, {})

    def _refuse(self, actions: np.ndarray) -> None:
        """Raise if an action of a trial that is run here is not finite."""
        for row in np.flatnonzero(~np.isfinite(actions).all(axis=1)):
            if self.runners[row] is not None:
                self._stepping[0] = row
                raise FloatingPointError(f"the policy gave a non-finite action {actions[row]}")

    @property
    def where(self) -> dict[str, Any]:
        """Task, goal, episode (from 1) and step of the trial that was begun or stepped last."""
        row = int(self._stepping[0])
        trial, runner = self.trials[row], self.runners[row]
        if trial is None:
            return {}
        return _place(trial, runner.episode, runner.step_in_episode) if runner else _place(trial)


def _place(trial: Trial, episode: int = 0, step: int = 0) -> dict[str, Any]:
    return {"task": trial.task, "goal": trial.goal_index, "episode": episode + 1, "step": step}


def _what(runner: TrialRunner, step: TrialStep) -> str:
    """What is wrong with the step, in words."""
    if step.fault:
        return "MuJoCo warned of unstable physics"
    if not math.isfinite(step.reward):
        return f"the reward is {step.reward}"
    place = np.flatnonzero(~np.isfinite(runner.inputs))
    if len(place):
        return f"input {place[0]} is {runner.inputs[place[0]]}"
    return "the input is too large to add up"
