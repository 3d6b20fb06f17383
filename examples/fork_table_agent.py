"""A memory that passes FORK-reach in forty lines: which sites were tried, and what was told.

    cd examples
    python -m eval.evaluate --agent fork_table_agent:load --suite FORK-reach-2

It sees what every agent sees, the packed input (`agents.input_layout`): where the hand is, and in
the first steps of an attempt, when the arm does not obey, the outcome of the attempt before. Clear
`failed` at each attempt, and its memory index falls to 0.
"""

from __future__ import annotations

import numpy as np

from agents.input_layout import HAND, PREV_DONE, PREV_REWARD
from envs.memory_tests.fork import SITES

SPEED = 10.0  # of an action, per metre that is left
SHOWN = 0.5  # an outcome is shown as 1 or -1, and 0 is none


class TableAgent:
    """Tries the sites one after another and stays with the one that was right.

    Args:
        options: M of the suite.
    """

    def __init__(self, options: int = 2) -> None:
        self.options = options

    def begin(self, trials: int) -> None:
        """New trials: nothing was tried."""
        self.choice = np.zeros(trials, dtype=int)
        self.failed = np.zeros((trials, self.options), dtype=bool)

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Actions (B, 4): straight to the site that is the present choice."""
        told = observations[:, PREV_REWARD]
        for row in np.flatnonzero((observations[:, PREV_DONE] > 0.5) & (told < -SHOWN)):
            self.failed[row, self.choice[row]] = True
            self.choice[row] = self.failed[row].argmin()  # the first that has not failed
        way = np.array(SITES)[self.choice] - observations[:, HAND]
        return np.clip(np.c_[SPEED * way, np.zeros(len(way))], -1.0, 1.0)


def load() -> TableAgent:
    """The agent for two sites."""
    return TableAgent()
