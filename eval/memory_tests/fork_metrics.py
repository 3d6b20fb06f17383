"""Measures of FORK, from what was touched and what counted alone: no policy is looked into.

Success says what an agent achieves; P(right | committed) divides its skill out and stands beside
success, never in its place: an agent that gives up after a failure has it at 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.memory_tests.ceilings import bayes, win_stay_lose_shift
from envs.memory_tests.fork import UNCOMMITTED
from eval.goals.metrics import Interval, share, stratified_bootstrap, wilson


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

    def to_json(self) -> dict[str, Any]:
        """Every interval as [value, low, high]."""
        return {
            name: value.to_json() if isinstance(value, Interval) else [i.to_json() for i in value]
            for name, value in vars(self).items()
        }


@dataclass(frozen=True)
class Ceilings:
    """What is exact of a suite: success by attempt of agents that move perfectly.

    Attributes:
        bayes: of a perfect memory.
        win_stay_lose_shift: of a memory of the last attempt alone; empty where the target moves.
        memoryless: the most without memory, 1/M.
    """

    bayes: tuple[float, ...]
    win_stay_lose_shift: tuple[float, ...]
    memoryless: float

    @classmethod
    def of(cls, options: int, attempts: int, switch: float) -> Ceilings:
        """Those of M targets, K attempts and the chance h that the target moves."""
        simple = () if switch else tuple(win_stay_lose_shift(options, attempts).tolist())
        return cls(tuple(bayes(options, attempts, switch).tolist()), simple, 1 / options)

    def index(self, success: Sequence[float]) -> float:
        """Memory index of a curve of success by attempt."""
        later, ceiling = sum(success[1:]), sum(self.bayes[1:])
        chance = self.memoryless * (len(success) - 1)
        return (later - chance) / (ceiling - chance)


def summarise_fork(
    choices: np.ndarray,
    targets: np.ndarray,
    options: int,
    *,
    counted: int | None = None,
    switch: float = 0.0,
    scenes: Sequence[str] = (),
    places: np.ndarray | None = None,
    seed: int = 0,
) -> ForkSummary:
    """All measures of one agent.

    Args:
        choices: (trial N, attempt K) target touched, UNCOMMITTED for none.
        targets: (N, K) target that counted.
        options: M.
        counted: how many of them may count; None: all.
        switch: h of the trials, for Bayes' ceiling.
        scenes: N scenes of the trials; (): all of one.
        places: (N,) number of the place that each trial shares with others; None: all differ.
        seed: of the bootstrap over places.
    """
    committed, right = choices != UNCOMMITTED, choices == targets
    before, after = choices[:, :-1], choices[:, 1:]
    moved = committed[:, 1:]
    won, lost = right[:, :-1] & moved, committed[:, :-1] & ~right[:, :-1] & moved
    failed = known_to_fail(choices, targets, options)
    asked = committed & failed.any(axis=2)
    again = np.take_along_axis(failed, np.maximum(choices, 0)[..., None], axis=2)[..., 0]
    return ForkSummary(
        success=shares(right),
        memory_index=memory_index(
            right, counted or options, switch=switch, scenes=scenes, places=places, seed=seed
        ),
        committed=shares(committed),
        right_if_committed=tuple(
            share(right[:, e][committed[:, e]]) for e in range(choices.shape[1])
        ),
        win_stay=share((before == after)[won]),
        lose_shift=share((before != after)[lost]),
        perseveration=share(again[asked]),
    )


def memory_index(
    right: np.ndarray,
    options: int,
    *,
    switch: float = 0.0,
    scenes: Sequence[str] = (),
    places: np.ndarray | None = None,
    seed: int = 0,
) -> Interval:
    """Memory index of outcomes (N, K) bool, with a bootstrap interval over trials, or over places.

    Trials of one place are alike, so they count as one. Scenes are strata, each with as many
    places. Where all trials agree a bootstrap shows no spread; then the bounds are those of Wilson.
    """
    chance = 1 / options
    ceiling = float(bayes(options, right.shape[1], switch)[1:].mean())
    later = right[:, 1:].mean(axis=1)
    by_place = _by_place(later, scenes or ("",) * len(later), places)
    index = stratified_bootstrap(by_place, seed=seed)
    if (by_place == later[0]).all() and later[0] in (0.0, 1.0):
        index = wilson(round(by_place.sum()), by_place.size)
    return Interval(
        *((x - chance) / (ceiling - chance) for x in (index.value, index.low, index.high))
    )


def _by_place(values: np.ndarray, scenes: Sequence[str], places: np.ndarray | None) -> np.ndarray:
    """Means of trials (N,) that share a place, (scene, place); `places` None: all differ."""
    own = np.arange(len(values)) if places is None else places
    rows: dict[str, list[float]] = {}
    for scene, place in dict.fromkeys(zip(scenes, own.tolist(), strict=True)):
        met = (np.array(scenes) == scene) & (own == place)
        rows.setdefault(scene, []).append(values[met].mean())
    return np.array(list(rows.values()))


def known_to_fail(choices: np.ndarray, targets: np.ndarray, options: int) -> np.ndarray:
    """(N, K, M) bool: before attempt e, target i was last touched in vain in this trial."""
    failed = np.zeros((*choices.shape, options), dtype=bool)
    for attempt in range(1, choices.shape[1]):
        failed[:, attempt] = failed[:, attempt - 1]
        last = choices[:, attempt - 1]
        rows = np.flatnonzero(last != UNCOMMITTED)
        failed[rows, attempt, last[rows]] = (last != targets[:, attempt - 1])[rows]
    return failed


def shares(hits: np.ndarray) -> tuple[Interval, ...]:
    """Share of trials by attempt, of (N, K) bool."""
    return tuple(share(column) for column in hits.T)
