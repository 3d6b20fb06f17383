"""Exact success by attempt in FORK of agents that move perfectly and differ in what they remember.

    python -c "from envs.memory_tests.ceilings import bayes; print(bayes(4, 5))"

docs/memory-benchmarks.md has the table and the proof that no agent without memory exceeds 1/M.
"""

from __future__ import annotations

import functools

import numpy as np

from envs.memory_tests.belief import Belief, after_outcome, uniform

DIGITS = 9  # of a belief; beliefs that differ by round-off alone are one state
CERTAIN = 1 - 1e-9


def bayes(options: int, attempts: int, switch: float = 0.0) -> np.ndarray:
    """(K,) of a memory that is perfect and acts to succeed most often over the trial.

    A dynamic programme over beliefs, which are sorted: targets are alike but for what is known of
    them. Without a switch it is min(e, M) / M.

    Args:
        options: M.
        attempts: K.
        switch: h, the chance that the target moves between two attempts.
    """

    @functools.cache
    def best(belief: Belief, left: int) -> tuple[float, tuple[float, ...]]:
        """Most successes in the attempts that are left, and their curve."""
        if not left:
            return 0.0, ()
        return max(tried(belief, belief.index(p), left) for p in set(belief))

    def tried(belief: Belief, choice: int, left: int) -> tuple[float, tuple[float, ...]]:
        p = belief[choice]
        won = best(_sorted(after_outcome(belief, choice, True, switch)), left - 1)
        lost = won
        if p < CERTAIN:
            lost = best(_sorted(after_outcome(belief, choice, False, switch)), left - 1)
        curve = tuple(p * a + (1 - p) * b for a, b in zip(won[1], lost[1], strict=True))
        return p * (1 + won[0]) + (1 - p) * lost[0], (p, *curve)

    return np.array(best(_sorted(uniform(options)), attempts)[1])


def win_stay_lose_shift(options: int, attempts: int) -> np.ndarray:
    """(K,) of a memory of the last choice and its outcome alone, without a switch.

    It repeats what was right and otherwise tries any other target, tried before or not.
    """
    failed = (1 - 1 / options) * (1 - 1 / (options - 1)) ** np.arange(attempts)
    return 1 - failed


def tried_by_chance(options: int, attempts: int) -> float:
    """Most probable share of trials in which independent attempts have found the target.

    The K - 1 attempts before the last are a batch of one policy that learns nothing in between, as
    those are that a gradient step adapts to: 1 - (1 - 1/M)^(K - 1). A memory tries all M in turn.

    Args:
        options: M.
        attempts: K, with the last one.
    """
    return 1 - (1 - 1 / options) ** (attempts - 1)


def _sorted(belief: Belief) -> Belief:
    return tuple(sorted((round(p, DIGITS) for p in belief), reverse=True))
