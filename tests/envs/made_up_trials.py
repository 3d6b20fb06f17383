"""Two short trials of reach and how a runner runs them."""

import dataclasses

import numpy as np

from envs.trials.trial import Trial, TrialRunner

GOAL = (0.0, 0.6, 0.02, 0.1, 0.8, 0.1)
TRIAL = Trial("reach-v3", GOAL, 3, "train", episodes=3, horizon=4, seed=5)
OTHER = dataclasses.replace(TRIAL, goal=(0.05, 0.65, 0.02, -0.1, 0.85, 0.2), goal_index=4, seed=6)


def actions(trial: Trial, seed: int = 0) -> np.ndarray:
    """Beyond the action box now and then, as Gaussian actions are."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.8, (trial.steps, 4)).astype(np.float32)


def run(runner: TrialRunner, trial: Trial):
    """Inputs before each step and after the last, (T + 1, 46), and the outcomes of all steps."""
    inputs, steps = [runner.begin(trial).copy()], []
    for action in actions(trial):
        steps.append(runner.step(action))
        inputs.append(runner.inputs.copy())
    return np.stack(inputs), steps
