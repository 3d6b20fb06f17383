"""A runner without a simulator, which can blow up."""

import numpy as np

from agents.input_layout import INPUT_DIM
from envs.trials.trial import Trial, TrialRunner, TrialStep


class ToyRunner(TrialRunner):
    """A simulator that blows up at the fourth step of every trial whose split is not "sound"."""

    target = np.zeros(3)

    def __init__(self, task: str, *, goal_hidden: bool = True) -> None:
        self.inputs = np.zeros(INPUT_DIM, dtype=np.float32)
        self.steps = 0

    def begin(self, trial: Trial) -> np.ndarray:
        self.trial, self.episode, self.step_in_episode, self.steps = trial, 0, 0, 0
        self.inputs[:] = 0.5
        return self.inputs

    def step_clipped(self, action: np.ndarray) -> TrialStep:
        self.steps += 1
        reward, fault, kind = 1.0, False, self.trial.split
        self.inputs[:] = 0.5 + self.steps
        if self.steps == 4 and kind != "sound":
            fault = kind == "warning"
            reward = float("nan") if kind == "reward" else 1.0
            self.inputs[3] = np.inf if kind == "observation" else 1e9
        assert self.steps <= 4 or kind == "sound", "a faulted simulation must not be stepped on"
        return TrialStep(reward, True, self.count_step(), fault, {})
