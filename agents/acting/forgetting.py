"""A lesion for FORK: the agent acts in each attempt without memory of the ones before it."""

from __future__ import annotations

import numpy as np

from agents.acting.numpy_actor import NumpyActor
from agents.input_layout import PREV_DONE, PREV_REWARD


class ForgettingActor:
    """Acts as `actor` does, without what it remembers of earlier attempts.

    Its query of a store (`agents.recall`) begins anew too: it would hold what it saw of them.

    The outcome of the last one is hidden too: an agent whose first choice is always the same would
    know from the outcome alone what it tried. That an attempt has just ended stays visible; it says
    nothing of the target.
    """

    def __init__(self, actor: NumpyActor) -> None:
        self._actor = actor

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions (B, 4), unclipped, and log-probabilities (B,), from noise (B, 4)."""
        self._actor.restart(np.flatnonzero(inputs[:, PREV_DONE] > 0.5))
        inputs[:, PREV_REWARD] = 0.0
        return self._actor.act(inputs, noise)
