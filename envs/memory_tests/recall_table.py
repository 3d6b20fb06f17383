"""Agents for RECALL that move by script: a dictionary of contexts, and none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from envs.memory_tests.fork import UNCOMMITTED
from envs.memory_tests.fork_table import bayes, play
from envs.trials.block import Runners
from envs.trials.trial import Trial


def play_lifetimes(
    rounds: Sequence[Sequence[Trial]], rng: np.random.Generator, *, remember: bool = True
) -> Iterator[np.ndarray]:
    """Run RECALL trials round by round; yields the targets touched in each trial, (K,).

    Args:
        rounds: as `envs.memory_tests.lifetimes.evaluation_rounds` gives them.
        rng: draws among targets that are alike.
        remember: keep what was tried under the first observation, which differs by the cue alone.
            Otherwise a trial knows its own attempts only.
    """
    runners, known = Runners(), {}
    try:
        for trial in (trial for trials in rounds for trial in trials):
            assert trial.fork is not None
            runner, choose = runners.idle(trial, ()), bayes()
            runner.begin(trial)
            key = trial.fork.meetings[0].slot, runner.observation.tobytes()
            past = known.setdefault(key, []) if remember else []
            choices = play(runner, trial, choose, rng, tuple(past))
            past += [
                (int(choice), bool(choice == target))
                for choice, target in zip(choices, trial.fork.targets, strict=True)
                if choice != UNCOMMITTED
            ]
            yield choices
    finally:
        runners.close()
