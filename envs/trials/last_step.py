"""The part of the RL² input that looks back: what the next input shows of the step before it.

RL² (Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, arXiv 1611.05763) shows an agent its last
action, reward and done flag. Strata packs them here and nowhere else, because Meta-World's own
wrapper never shows the last reward of an episode nor its done flag (SAME_STEP autoreset replaces
them by zeros).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agents.input_layout import ACTION_DIM, pack


class LastStep(NamedTuple):
    """The last step of a trial, as its next input shows it."""

    action: np.ndarray
    """(4,) float32, clipped to [-1, 1]."""
    reward: float | None
    """Unscaled; None before the first step of a trial."""
    done: bool
    """The step ended its episode."""
    change: float
    """Reward minus the reward before it in the same episode; 0 where there is none."""

    def then(self, action: np.ndarray, reward: float, done: bool) -> LastStep:
        """The step that follows this one."""
        change = 0.0 if self.reward is None or self.done else reward - self.reward
        return LastStep(action, reward, done, change)

    def pack(self, obs: np.ndarray, out: np.ndarray) -> None:
        """Write the input of an agent that sees `obs` (39,) after this step into `out` (input,)."""
        reward = 0.0 if self.reward is None else self.reward
        pack(obs, self.action, reward, self.done, self.change, out=out)


NO_STEP = LastStep(np.zeros(ACTION_DIM, np.float32), None, False, 0.0)
"""What the first input of a trial shows."""
