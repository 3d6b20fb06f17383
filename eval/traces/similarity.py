"""Are two sets of states the same up to rotation? Debiased linear CKA, and Procrustes beside it.

The plain estimator of CKA is far above 0 for unrelated states where there are many units and few
samples; the debiased one (Song et al. 2012; Kornblith et al. 2019, arXiv 1905.00414) is not. CKA
alone can be misled by a few samples (Davari et al. 2022, arXiv 2210.16156).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cka_matrix(states: Sequence[np.ndarray]) -> np.ndarray:
    """(L, L) debiased linear CKA of all pairs of the same n samples, each (n, its units).

    1: the same up to rotation and scale. About 0: unrelated; it may be a little below. NaN where
    one is constant.
    """
    grams = [_gram(values) for values in states]
    own = [_hsic(gram, gram) for gram in grams]
    count = len(states)
    found = np.empty((count, count))
    for i in range(count):
        for j in range(i + 1):
            found[i, j] = found[j, i] = _ratio(_hsic(grams[i], grams[j]), own[i], own[j])
    return found


def _ratio(both: float, first: float, second: float) -> float:
    scale = first * second
    return float(both / np.sqrt(scale)) if scale > 0 else float("nan")


def _gram(values: np.ndarray) -> np.ndarray:
    """(n, n) products of samples, float64, its diagonal 0, scaled to a mean square of 1."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    gram = centred @ centred.T
    np.fill_diagonal(gram, 0.0)
    scale = np.sqrt((gram**2).mean())
    return gram / scale if scale > 0 else gram


def _hsic(left: np.ndarray, right: np.ndarray) -> float:
    """Unbiased estimate, up to a factor, of two Gram matrices with zero diagonals."""
    n = len(left)
    sums = left.sum(axis=0), right.sum(axis=0)
    first = float((left * right).sum())
    second = float(sums[0].sum() * sums[1].sum()) / ((n - 1) * (n - 2))
    third = 2 * float(sums[0] @ sums[1]) / (n - 2)
    return first + second - third


def procrustes(first: np.ndarray, second: np.ndarray) -> float:
    """Share of (n, D) that the best rotation and scale of (n, E) gives; 1: the same up to these."""
    left, right = (x.astype(np.float64) - x.mean(axis=0, dtype=np.float64) for x in (first, second))
    scale = np.linalg.norm(left) * np.linalg.norm(right)
    if scale == 0:
        return float("nan")
    return float(np.linalg.svd(left.T @ right, compute_uv=False).sum() / scale)


def effective_rank(values: np.ndarray) -> float:
    """Exp of the entropy of normalised singular values of centred (n, D) (Roy & Vetterli 2007)."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    shares = np.linalg.svd(centred, compute_uv=False)
    if shares.sum() == 0:
        return 0.0
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def dormant(values: np.ndarray, threshold: float = 0.025) -> float:
    """Share of units of (n, D) that are hardly ever active (Sokar et al. 2023, arXiv 2302.12902).

    Their mean activity is at most `threshold` of the layer's mean.
    """
    activity = np.abs(values.astype(np.float64)).mean(axis=0)
    mean = activity.mean()
    return float((activity <= threshold * mean).mean()) if mean > 0 else 1.0
