"""Episodic memory (`memory.episodic`): who writes it, and which trials may read it.

The store that is read hangs in the agent (`agents.recall`), because acting reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from agents.recall import Recall
from envs.trials.trial import Trial
from memory.cascade import Cascade
from memory.episodic import ALL, NOTHING, OLD, summarise
from memory.reservoir import TrialStore
from train.long_term.config import MemoryConfig
from train.long_term.level import IterationView, Level

ENCODED_AT_ONCE = 64  # trials; bounds the memory that encoding the store anew takes


class EpisodicLevel(Level):
    """Encodes the stored trials for the agent to recall.

    Args:
        store: the raw trials; an earlier level writes it.
        cascade: its slowest policy is the encoder.
        horizon: H, steps of an episode.
        reencode_every: iterations between renewals of the encoder.
        recent_iterations: iterations for which an entry is recent.
    """

    def __init__(
        self,
        store: TrialStore,
        cascade: Cascade,
        *,
        horizon: int,
        reencode_every: int,
        recent_iterations: int,
    ) -> None:
        self._store, self._cascade, self._horizon = store, cascade, horizon
        self._every, self._recent = reencode_every, recent_iterations

    def consolidate(self, view: IterationView) -> dict[str, float]:
        """Encode what is new, or everything by the slowest policy as it is now."""
        recall, store = view.agent.recall, self._store
        assert recall is not None, "the arm's network has no episodic memory"
        slots = torch.nonzero(store.written == view.number).flatten()
        if view.number == 1 or view.number % self._every == 0:
            slowest = self._cascade.policies[-1]
            recall.encoder.load_state_dict(slowest.encoder.state_dict())  # type: ignore[union-attr]
            recall.memory.load_state_dict(slowest.memory.state_dict())  # type: ignore[union-attr]
            slots = store.filled
        self._encode(recall, slots)
        recent = torch.zeros(len(recall.store.filled), dtype=torch.bool)
        young = store.written > view.number - self._recent
        recent[: len(young)] = young
        recall.store.settle(recent.to(recall.store.recent.device))
        return {}

    def _encode(self, recall: Recall, slots: Tensor) -> None:
        for some in slots.split(ENCODED_AT_ONCE):
            if len(some):
                inputs = self._store.at(some).inputs.to(recall.store.values.device)
                recall.store.write(some, *entries(recall, inputs, self._horizon))


def entries(recall: Recall, inputs: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """Keys and values of trials, from their packed inputs (T, B, input)."""
    return summarise(recall.encode(inputs), horizon)


def with_recall(trials: Sequence[Trial], config: MemoryConfig) -> list[Trial]:
    """Training trials with what each may recall, a function of its own seed.

    Memory dropout keeps the agent able to do without; excluding what is recent keeps it from
    learning that the store always holds its present task.
    """
    found = []
    for trial in trials:
        first, second = np.random.default_rng([trial.seed, 1]).random(2)
        recall = ALL
        if first < config.memory_dropout:
            recall = NOTHING
        elif second < config.recent_exclusion:
            recall = OLD
        found.append(dataclasses.replace(trial, recall=recall))
    return found
