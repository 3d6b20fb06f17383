"""The targets that a block of trials aims at, drawn from the belief: `agents.posterior` in NumPy.

An aim is written into the input, after the numbers of `agents.input_layout`, so everything that
learns from inputs sees what the policy saw. The memory does not read it: in trials that practise it
is the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.input_layout import AIM, PREV_DONE

NOT_SHOWN = -1


@dataclass(frozen=True)
class AimPlan:
    """How the aims of one trial are drawn.

    Attributes:
        draws: (K,) uniform numbers in [0, 1), one for each attempt.
        shown: (K,) the targets that are shown instead of drawn, as in practice, or NOT_SHOWN.
        still: F, still steps of an attempt; the aim is drawn at the last of them.
    """

    draws: np.ndarray
    shown: np.ndarray
    still: int


class Aims:
    """Draws the aims of a block of trials in lockstep.

    Args:
        weights: the agent's; those of the belief are among them.
        plans: one for each row; None: the row has no aim.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], plans: Sequence[AimPlan | None]) -> None:
        self._belief = np.ascontiguousarray(weights["belief.weight"].T), weights["belief.bias"]
        self._plans = plans
        self._now = np.zeros((len(plans), len(self._belief[1])), dtype=np.float32)
        self._attempt = np.zeros(len(plans), dtype=int)
        self._step = np.zeros(len(plans), dtype=int)

    def write(self, inputs: np.ndarray, hidden: np.ndarray) -> None:
        """Write the present aims into `inputs` (B, input), given the memory's output (B, H)."""
        ended = inputs[:, PREV_DONE] > 0.5
        self._attempt[ended] += 1
        self._step[ended] = 0
        self._now[ended] = 0.0  # the arm does not obey: there is nothing to aim at
        scores = hidden @ self._belief[0] + self._belief[1]  # of all rows: their bits depend on it
        for row, plan in enumerate(self._plans):
            if plan is not None and self._step[row] == plan.still - 1:
                self._now[row, self._draw(row, plan, scores[row])] = 1.0
        self._step += 1
        inputs[:, AIM] = self._now

    def _draw(self, row: int, plan: AimPlan, scores: np.ndarray) -> int:
        attempt = self._attempt[row]
        if plan.shown[attempt] >= 0:
            return int(plan.shown[attempt])
        chances = np.exp(scores.astype(np.float64) - scores.max())
        reached = np.cumsum(chances) / chances.sum()
        return min(
            int(np.searchsorted(reached, plan.draws[attempt], side="right")), len(scores) - 1
        )
