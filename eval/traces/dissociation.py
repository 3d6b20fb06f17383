"""Does each memory serve its own benchmark? The matrix of lesions × benchmarks, and its verdict.

A cell is the mean loss of score under a lesion, paired by trial, over training seeds. "Dissociated"
is said only where the interaction of two lesions with two benchmarks excludes 0 and both lesions
are equivalent to the sham on the benchmark that is not theirs; else the page says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ROWS = {"L0": "clear L0", "L1": "hide L1", "L2/L3": "without L2/L3"}
"""Lesion of each level; the last one is a twin arm that never had slow levels."""
COLUMNS = ("FORK", "RECALL", "STREAM-FORK")
OWN = {"FORK": "L0", "RECALL": "L1", "STREAM-FORK": "L2/L3"}
MARGIN = 0.05  # a loss of less is none
SEEDS = 5  # that a claim needs
DRAWS = 2000

Losses = Sequence[np.ndarray]
"""A seed's losses (N,), each trial's score with everything minus its score under the lesion."""


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds, with bounds of a hierarchical bootstrap."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside."""
        return self.low > 0 or self.high < 0


def hierarchical(losses: Losses, *, seed: int = 0) -> np.ndarray:
    """(DRAWS,) means: seeds are drawn with replacement, then trials within each.

    A seed that is drawn twice has other trials each time. Saravanan et al. 2020, arXiv 2007.07797.
    """
    rng = np.random.default_rng([seed, 20])
    picks = rng.integers(len(losses), size=(DRAWS, len(losses)))
    means = np.empty(picks.shape)
    for number, x in enumerate(losses):
        here = picks == number
        counts = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=here.sum())
        means[here] = counts @ x / len(x)
    return means.mean(axis=1)


def estimate(draws: np.ndarray, value: float, level: float = 0.95) -> Estimate:
    """A value with the middle `level` of its draws."""
    low, high = np.quantile(draws, (0.5 - level / 2, 0.5 + level / 2))
    return Estimate(value, float(low), float(high))


def loss_of(losses: Losses) -> Estimate:
    """Mean loss over seeds with a 95 % interval."""
    return estimate(hierarchical(losses), _mean(losses))


def equivalent(losses: Losses, sham: Losses) -> bool:
    """Two one-sided tests at 5 %: the loss is within `MARGIN` of the sham's, both ways."""
    draws = hierarchical(losses) - hierarchical(sham, seed=1)
    found = estimate(draws, _mean(losses) - _mean(sham), 0.90)
    return found.low > -MARGIN and found.high < MARGIN


def _mean(losses: Losses) -> float:
    return float(np.mean([x.mean() for x in losses]))


@dataclass(frozen=True)
class Verdict:
    """Whether two memories are dissociated.

    Attributes:
        dissociated: they are.
        missing: what keeps that from being said, a sentence each.
        interaction: (own - other's) loss on the first benchmark minus that on the second.
    """

    dissociated: bool
    missing: tuple[str, ...]
    interaction: Estimate | None = None


def double_dissociation(
    cells: Mapping[tuple[str, str], Losses],
    shams: Mapping[str, Losses],
    levels: tuple[str, str] = ("L0", "L1"),
    columns: tuple[str, str] = ("FORK", "RECALL"),
) -> Verdict:
    """Of two levels and the benchmarks that are theirs.

    Args:
        cells: losses by (level, benchmark).
        shams: losses of the sham by benchmark.
        levels: which two.
        columns: their benchmarks, in the same order.
    """
    wanted = [(level, column) for level in levels for column in columns]
    missing = [f"the loss of {ROWS[r]} on {c}" for r, c in wanted if (r, c) not in cells]
    missing += [f"the sham on {c}" for c in columns if c not in shams]
    if missing:
        return Verdict(False, tuple(missing))
    missing += [
        f"{SEEDS} seeds of {ROWS[r]} on {c}: there are {len(cells[r, c])}"
        for r, c in wanted
        if len(cells[r, c]) < SEEDS
    ]
    draws = {cell: hierarchical(cells[cell], seed=n) for n, cell in enumerate(wanted)}
    means = {cell: _mean(cells[cell]) for cell in wanted}
    (a, b), (c, d) = wanted[:2], wanted[2:]
    found = estimate(
        draws[a] - draws[c] - draws[b] + draws[d], means[a] - means[c] - means[b] + means[d]
    )
    if not found.excludes_zero or found.value < 0:
        missing.append(f"an interaction above 0: it is {found.value:.2f} [{found.low:.2f}, "
                       f"{found.high:.2f}]")  # fmt: skip
    for level, column in ((levels[0], columns[1]), (levels[1], columns[0])):
        if not equivalent(cells[level, column], shams[column]):
            missing.append(f"{ROWS[level]} on {column} within {MARGIN} of the sham")
    return Verdict(not missing, tuple(missing), found)
