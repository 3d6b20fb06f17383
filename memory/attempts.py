"""Memory of the attempts of one trial: which earned most, and how to do it again.

Every episode of a trial starts alike, so an attempt that went well can be made again from what
decided it: the exploration noise it was acted with (all else is a function of what is observed).
To keep the best of what was tried and repeat it is episodic control (Lengyel & Dayan 2007; Blundell
et al. 2016, arXiv 1606.04460), and going back by repeating what led there is how Go-Explore returns
(Ecoffet et al. 2021, arXiv 2004.12919). Rewards alone decide what is best: success is not seen.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


class Attempts:
    """What one trial has tried so far.

    Args:
        limit: attempts that are made anew; every later episode repeats the best of them.

    Attributes:
        made: attempts finished.
        best: most reward that an attempt has earned; -inf before the first has ended.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"at least 1 attempt is needed to have something to repeat: {limit}")
        self.limit = limit
        self.made, self.best = 0, -np.inf
        self._earned, self._step = 0.0, 0
        self._now: list[np.ndarray] = []
        self._kept: list[np.ndarray] = []

    @property
    def repeating(self) -> bool:
        """Whether the present episode repeats the best attempt."""
        return self.made >= self.limit

    def earn(self, reward: float) -> None:
        """Add the reward of a step of the present episode."""
        self._earned += reward

    def end(self) -> None:
        """The present episode has ended: keep it if it was an attempt and the best so far."""
        if not self.repeating:
            self.made += 1
            if self._earned > self.best:
                self.best, self._kept = self._earned, self._now
        self._earned, self._step, self._now = 0.0, 0, []

    def noise(self, fresh: Float[np.ndarray, " action"]) -> Float[np.ndarray, " action"]:
        """Noise of the next step: `fresh`, or that of the same step of the best attempt.

        An episode that outlasts the attempt it repeats goes on with fresh noise.
        """
        step = self._step
        self._step += 1
        if not self.repeating:
            self._now.append(fresh.copy())
            return fresh
        return self._kept[step] if step < len(self._kept) else fresh
