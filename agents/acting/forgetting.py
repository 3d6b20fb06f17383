"""A lesion: the short-term memory is cleared at the start of every episode of a trial."""

from __future__ import annotations

import numpy as np

from agents.acting.numpy_actor import NumpyActor
from agents.input_layout import PREV_DONE


class ForgettingActor:
    """Acts as `actor` does, without what it remembers of earlier episodes.

    It still sees the end of the episode before, in its first input.
    """

    def __init__(self, actor: NumpyActor) -> None:
        self._actor = actor

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions (B, 4), unclipped, and log-probabilities (B,), from noise (B, 4)."""
        self._actor.restart(np.flatnonzero(inputs[:, PREV_DONE] > 0.5))
        return self._actor.act(inputs, noise)
