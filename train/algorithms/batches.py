"""Batches of episodes that different weights act in: a trial taken apart and put together again.

A policy without memory does not notice where an episode stands in its trial, so each episode is
run as a trial of its own, and all of a batch in lockstep.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from envs.trials.trial import Trial
from train.algorithms.rollout import Rollout

TIMED = ("inputs", "actions", "log_probs", "rewards", "successes")
BY_EPISODE = ("choices", "targets")
BY_TRIAL = ("task_ids", "goals", "recall", "kinds", "practised", "shown", "true_aims")


def cut(episodes: int, rollouts: int) -> list[range]:
    """The episodes of each batch, `rollouts` in all but the last, which may have fewer."""
    return [range(first, min(first + rollouts, episodes)) for first in range(0, episodes, rollouts)]


def single_episodes(trials: Sequence[Trial], batch: range) -> list[Trial]:
    """The episodes of a batch as trials of one episode, trial by trial; a function of the seeds."""
    return [_single(trial, episode) for trial in trials for episode in batch]


def _single(trial: Trial, episode: int) -> Trial:
    seed = int(np.random.default_rng([trial.seed, 19, episode]).integers(2**63))
    fork = trial.fork
    if fork is not None:
        fork = dataclasses.replace(fork, targets=(fork.targets[episode],), seed=seed)
    return dataclasses.replace(trial, episodes=1, seed=seed, fork=fork)


def stacked(singles: Rollout, episodes: int) -> Rollout:
    """Trials of `episodes` episodes out of those of `single_episodes`, in their order.

    A trial is usable where all of its episodes are.
    """

    def in_time(values: Tensor) -> Tensor:
        apart = values.reshape(len(values), -1, episodes, *values.shape[2:]).movedim(2, 0)
        return apart.flatten(0, 1)

    known = [name for name in BY_EPISODE if getattr(singles, name) is not None]
    fixed = [name for name in BY_TRIAL if getattr(singles, name) is not None]
    return dataclasses.replace(
        singles,
        **{name: in_time(getattr(singles, name)) for name in (*TIMED, *known)},
        **{name: getattr(singles, name)[::episodes] for name in fixed},
        usable=singles.usable.reshape(-1, episodes).all(dim=1),
        episodes=episodes,
    )


def in_turn(batches: Sequence[Rollout]) -> Rollout:
    """The same trials' batches one after another in time."""
    known = [name for name in BY_EPISODE if getattr(batches[0], name) is not None]
    return dataclasses.replace(
        batches[0],
        **{
            name: torch.cat([getattr(batch, name) for batch in batches])
            for name in (*TIMED, *known)
        },
        usable=torch.stack([batch.usable for batch in batches]).all(dim=0),
        episodes=sum(batch.episodes for batch in batches),
    )


def part(rollout: Rollout, batch: range) -> Rollout:
    """Inverse of `in_turn`: the episodes of one batch."""
    steps = slice(batch.start * rollout.horizon, batch.stop * rollout.horizon)
    episodes = slice(batch.start, batch.stop)
    known = [name for name in BY_EPISODE if getattr(rollout, name) is not None]
    return dataclasses.replace(
        rollout,
        **{name: getattr(rollout, name)[steps] for name in TIMED},
        **{name: getattr(rollout, name)[episodes] for name in known},
        episodes=len(batch),
    )
