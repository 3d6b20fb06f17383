"""Measures of FORK, from what was touched and what counted alone: no policy is looked into.

Success says what an agent achieves; P(right | committed) divides its skill out and stands beside
success, never in its place: an agent that gives up after a failure has it at 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envs.memory_tests.ceilings import bayes
from envs.memory_tests.fork import UNCOMMITTED, UNRELATED
from eval.goals.metrics import Interval, stratified_bootstrap, wilson


@dataclass(frozen=True)
class ForkSummary:
    """Measures of FORK trials, each with its 95 % interval.

    Attributes:
        success: by attempt, the right target touched.
        memory_index: (mean success after the first attempt - 1/M) / (Bayes' mean - 1/M): expected 0
            without memory, 1 for a perfect one.
        committed: by attempt, any target touched.
        right_if_committed: by attempt; NaN where none committed.
        win_stay: a right choice is chosen again.
        lose_shift: after a wrong choice another target is touched.
        perseveration: a target that failed earlier in the trial, and never was right since, is
            touched again; of committed attempts that had such a target.
    """

    success: tuple[Interval, ...]
    memory_index: Interval
    committed: tuple[Interval, ...]
    right_if_committed: tuple[Interval, ...]
    win_stay: Interval
    lose_shift: Interval
    perseveration: Interval


def attempts_only(choices: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choices and targets without the attempts in another scene.

    Args:
        choices: (trial, episode), as `train.algorithms.rollout.Rollout` has them transposed.
        targets: likewise; the trials agree on which episodes are of another scene.
    """
    own = (targets != UNRELATED).all(axis=0)
    return choices[:, own], targets[:, own]


def summarise_fork(
    choices: np.ndarray, targets: np.ndarray, options: int, *, switch: float = 0.0, seed: int = 0
) -> ForkSummary:
    """All measures of one agent.

    Args:
        choices: (trial N, attempt K) target touched, UNCOMMITTED for none.
        targets: (N, K) target that counted.
        options: M.
        switch: h of the trials, for Bayes' ceiling.
        seed: of the bootstrap over trials.
    """
    committed, right = choices != UNCOMMITTED, choices == targets
    before, after = choices[:, :-1], choices[:, 1:]
    moved = committed[:, 1:]
    won, lost = right[:, :-1] & moved, committed[:, :-1] & ~right[:, :-1] & moved
    failed = known_to_fail(choices, targets, options)
    asked = committed & failed.any(axis=2)
    again = np.take_along_axis(failed, np.maximum(choices, 0)[..., None], axis=2)[..., 0]
    return ForkSummary(
        success=tuple(_share(column) for column in right.T),
        memory_index=memory_index(right, options, switch=switch, seed=seed),
        committed=tuple(_share(column) for column in committed.T),
        right_if_committed=tuple(
            _share(right[:, e][committed[:, e]]) for e in range(choices.shape[1])
        ),
        win_stay=_share((before == after)[won]),
        lose_shift=_share((before != after)[lost]),
        perseveration=_share(again[asked]),
    )


def memory_index(
    right: np.ndarray, options: int, *, switch: float = 0.0, seed: int = 0
) -> Interval:
    """Memory index of outcomes (N, K) bool, with a bootstrap interval over trials.

    Where all trials agree a bootstrap shows no spread; then the bounds are those of Wilson.
    """
    chance = 1 / options
    ceiling = float(bayes(options, right.shape[1], switch)[1:].mean())
    later = right[:, 1:].mean(axis=1)
    index = stratified_bootstrap(later[None], seed=seed)
    if (later == later[0]).all() and later[0] in (0.0, 1.0):
        index = wilson(round(later.sum()), len(later))
    return Interval(
        *((x - chance) / (ceiling - chance) for x in (index.value, index.low, index.high))
    )


def known_to_fail(choices: np.ndarray, targets: np.ndarray, options: int) -> np.ndarray:
    """(N, K, M) bool: before attempt e, target i was last touched in vain in this trial."""
    failed = np.zeros((*choices.shape, options), dtype=bool)
    for attempt in range(1, choices.shape[1]):
        failed[:, attempt] = failed[:, attempt - 1]
        last = choices[:, attempt - 1]
        rows = np.flatnonzero(last != UNCOMMITTED)
        failed[rows, attempt, last[rows]] = (last != targets[:, attempt - 1])[rows]
    return failed


def _share(hits: np.ndarray) -> Interval:
    """Share of (n,) bool with Wilson's interval; NaN where n is 0."""
    return wilson(int(hits.sum()), hits.size) if hits.size else Interval(math.nan)
