"""One policy on lifetimes of RECALL: what it touched at each meeting, and what counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from agents.rl2 import RL2Agent
from envs.memory_tests.recall_table import play_lifetimes
from envs.pool.pool import Policy, WorkerPool
from envs.trials.trial import Trial
from eval.goals.measure import LANES
from eval.memory_tests.fork_measure import likeliest
from memory.lifetimes import LifetimeStores
from train.algorithms.rollout import Rollout, lives
from train.collect import collect
from train.long_term.lifetime import make_stores, write

Lesion = Literal["none", "shuffled", "another", "off"]
"""What is done to the stores before they are read: nothing, values are dealt to other contexts,
each slot reads that of another slot, or nothing is read."""


@dataclass(frozen=True)
class RecallOutcomes:
    """What happened in N meetings of a context, of K attempts each.

    Attributes:
        slots: (N,) where.
        exposures: (N,) how often the context had been met, this meeting included.
        lags: (N,) trials since it was met last, 0 at the first exposure.
        choices: (N, K) target touched, -1 for none and from a physics fault on.
        targets: (N, K) target that counted.
        faults: (N,) bool, the physics of the trial became unstable: it is not written either.
        believed: (N, K) the likeliest target by the belief at the last still step; None where
            there is no belief.
    """

    slots: np.ndarray
    exposures: np.ndarray
    lags: np.ndarray
    choices: np.ndarray
    targets: np.ndarray
    faults: np.ndarray
    believed: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        trials: Sequence[Trial],
        choices: np.ndarray,
        faults: np.ndarray,
        believed: np.ndarray | None,
    ) -> RecallOutcomes:
        """From choices (trial, episode), one row a meeting; a flat trial has many."""
        forks = [trial.fork for trial in trials if trial.fork is not None]
        met = [fork.meetings[first] for fork in forks for first in fork.firsts]
        each = len(forks[0].firsts)
        rows = (len(met), len(forks[0].targets) // each)
        targets = np.array([fork.targets for fork in forks])
        return cls(
            np.array([meeting.slot for meeting in met]),
            np.array([meeting.exposure for meeting in met]),
            np.array([meeting.lag for meeting in met]),
            choices.reshape(rows),
            targets.reshape(rows),
            np.repeat(faults, each),
            None if believed is None else believed.reshape(rows),
        )

    @classmethod
    def join(cls, parts: Sequence[RecallOutcomes]) -> RecallOutcomes:
        """One after another."""
        names = [n for n in cls.__dataclass_fields__ if getattr(parts[0], n) is not None]
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        found = {n: v.astype(int).tolist() for n, v in vars(self).items() if v is not None}
        return {"axes": ["meeting", "attempt"], "believed": None, **found}


def measure_recall(
    policy: Policy,
    rounds: Sequence[Sequence[Trial]],
    *,
    pool: WorkerPool,
    agent: RL2Agent | None = None,
    lesion: Lesion = "none",
) -> RecallOutcomes:
    """Run lifetimes round by round; stores are written after each round as in training.

    Args:
        policy: acts.
        rounds: as `envs.metaworld.suites.Suite.lifetime_rounds` gives them.
        pool: runs the trials.
        agent: whose policy it is; None: nothing is remembered nor believed.
        lesion: of the stores.

    Raises:
        WorkerError: a worker failed for good.
    """
    stores = None if agent is None else stores_of(agent, rounds)
    parts, tasks = [], (rounds[0][0].task,)
    for trials in rounds:
        recalled = None if stores is None else recall(stores, trials, lesion)
        rollout = collect(pool, policy, trials, tasks=tasks, lanes=LANES, stores=recalled)
        believed = None
        if agent is not None and agent.belief is not None:
            believed = likeliest(agent, rollout.inputs, rollout.horizon, store=rollout.stores)
        parts.append(outcomes_of(trials, rollout, believed))
        if agent is not None and stores is not None:
            keep(stores, agent, rollout)
    return RecallOutcomes.join(parts)


def stores_of(agent: RL2Agent, rounds: Sequence[Sequence[Trial]]) -> LifetimeStores | None:
    """Empty stores for the slots of `rounds`; None for an agent that reads none."""
    if agent.reader is None:
        return None
    return make_stores(agent, 1 + int(lives(rounds[-1])[:, 0].max()))


def outcomes_of(
    trials: Sequence[Trial], rollout: Rollout, believed: np.ndarray | None = None
) -> RecallOutcomes:
    """What happened in `trials`, which `rollout` has run."""
    assert rollout.choices is not None
    faults = (~rollout.usable).numpy()
    return RecallOutcomes.of(trials, rollout.choices.T.numpy(), faults, believed)


def keep(stores: LifetimeStores, agent: RL2Agent, rollout: Rollout) -> None:
    """Write a round into the stores as in training; trials with a physics fault are left out."""
    usable = rollout.without_faults()
    if len(usable.task_ids):
        write(stores, agent, usable)


def recall(stores: LifetimeStores, trials: Sequence[Trial], lesion: Lesion) -> Tensor:
    """What each trial may recall, (trial, entry, number)."""
    slots, lifetimes = lives(trials).unbind(dim=1)
    if lesion == "another":
        others = (slots + 1) % len(stores.lifetimes)
        return stores.read(others, stores.lifetimes[others])
    found = stores.read(slots, lifetimes)
    if lesion == "off":
        return torch.zeros_like(found)
    return shuffled(found, stores.cue) if lesion == "shuffled" else found


def shuffled(found: Tensor, cue: int) -> Tensor:
    """Stores (trial, entry, number) in which each value is that of another context.

    Entries of one round are of different contexts: their values move on by one.
    """
    moved = found.clone()
    for row, entries in enumerate(found):
        for age in entries[:, -1].unique():
            places = torch.nonzero(entries[:, -1] == age).flatten()
            if age > 0:
                moved[row, places, cue:-1] = entries[places.roll(1), cue:-1]
    return moved


def play_dictionary(
    rounds: Sequence[Sequence[Trial]], *, seed: int, report: Callable[[int], None]
) -> RecallOutcomes:
    """Lifetimes of an agent that moves by script and keeps what it tried in a dictionary of cues.

    Args:
        rounds: of lifetimes that are no single trials.
        seed: of its choices among targets that are alike.
        report: called with the environment steps done so far.
    """
    trials, choices = [trial for some in rounds for trial in some], []
    for found in play_lifetimes(rounds, np.random.default_rng([seed, 18])):
        choices.append(found)
        report(len(choices) * trials[0].steps)
    none = np.zeros(len(trials), dtype=bool)
    return RecallOutcomes.of(trials, np.array(choices), none, None)
