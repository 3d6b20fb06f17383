"""Performance profiles and the probability of improvement, after Agarwal et al. 2021.

arXiv 2108.13264, sections 4.2 and 4.3; `rliable` is their own code, against which tests hold this.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from eval.goals.metrics import Interval

LEAST_SEEDS = 3  # fewer say nothing of a distribution over seeds
DRAWS = 1000  # of the bootstrap


def profile(
    scores: Float[np.ndarray, "task seed"], thresholds: Float[np.ndarray, " point"]
) -> Float[np.ndarray, " point"]:
    """Part of all runs × tasks whose score is above each threshold."""
    return (scores[..., None] > thresholds).mean(axis=(0, 1))


def profile_band(
    scores: Float[np.ndarray, "task seed"], thresholds: Float[np.ndarray, " point"]
) -> Float[np.ndarray, "2 point"]:
    """Its 95 % interval: seeds are resampled within each task."""
    rng = np.random.default_rng(0)
    picks = rng.integers(scores.shape[1], size=(DRAWS, *scores.shape))
    draws = [profile(np.take_along_axis(scores, p, axis=1), thresholds) for p in picks]
    return np.quantile(draws, (0.025, 0.975), axis=0)


def improvement(
    one: Float[np.ndarray, "task seed"], other: Float[np.ndarray, "task seed2"]
) -> Interval:
    """P(a run of `one` scores above a run of `other` on the same task), ties as halves."""
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        parts = [
            np.take_along_axis(s, rng.integers(s.shape[1], size=s.shape), axis=1)
            for s in (one, other)
        ]
        draws.append(_probability(*parts))
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(_probability(one, other), float(low), float(high))


def _probability(one: np.ndarray, other: np.ndarray) -> float:
    pairs = one[:, :, None], other[:, None, :]
    return float(np.mean((pairs[0] > pairs[1]) + 0.5 * (pairs[0] == pairs[1])))


def enough(scores: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    """Arms with at least `LEAST_SEEDS` seeds."""
    return {
        arm: values
        for arm, values in scores.items()
        if values is not None and values.shape[1] >= LEAST_SEEDS
    }


def improvements(scores: Mapping[str, np.ndarray]) -> list[tuple[str, str, Interval]]:
    """Every pair of arms once, with the probability that the first is above the second."""
    pairs = itertools.combinations(scores, 2)
    return [(one, other, improvement(scores[one], scores[other])) for one, other in pairs]
