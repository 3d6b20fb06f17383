"""Lifetimes: trials of one goal, one after another, with a store that takes in each at its end.

Each goal is a slot with a store of its own. The store begins as training left it. The trials of
a slot go to where training puts recent ones, encoded as training encodes them, and are read from
the slot's next trial on. At the lifetime's end the store is dropped.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agents.input_layout import ACTION_DIM
from agents.rl2 import RL2Agent, store_weights
from envs.metaworld.suites import Suite
from envs.pool.pool import WorkerPool
from envs.pool.shared_rollout import TrialBatch
from eval.goals.measure import LANES, chunk_size, note
from eval.goals.metrics import Outcomes
from memory.reservoir import capacity
from train.collect import acting_policy
from train.long_term.episodic import entries
from train.run.checkpoint import Checkpoint
from train.run.config import Config


@dataclass(frozen=True)
class Ring:
    """Where a store holds its most recent trials.

    Attributes:
        size: R; they are the entries 0…R-1.
        passed: trials that training has put there; the next one goes to ``passed % R``.
    """

    size: int
    passed: int = 0

    @classmethod
    def of(cls, saved: Checkpoint, agent: RL2Agent, config: Config) -> Ring:
        """That of a checkpoint's store, as `train.long_term.stack` makes it."""
        floats = config.episodes * config.horizon * (agent.input_width + ACTION_DIM)
        size = capacity(config.memory.reservoir, config.memory.recent, floats)[1]
        kept = saved.state.get("long_term", {})  # a shared policy has its store and no more
        return cls(size, int(kept.get("passed", 0)))


class SlotStores:
    """One store for each of S slots, which begin as the agent's own.

    Args:
        agent: with episodic memory.
        slots: S.
        ring: where new trials go.
    """

    def __init__(self, agent: RL2Agent, slots: int, ring: Ring) -> None:
        assert agent.recall is not None
        self._recall, self._ring, self._written = agent.recall, ring, 0
        self._stores = [copy.deepcopy(agent.recall.store) for _ in range(slots)]

    def weights(self) -> dict[str, np.ndarray]:
        """What the trials of all slots recall, (S, …); see `envs.pool.pool.WorkerPool.run`."""
        with torch.no_grad():
            rows = [store_weights(store, self._recall.store) for store in self._stores]
        return {name: torch.stack([row[name].float() for row in rows]).numpy() for name in rows[0]}

    @torch.no_grad()
    def write(self, inputs: np.ndarray, usable: Sequence[bool], horizon: int) -> None:
        """Take in one trial of each slot.

        Args:
            inputs: packed inputs, (T, S, input).
            usable: of each slot, whether its trial had no physics fault; others are not written.
            horizon: H.
        """
        place = torch.tensor([(self._ring.passed + self._written) % self._ring.size])
        keys, values = entries(self._recall, torch.from_numpy(inputs), horizon)
        for slot, store in enumerate(self._stores):
            if usable[slot]:
                store.write(place, keys[slot : slot + 1], values[slot : slot + 1])
                store.settle(torch.zeros_like(store.recent))
        self._written += 1


def measure_lifetimes(
    agent: RL2Agent,
    suite: Suite,
    split: str,
    *,
    goals: int,
    episodes: int,
    horizon: int,
    trials: int,
    seed: int,
    pool: WorkerPool,
    ring: Ring,
) -> list[Outcomes]:
    """Outcomes of each trial of a lifetime; a pure function of all but the pool.

    Args:
        agent: with episodic memory.
        suite: tasks and goals.
        split: ``train`` or ``test``.
        goals: G, the first goals of each task.
        episodes: K of each trial.
        horizon: H, steps of each episode.
        trials: N, trials of each goal.
        seed: of the exploration noise.
        pool: runs the trials.
        ring: where new trials go.

    Raises:
        SuiteError: the suite has no such split.
        WorkerError: a worker failed for good.
    """
    plan = suite.evaluation_trials(
        split, goals=goals, repeats=trials, episodes=episodes, horizon=horizon, seed=seed
    )
    policy, tasks = acting_policy(agent), tuple(suite.split(split))
    found = [Outcomes.empty(tasks, goals, episodes, horizon) for _ in range(trials)]
    slots = len(plan) // trials
    size = chunk_size(plan[0].steps, slots, pool.workers)
    for first in range(0, slots, size):
        some = range(first, min(first + size, slots))
        stores = SlotStores(agent, len(some), ring)
        for number, outcomes in enumerate(found):
            now = [plan[slot * trials + number] for slot in some]
            batch: TrialBatch = pool.run(now, policy, lanes=LANES, stores=stores.weights())
            note(outcomes, now, batch)
            stores.write(batch.inputs, (~batch.faults[-1]).tolist(), horizon)
    return found
