"""Measures of RECALL, from what was touched and what counted alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.memory_tests.fork import UNCOMMITTED
from envs.memory_tests.recall import ceiling
from eval.goals.metrics import Interval, share, stratified_bootstrap, wilson
from eval.memory_tests.recall_measure import RecallOutcomes


@dataclass(frozen=True)
class RecallSummary:
    """Measures of lifetimes, each with its 95 % interval.

    Attributes:
        first: by exposure, the first attempt touches the right target.
        second: likewise the second attempt.
        committed: by exposure, the first attempt touches any target.
        by_lag: by trials since the context was met last, from 1, success of the first attempt.
        gain: one-shot gain, the second minus the first exposure, of the first attempt.
        recall_index: (mean success of first attempts from the second exposure on - 1/M) / (the
            ceiling's mean - 1/M): expected 0 without a store, 1 for a perfect one.
        belief: by exposure, what the belief holds likeliest at the last still step of the first
            attempt is right; empty where there is no belief.
    """

    first: tuple[Interval, ...]
    second: tuple[Interval, ...]
    committed: tuple[Interval, ...]
    by_lag: tuple[Interval, ...]
    gain: Interval
    recall_index: Interval
    belief: tuple[Interval, ...]

    def to_json(self) -> dict[str, Any]:
        """Every interval as [value, low, high]."""
        return {
            name: value.to_json() if isinstance(value, Interval) else [i.to_json() for i in value]
            for name, value in vars(self).items()
        }


def summarise_recall(found: RecallOutcomes, options: int, *, seed: int = 0) -> RecallSummary:
    """All measures of one policy.

    Args:
        found: what happened.
        options: M.
        seed: of the bootstrap over slots: each is one lifetime.
    """
    right = found.choices == found.targets
    rounds = [found.exposures == r + 1 for r in range(int(found.exposures.max()))]
    lags = [found.lags == lag + 1 for lag in range(int(found.lags.max(initial=0)))]
    belief = ()
    if found.believed is not None:
        known = found.believed[:, 0] == found.targets[:, 0]
        belief = tuple(share(known[some]) for some in rounds)
    curves = np.array([_by_slot(right[some, 0], found.slots[some]) for some in rounds])
    return RecallSummary(
        first=tuple(share(right[some, 0]) for some in rounds),
        second=tuple(share(right[some, 1]) for some in rounds if right.shape[1] > 1),
        committed=tuple(share(found.choices[some, 0] != UNCOMMITTED) for some in rounds),
        by_lag=tuple(share(right[some, 0]) for some in lags),
        gain=_mean(curves[1] - curves[0], seed) if len(rounds) > 1 else Interval(math.nan),
        recall_index=_index(curves[1:].mean(axis=0), found, options, seed)
        if len(rounds) > 1
        else Interval(math.nan),
        belief=belief,
    )


def recall_shares(found: RecallOutcomes, options: int) -> np.ndarray:
    """(slots,) each lifetime's part in `RecallSummary.recall_index`, whose mean they have."""
    right = (found.choices == found.targets)[:, 0]
    later = found.exposures > 1
    shares = _by_slot(right[later], found.slots[later])
    return _share_of_gain(shares, found, options)


def _index(later: np.ndarray, found: RecallOutcomes, options: int, seed: int) -> Interval:
    share = _mean(later, seed)
    if (later == later[0]).all() and later[0] in (0.0, 1.0):  # a bootstrap shows no spread
        share = wilson(round(later.sum()), len(later))
    mean = np.array(list(vars(share).values()))
    return Interval(*_share_of_gain(mean, found, options).tolist())


def _share_of_gain(success: np.ndarray, found: RecallOutcomes, options: int) -> np.ndarray:
    """Success of later first attempts as a share of what a perfect store would gain."""
    exposures, attempts = int(found.exposures.max()), found.choices.shape[1]
    chance = 1 / options
    most = float(ceiling(options, exposures, attempts)[1:, 0].mean())
    return (success - chance) / (most - chance)


def _mean(by_slot: np.ndarray, seed: int) -> Interval:
    return stratified_bootstrap(by_slot[None], seed=seed)


def _by_slot(hits: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Mean of each slot's meetings of one round."""
    return np.array([hits[slots == slot].mean() for slot in np.unique(slots)])
