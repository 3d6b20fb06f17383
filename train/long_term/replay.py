"""The reservoir of old trials (`memory.reservoir`), and rehearsal on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.rl2 import RL2Agent
from memory.cascade import minibatches
from memory.episodic import NOTHING
from memory.reservoir import Replay, TrialStore, distillation
from memory.restored import chosen
from train.algorithms.rollout import Rollout
from train.long_term.config import ReplayFrom
from train.long_term.contract import MinibatchView
from train.long_term.level import IterationView, Level

BEST_POWER = 4  # power: of a trial with half of its episodes successful one in sixteen is offered


class ReplayLevel(Level):
    """Takes in trials with what the agent did in them, and lets it do the same again.

    Args:
        store: holds the trials; other levels may read it.
        weight: lambda, weight of distillation on old trials; 0: trials are only stored.
        share: old trials in each iteration, as a share of new ones.
        replay_from: which trials enter the store; see `MemoryConfig`.
        length: steps of back-propagation through time.
    """

    def __init__(
        self,
        store: TrialStore,
        *,
        weight: float,
        share: float,
        replay_from: ReplayFrom,
        length: int,
    ) -> None:
        self.store, self.weight = store, weight
        self._share, self._replay_from, self._length = share, replay_from, length
        self._forget()

    def loss(self, view: MinibatchView) -> Tensor | None:
        """λ KL to what was done in old trials, which are drawn anew in each iteration."""
        if not self.weight:
            return None
        if self._drawn_for is not view.rollout:
            self._drawn_for, self._epoch = view.rollout, -1
            self._old = self.draw(len(view.rollout.task_ids), view.inputs.device, view.rng)
        if self._old is None:
            return None
        if self._epoch != view.epoch:  # as PPO: starts of the present weights, once per pass
            self._epoch, self._starts = view.epoch, self._sweep(view.agent, self._old)
            shape = (len(self._old.inputs), self._old.count, self._length)
            self._parts = minibatches(*shape, view.count, view.rng)
        losses = []
        for step, columns in self._parts[view.number :: view.count]:
            some = self._old.part(slice(step * self._length, (step + 1) * self._length), columns)
            outputs, _ = view.agent.unroll(some.inputs, self._starts[step][columns])
            losses.append(distillation(view.agent.behaviour(outputs), some))
        return self.weight * torch.stack(losses).mean() if losses else None

    @torch.no_grad()
    def _sweep(self, agent: RL2Agent, old: Replay) -> list[Tensor]:
        """The agent's memory before each stretch of old trials."""
        # Nothing is recalled: what is to be retained must not hang on the store.
        state, starts = agent.initial_state(old.count, torch.full((old.count,), NOTHING)), []
        for part in old.inputs.split(self._length):
            starts.append(state)
            state = agent.remember(part, state)[1]
        return starts

    def draw(self, trials: int, device: torch.device, rng: np.random.Generator) -> Replay | None:
        """Old trials to go with `trials` new ones; None where nothing is to be rehearsed."""
        if not self.weight:
            return None
        old = self.store.draw(round(self._share * trials), rng)
        if old is None or old.weight.sum() == 0:
            return None
        return old.to(device)

    def consolidate(self, view: IterationView) -> dict[str, float]:
        """Write trials with what the agent, as it is now, does in them."""
        self._forget()
        worth = view.rollout.success_by_episode().mean(dim=0)
        if self._replay_from == "all":
            worth = torch.ones_like(worth)
        chance = worth**BEST_POWER if self._replay_from == "best" else None
        columns, slots = self.store.assign(worth, view.rng, chance)
        metrics: dict[str, float] = {}
        if len(columns):
            agent, inputs = view.agent, view.inputs[:, columns]
            with torch.no_grad():
                start = agent.initial_state(len(columns), view.recall[columns])
                outputs, state = agent.unroll(inputs, start)
                done = agent.behaviour(outputs)
            metrics = {} if agent.recall is None else agent.recall.report(state)
            log_std = done.log_std.expand(len(columns), -1)
            counts = view.rollout.belief_counts()
            read = None if counts is None or done.scores is None else counts[:, columns]
            kept = Replay(inputs, done.mean, log_std, worth[columns], done.scores, read)
            self.store.write(slots, kept, view.number)
        return metrics | {"trials": float(len(self.store)), "written": float(len(slots))}

    def tensors(self) -> dict[str, Tensor]:
        """The stored trials."""
        if not len(self.store):
            return {}
        return {f"store.{name}": value for name, value in self.store.tensors().items()}

    def state(self) -> dict[str, Any]:
        """Counters of the sampling."""
        return dict(self.store.state())

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Inverse of `tensors` and `state`."""
        self._forget()
        if kept := chosen(tensors, "store."):
            self.store.restore(kept, state)

    def _forget(self) -> None:
        """Drop what was computed for one iteration only."""
        self._drawn_for: Rollout | None = None
        self._old: Replay | None = None
        self._epoch = -1
        self._starts: list[Tensor] = []
        self._parts: list[tuple[int, Tensor]] = []
