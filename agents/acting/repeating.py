"""An agent that makes attempts and then repeats its best one, by a memory above the short-term one.

Each episode is begun as a trial is, with the short-term memory cleared and nothing shown of the
episode before; what is carried through the trial is `memory.attempts`. Where a memory carried
through a held-out task's episodes misleads (docs/recipe.md), this one cannot: it knows only what
was earned here.
"""

from __future__ import annotations

import numpy as np

from agents.acting.numpy_actor import NumpyActor
from agents.input_layout import OBS_DIM, PREV_DONE, PREV_REWARD
from memory.attempts import Attempts


class RepeatingActor:
    """Acts for a block of trials as `NumpyActor` does, with a memory of attempts for each.

    Args:
        actor: acts; it must not be deterministic, or all attempts are the same.
        attempts: episodes of a trial that are attempts; later ones repeat the best of them.
    """

    def __init__(self, actor: NumpyActor, attempts: int) -> None:
        self._actor = actor
        self._trials = [Attempts(attempts) for _ in range(actor.trials)]

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions (B, 4), unclipped, and log-probabilities (B,), from noise (B, 4).

        What is earned is read from the inputs (B, input), which show the last step's reward.
        """
        inputs, noise = inputs.copy(), noise.copy()
        for row, trial in enumerate(self._trials):
            trial.earn(float(inputs[row, PREV_REWARD]))
            if inputs[row, PREV_DONE] > 0.5:
                trial.end()
                self._actor.restart(row)
                inputs[row, OBS_DIM:] = 0.0
            noise[row] = trial.noise(noise[row])
        return self._actor.act(inputs, noise)
