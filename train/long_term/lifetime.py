"""The stores of lifetimes (`memory.lifetimes`) in training: one for each slot of an iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from agents.rl2 import RL2Agent
from envs.trials.trial import Trial
from memory.lifetimes import LifetimeStores
from memory.restored import chosen
from train.algorithms.rollout import Rollout, lives
from train.long_term.level import IterationView, Level


class LifetimeLevel(Level):
    """Writes each trial into the store of its slot, for later trials of the lifetime to read.

    Args:
        stores: of all slots.
    """

    def __init__(self, stores: LifetimeStores) -> None:
        self.stores = stores

    def read(self, trials: Sequence[Trial]) -> Tensor:
        """What `trials` may recall, (trial, entry, number)."""
        return self.stores.read(*lives(trials).unbind(dim=1))

    def consolidate(self, view: IterationView) -> dict[str, float]:
        """Take in the iteration's trials as the agent, as it is now, remembers them."""
        write(self.stores, view.agent, view.rollout)
        return {"written": float(len(view.rollout.task_ids))}

    def tensors(self) -> dict[str, Tensor]:
        """The stores."""
        return {f"lifetime.{name}": value for name, value in self.stores.tensors().items()}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Inverse of `tensors`."""
        own = chosen(tensors, "lifetime.")
        self.stores.restore(own)


def make_stores(agent: RL2Agent, slots: int) -> LifetimeStores:
    """Empty stores for an agent that reads them."""
    assert agent.reader is not None
    row, hidden = agent.reader.row, agent.memory.hidden
    return LifetimeStores(slots, agent.reader.entries, cue=row - hidden - 1, value=hidden)


@torch.no_grad()
def write(stores: LifetimeStores, agent: RL2Agent, rollout: Rollout) -> None:
    """Write one round of trials, none of them with a physics fault.

    Args:
        stores: to write into.
        agent: reads what the trials read, and remembers them.
        rollout: the trials with their lives and with what they could recall.
    """
    assert agent.reader is not None
    assert rollout.lives is not None
    device = next(agent.parameters()).device
    inputs = rollout.inputs.to(device)
    start = agent.initial_state(inputs.shape[1], store=rollout.stores)
    _, state = agent.remember(inputs, start)
    slots, lifetimes = rollout.lives.unbind(dim=1)
    stores.write(slots, lifetimes, *agent.reader.entry(inputs, state))
