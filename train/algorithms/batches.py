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
from train.algorithms.rollout import TIMED, Rollout


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

    columns, rows = singles.fields()
    fields = {name: in_time(getattr(singles, name)) for name in columns}
    fields |= {name: getattr(singles, name)[::episodes] for name in rows}
    fields["usable"] = singles.usable.reshape(-1, episodes).all(dim=1)
    return dataclasses.replace(singles, **fields, episodes=episodes)


def in_turn(batches: Sequence[Rollout]) -> Rollout:
    """The same trials' batches one after another in time."""
    columns, _ = batches[0].fields()
    return dataclasses.replace(
        batches[0],
        **{name: torch.cat([getattr(batch, name) for batch in batches]) for name in columns},
        usable=torch.stack([batch.usable for batch in batches]).all(dim=0),
        episodes=sum(batch.episodes for batch in batches),
    )


def part(rollout: Rollout, batch: range) -> Rollout:
    """Inverse of `in_turn`: the episodes of one batch."""
    steps = slice(batch.start * rollout.horizon, batch.stop * rollout.horizon)
    episodes = slice(batch.start, batch.stop)
    columns, _ = rollout.fields()
    rows = {name: steps if name in TIMED else episodes for name in columns}
    fields = {name: getattr(rollout, name)[some] for name, some in rows.items()}
    return dataclasses.replace(rollout, **fields, episodes=len(batch))
