"""How soon and for how long the episodes of a trial succeed.

Success at any step saturates; these two do not, so they still see an agent that becomes faster.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def steps_to_success(
    successes: Bool[np.ndarray, "episode step trial"],
) -> Float[np.ndarray, "episode trial"]:
    """Steps of each episode up to and with its first success; the horizon where there is none.

    Their mean is a restricted mean (Royston & Parmar 2013): an episode that never succeeds counts
    with its whole length, because a mean over successful episodes alone would flatter.
    """
    first = successes.argmax(axis=1) + 1.0
    return np.where(successes.any(axis=1), first, float(successes.shape[1]))


def share_in_success(
    successes: Bool[np.ndarray, "episode step trial"],
) -> Float[np.ndarray, "episode trial"]:
    """Part of each episode's steps at which the task is solved, in [0, 1]."""
    return successes.mean(axis=1, dtype=np.float64)
