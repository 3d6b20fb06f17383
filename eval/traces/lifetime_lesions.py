"""Lesions on RECALL: what the store, or the short-term memory, does for the first attempt.

A lesion acts on one trial at a time. Stores are those of the intact lifetime: each trial is run
intact and under every lesion with the same store, and the intact one alone is written into it. A
lesion that lasted for the lifetime would also change what there is to be remembered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.rl2 import RL2Agent
from envs.pool.pool import Policy, WorkerPool
from envs.trials.trial import Trial
from eval.goals.measure import LANES
from eval.memory_tests.recall_measure import (
    RecallOutcomes,
    keep,
    outcomes_of,
    recall,
    shuffled,
    stores_of,
)
from eval.memory_tests.recall_metrics import recall_shares, summarise_recall
from eval.traces.lesions import INTACT, SHAM, other_noise
from train.algorithms.rollout import Rollout
from train.collect import acting_policy, collect
from train.long_term.lifetime import make_stores


@dataclass(frozen=True)
class Lesion:
    """What is changed in a trial: who acts, on which draws, with which store."""

    policy: Policy
    trials: Callable[[Sequence[Trial]], Sequence[Trial]] = list
    store: Callable[[Tensor], Tensor] = lambda store: store


def lifetime_lesions(agent: RL2Agent, asked: Sequence[str]) -> dict[str, Lesion]:
    """What is to be taken away from an agent on RECALL, by name; ahead of it the intact one.

    Args:
        agent: the agent.
        asked: names of lesions; empty: all that the agent has something for.
    """
    policy = acting_policy(agent)
    found = {INTACT: Lesion(policy), SHAM: Lesion(policy, trials=other_noise)}
    if agent.memory.state_width:
        found["clear L0"] = Lesion(dataclasses.replace(policy, forget=True))
    if agent.reader is not None:
        found["hide L1"] = Lesion(policy, store=torch.zeros_like)
        cue = make_stores(agent, 1).cue
        found["shuffle L1"] = Lesion(policy, store=lambda store: shuffled(store, cue))
    always = INTACT, SHAM
    return {n: lesion for n, lesion in found.items() if n in always or not asked or n in asked}


def lifetime_steps(agent: RL2Agent, rounds: Sequence[Sequence[Trial]], asked: Sequence[str]) -> int:
    """Environment steps of `measure_lifetime_lesions`."""
    steps = sum(trial.steps for trials in rounds for trial in trials)
    return steps * len(lifetime_lesions(agent, asked))


def measure_lifetime_lesions(
    agent: RL2Agent,
    rounds: Sequence[Sequence[Trial]],
    asked: Sequence[str],
    *,
    options: int,
    pool: WorkerPool,
) -> dict[str, Any]:
    """Scores of each lifetime under every lesion, and success of first attempts by exposure.

    Args:
        agent: the agent.
        rounds: of lifetimes, as `envs.metaworld.suites.Suite.lifetime_rounds` gives them.
        asked: names of lesions; empty: all that the agent has something for.
        options: M.
        pool: runs the trials.

    Raises:
        WorkerError: a worker failed for good.
    """
    stores = stores_of(agent, rounds)
    chosen = lifetime_lesions(agent, asked)
    parts: dict[str, list[RecallOutcomes]] = {name: [] for name in chosen}
    for trials in rounds:
        own = None if stores is None else recall(stores, trials, "none")
        for name, lesion in chosen.items():
            rollout = _run(lesion, trials, own, pool)
            parts[name].append(outcomes_of(trials, rollout))
            if name == INTACT:
                intact = rollout
        if stores is not None:
            keep(stores, agent, intact)
    found = {name: RecallOutcomes.join(some) for name, some in parts.items()}
    return {"benchmark": "RECALL", "found": {n: _measures(o, options) for n, o in found.items()}}


def _run(lesion: Lesion, trials: Sequence[Trial], own: Tensor | None, pool: WorkerPool) -> Rollout:
    store = None if own is None else lesion.store(own)
    drawn, tasks = lesion.trials(trials), (trials[0].task,)
    return collect(pool, lesion.policy, drawn, tasks=tasks, lanes=LANES, stores=store)


def _measures(outcomes: RecallOutcomes, options: int) -> dict[str, list[float]]:
    summary = summarise_recall(outcomes, options)
    return {
        "scores": recall_shares(outcomes, options).tolist(),
        "success": [rate.value for rate in summary.first],
        "committed": [rate.value for rate in summary.committed],
    }
