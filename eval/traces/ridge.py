"""Linear probes: ridge regression on one-hot labels, all questions of one state at once.

One singular value decomposition serves every label and every strength of the penalty. The strength
is chosen for each question by the exact leave-one-out error within the training trials.
"""

from __future__ import annotations

import numpy as np

PENALTIES = (1e-1, 1e0, 1e1, 1e2, 1e3, 1e4)


def predicted(
    features: np.ndarray, labels: np.ndarray, classes: int, test: np.ndarray, train: np.ndarray
) -> np.ndarray:
    """(Q, n) classes that probes give to the test samples.

    Args:
        features: (N, D) states; scaled by the training samples' mean and spread.
        labels: (Q, N) ints below `classes`, Q questions about the same samples.
        classes: C.
        test: (N,) bool.
        train: (N,) bool.
    """
    scores = test_scores(features, labels, classes, test, train)
    return scores.argmax(axis=-1)


def test_scores(
    features: np.ndarray, labels: np.ndarray, classes: int, test: np.ndarray, train: np.ndarray
) -> np.ndarray:
    """(Q, n, C) scores of the test samples; arguments as of `predicted`."""
    inside, outside = _scaled(features, test, train)
    wanted = np.eye(classes)[labels[:, train]]  # (Q, n, C)
    centre = wanted.mean(axis=1, keepdims=True)
    left, values, right = np.linalg.svd(inside, full_matrices=False)
    seen = np.einsum("nd,qnc->qdc", left, wanted - centre)
    best = np.full(len(labels), np.inf)
    found = np.zeros((len(labels), int(test.sum()), classes))
    for penalty in PENALTIES:
        shrink = values**2 / (values**2 + penalty)
        fitted = np.einsum("nd,qdc->qnc", left * shrink, seen)
        leverage = (left**2) @ shrink + 1 / len(inside)
        missed = (wanted - centre - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]
        error = (missed**2).mean(axis=(1, 2))
        weights = np.einsum("dk,qdc->qkc", right * (values / (values**2 + penalty))[:, None], seen)
        better = error < best
        best[better] = error[better]
        found[better] = np.einsum("nk,qkc->qnc", outside, weights[better]) + centre[better]
    return found


def _scaled(
    features: np.ndarray, test: np.ndarray, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Training and test features, centred and divided by the training samples' spread."""
    inside, outside = features[train].astype(np.float64), features[test].astype(np.float64)
    centre, spread = inside.mean(axis=0), inside.std(axis=0)
    varies = spread > 1e-6
    if not varies.any():
        return np.zeros((len(inside), 1)), np.zeros((len(outside), 1))
    scale = spread[varies]
    return (inside - centre)[:, varies] / scale, (outside - centre)[:, varies] / scale


def directions(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(D, C - 1) orthonormal directions of `features` (N, D) along which labels (N,) are read.

    They are columns of the weights of a ridge probe of unscaled features. C is the number of
    classes that occur, at most `classes`: one that never does has no direction.
    """
    centred = features - features.mean(axis=0, dtype=np.float64)
    wanted = np.eye(classes)[labels]
    wanted -= wanted.mean(axis=0)
    gram = centred.T @ centred
    penalty = 1e-3 * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), centred.T @ wanted)
    basis, _, _ = np.linalg.svd(weights, full_matrices=False)
    return basis[:, : len(np.unique(labels)) - 1]
