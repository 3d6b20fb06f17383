"""Aims over (part, place), drawn from a belief over them: `agents.place_belief` in NumPy.

What a task asks is nearly always that a part, the hand or an object, comes to a place. An aim says
so in four numbers, and is written into the input as in `agents.acting.aims`. It is drawn anew at
the first input of each episode, where the memory has seen all of the episodes before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.input_layout import AIM, PREV_DONE

AIM_NUMBERS = 4
"""Of an aim: 1 for the hand or 0 for an object, and the place in `UNIT` from `CENTRE`."""
CENTRE = np.array((0.0, 0.65, 0.15))  # metres, of the places that tasks ask for
UNIT = 0.15  # metres: places lie within some units of the centre
COMPONENT = 8
"""Numbers of one component: its score, the score of the hand, place (3) and spread (3)."""
LEAST_SPREAD, MOST_SPREAD = 0.1, 3.0  # in units; 1.5 cm is well within what counts as success


def aim_at(hand: bool, place: Sequence[float] | np.ndarray) -> np.ndarray:
    """The aim (4,) that says: the hand, or else the object, to `place` (3,) in metres."""
    return np.array([hand, *((np.asarray(place) - CENTRE) / UNIT)], dtype=np.float32)


@dataclass(frozen=True)
class PlacePlan:
    """How the aims of one trial are drawn.

    Attributes:
        seed: of the draws, which are a function of it and the number of the episode.
        shown: the aim (4,) that is shown in all episodes instead, as in practice; None: none.
    """

    seed: tuple[int, ...]
    shown: np.ndarray | None = None

    def aim(self, scores: np.ndarray, episode: int) -> np.ndarray:
        """The aim (4,) of an episode, given the belief's scores (8 K,) at its first step."""
        if self.shown is not None:
            return self.shown
        rng = np.random.default_rng([*self.seed, 16, episode])
        return drawn(scores, rng.random(2), rng.standard_normal(3))


def drawn(scores: np.ndarray, uniform: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """A sample (4,) of the mixture with scores (8 K,), by `uniform` (2,) and `normal` (3,)."""
    parts = scores.astype(np.float64).reshape(-1, COMPONENT)
    reached = np.cumsum(np.exp(parts[:, 0] - parts[:, 0].max()))
    chosen = parts[int((reached / reached[-1] <= uniform[0]).sum())]
    spread = LEAST_SPREAD * (MOST_SPREAD / LEAST_SPREAD) ** _sigmoid(chosen[5:])
    place = chosen[2:5] + spread * normal
    return np.array([uniform[1] < _sigmoid(chosen[1]), *place], dtype=np.float32)


class PlaceAims:
    """Draws the aims of a block of trials.

    Args:
        weights: the agent's; those of the belief are among them.
        plans: one for each row; None: the row has no aim.
    """

    def __init__(
        self, weights: Mapping[str, np.ndarray], plans: Sequence[PlacePlan | None]
    ) -> None:
        self._belief = np.ascontiguousarray(weights["belief.weight"].T), weights["belief.bias"]
        self._plans = plans
        self._now = np.zeros((len(plans), AIM_NUMBERS), dtype=np.float32)
        self._episode = np.full(len(plans), -1)
        self._fresh = np.ones(len(plans), dtype=bool)

    def restart(self, rows: int | slice | np.ndarray) -> None:
        """An episode begins in these rows, whatever their next input shows of the last one."""
        self._fresh[rows] = True

    def write(self, inputs: np.ndarray, hidden: np.ndarray) -> None:
        """Write the present aims into `inputs` (B, input), given the memory's output (B, H)."""
        due = self._fresh | (inputs[:, PREV_DONE] > 0.5)
        if due.any():
            scores = hidden @ self._belief[0] + self._belief[1]  # of all: bits depend on the shape
            self._episode[due] += 1
            for row in np.flatnonzero(due).tolist():
                plan = self._plans[row]
                if plan is not None:
                    self._now[row] = plan.aim(scores[row], int(self._episode[row]))
            self._fresh[:] = False
        inputs[:, AIM] = self._now


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
