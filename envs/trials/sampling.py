"""Which tasks the next training trials are of, where some tasks lack more success than others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

LEAST_LACK = 0.05  # of success; a task that never fails is dealt few trials, but some


def proposed_rounds(share: float, rounds: int) -> int:
    """How many of an iteration's rounds of all tasks are of proposed tasks.

    The nearest to `share`; where it is above 0, one at least is proposed and one is not, which
    takes two rounds or more.
    """
    return min(max(math.floor(share * rounds + 0.5), 1), rounds - 1) if share > 0 else 0


def deal(order: Sequence[str], success: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """As many trials as `order` has, dealt again to its tasks by what they lack of success.

    Each task keeps one trial; the others go out in proportion to 1 - success (a task not in
    `success` lacks all of it), by systematic resampling: a task's number is its share rounded up or
    down, and its share on average. Tasks stay interleaved, so blocks of trials cost about the same.
    """
    tasks = list(dict.fromkeys(order))
    more = len(order) - len(tasks)
    lack = np.array([1 - success.get(task, 0.0) + LEAST_LACK for task in tasks])
    edges = np.minimum(np.cumsum(lack / lack.sum() * more), more)
    edges[-1:] = more  # exactly: sums round
    numbers = 1 + np.diff(np.floor(edges + rng.random()).astype(int), prepend=0)
    return [
        task
        for turn in range(numbers.max(initial=0))
        for task, number in zip(tasks, numbers, strict=True)
        if turn < number
    ]
