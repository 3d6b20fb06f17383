"""RECALL: contexts that come again (docs/memory-benchmarks.md).

A lifetime is a sequence of trials in one slot. Each of N contexts has a cue, which the still steps
show, and a target of its own, drawn anew for each lifetime and slot. In each of R rounds every
context is met once, in random order. Short-term memory is cleared at each trial's start, so the
first attempt of a later exposure is right by chance alone, unless a store kept what was found out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from envs.memory_tests.fork import CLOSING, CODES, Fork, ForkSettings, Meeting

Cue = tuple[float, ...]


def ceiling(options: int, exposures: int, attempts: int) -> np.ndarray:
    """(R, K) success by exposure and attempt of a perfect memory: one that tries no target twice.

    Args:
        options: M.
        exposures: R, trials of one context.
        attempts: K, attempts of a trial.
    """
    tried = np.arange(exposures)[:, None] * attempts + np.arange(attempts)
    return np.minimum(tried + 1, options) / options


def without_store(options: int, exposures: int, attempts: int) -> np.ndarray:
    """(R, K) the same of a memory that is perfect within a trial and cleared at its start."""
    return np.tile(ceiling(options, 1, attempts), (exposures, 1))


@dataclass(frozen=True)
class Life:
    """One lifetime: a pure function of its seeds.

    Attributes:
        slot: where it runs.
        seed: by which it is known.
        targets: (N,) the target that counts in each context.
        cues: (N,) the cue of each context, all different; empty ones where places are the cue.
        places: (N,) goal of each context, by its number in the suite's list, all different; all 0
            where codes are the cue.
        order: (R, N) the contexts of each round, in the order in which they are met.
        seeds: (R, N) of the trials, in the same order.
    """

    slot: int
    seed: int
    targets: np.ndarray
    cues: tuple[Cue, ...]
    places: np.ndarray
    order: np.ndarray
    seeds: np.ndarray

    @classmethod
    def draw(
        cls, settings: ForkSettings, seed: int, number: int, slot: int, *, split: str, goals: int
    ) -> Life:
        """A lifetime of a suite; those of the splits are of different streams.

        Args:
            settings: of the suite.
            seed: of the run or of the evaluation.
            number: which of the slot's lifetimes it is.
            slot: where it runs.
            split: ``train`` or ``test``.
            goals: different goals of the split.
        """
        assert settings.lifetimes is not None
        contexts, rounds = settings.lifetimes.contexts, settings.lifetimes.exposures
        rng = np.random.default_rng([seed, number, slot, 21, split == "test"])
        targets = rng.integers(settings.options, size=contexts)
        cues = tuple(CODES[i] for i in rng.permutation(len(CODES))[:contexts])
        order = np.array([rng.permutation(contexts) for _ in range(rounds)])
        seeds = rng.integers(2**63, size=(rounds, contexts))
        own, places = int(rng.integers(2**63)), np.zeros(contexts, dtype=int)
        if settings.lifetimes.scene:
            cues, places = ((),) * contexts, rng.permutation(goals)[:contexts]
        return cls(slot, own, targets, cues, places, order, seeds)

    def meetings(self, exposure: int) -> Iterator[tuple[Meeting, int, int]]:
        """Meeting, target and seed of each trial of a round, in order; rounds count from 1."""
        now, before = self.order[exposure - 1], self.order[max(exposure - 2, 0)]
        for place, context in enumerate(now.tolist()):
            lag = 0
            if exposure > 1:
                lag = len(now) - before.tolist().index(context) + place
            meeting = Meeting(self.slot, self.seed, context, exposure, lag, self.cues[context])
            seed = int(self.seeds[exposure - 1, place])
            yield meeting, int(self.targets[context]), seed


def round_of(
    settings: ForkSettings, task: str, life: Life, exposure: int, attempts: int, *, split: str
) -> list[tuple[int, Fork]]:
    """Seed and fork of each trial of one round of a lifetime, in the order of its contexts.

    Args:
        settings: of the suite.
        task: that is simulated.
        life: the lifetime.
        exposure: the round, from 1.
        attempts: K of each trial.
        split: the lifetime's.
    """
    return [
        (seed, _fork(settings.draw(task, seed, attempts, split=split), (target,), (meeting,)))
        for meeting, target, seed in life.meetings(exposure)
    ]


def flat(settings: ForkSettings, task: str, life: Life, *, split: str) -> tuple[int, Fork]:
    """Seed and fork of a whole lifetime as one trial."""
    assert settings.lifetimes is not None
    met = [one for r in range(settings.lifetimes.exposures) for one in life.meetings(r + 1)]
    seed = met[0][2]
    drawn = settings.draw(task, seed, settings.episodes, split=split)
    return seed, _fork(drawn, tuple(t for _, t, _ in met), tuple(m for m, _, _ in met))


def _fork(fork: Fork, targets: tuple[int, ...], meetings: tuple[Meeting, ...]) -> Fork:
    """`fork` in these contexts, one after another, as many attempts in each."""
    each = len(fork.targets) // len(targets)
    return replace(
        fork,
        targets=tuple(np.repeat(targets, each).tolist()),
        meetings=tuple(meeting for meeting in meetings for _ in range(each)),
        closing=CLOSING,
    )
