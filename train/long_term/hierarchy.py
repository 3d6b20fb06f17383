"""The hierarchy of memories above short-term memory, as one `LongTerm`: who writes what, and when.

Slow policies (`memory.cascade`), a reservoir of old trials (`memory.reservoir`) and episodic
memory (`memory.episodic`, inside the agent, because acting reads it). Which of them there are is
the arm's; see docs/memory.md.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.input_layout import ACTION_DIM, INPUT_DIM
from agents.rl2 import RL2Agent
from envs.trials.trial import Trial
from memory.cascade import Cascade, chosen, gaussian_kl, minibatches
from memory.episodic import ALL, NOTHING, OLD, summarise
from memory.reservoir import Replay, TrialStore, capacity, distillation
from train.algorithms.ppo_config import PPOConfig
from train.algorithms.rollout import Rollout
from train.long_term.arms import Arm, MemoryConfig
from train.long_term.contract import MinibatchView

ENCODED_AT_ONCE = 64  # trials; bounds the memory that encoding the store anew takes


class Hierarchy:
    """Long-term memory of the arms with a cascade, replay or episodic memory.

    Args:
        agent: the fast policy; its `recall` is there if the arm is episodic.
        arm: which levels there are.
        config: how they work.
        ppo: the trainer's, for the step size and the length of back-propagation.
        episodes, horizon: K and H of training trials.
    """

    uses_boundaries = False

    def __init__(
        self,
        agent: RL2Agent,
        arm: Arm,
        config: MemoryConfig,
        ppo: PPOConfig,
        *,
        episodes: int,
        horizon: int,
    ) -> None:
        self.cap, self.config, self.iteration = config.pull_cap, config, 0
        self._horizon, self._length = horizon, ppo.bptt
        self._anchor = config.anchor if arm.cascade else 0.0
        self._replay = config.replay if arm.replay else 0.0
        self.cascade: Cascade | None = None
        self.store: TrialStore | None = None
        self._recall: Tensor | None = None
        if arm.cascade or arm.episodic:
            how = config.cascade
            if not arm.cascade:  # only an encoder for the keys: the slowest average
                how = dataclasses.replace(
                    how, levels=2, consolidation="ema", half_lives=how.half_lives[-1:]
                )
            self.cascade = Cascade(
                without_recall(agent),
                how,
                learning_rate=ppo.learning_rate,
                unroll=_unroll,
                start=self._start,
                settle=lambda policy: policy.head.project(),
            )
        if arm.replay or arm.episodic:
            steps = episodes * horizon
            trials, recent = capacity(
                config.reservoir,
                config.recent if arm.episodic else 0,
                steps * (INPUT_DIM + ACTION_DIM),
            )
            self.store = TrialStore(
                trials, recent, steps=steps, inputs=INPUT_DIM, actions=ACTION_DIM
            )
        self._forget()

    # ------------------------------------------------------------------------------------ reading

    def loss(self, view: MinibatchView) -> Tensor | None:
        """Pull towards the slow neighbour, β₁₂ KL(π_1 ‖ π_2), and towards old behaviour, λ KL."""
        parts = [part for part in (self._held(view), self._rehearsed(view)) if part is not None]
        return sum(parts[1:], parts[0]) if parts else None

    def _held(self, view: MinibatchView) -> Tensor | None:
        if not self._anchor or self.cascade is None:
            return None
        if self._held_for is not view.rollout:
            inputs = view.rollout.inputs.to(view.inputs.device)
            mean, log_std, _ = self.cascade.sweep(self.cascade.levels[0], inputs, self._length)
            self._held_for, self._target, self._pieces_of = view.rollout, (mean, log_std), None
        mean, log_std = self._target
        if self._pieces_of is not view.cut:  # once per pass
            self._pieces_of, self._pieces = view.cut, view.cut.cut(mean)
        now = view.outputs
        kl = gaussian_kl(now.mean, now.log_std, self._pieces[:, view.index], log_std)
        return self._anchor * (kl * view.mask).sum() / view.mask.sum().clamp(min=1.0)

    def _rehearsed(self, view: MinibatchView) -> Tensor | None:
        if not self._replay or self.store is None:
            return None
        if self._rehearsed_for is not view.rollout:
            self._rehearsed_for, self._pass = view.rollout, -1
            self._old = self._draw(len(view.rollout.task_ids), view.inputs.device, view.rng)
        if self._old is None:
            return None
        old, agent = self._old, view.agent
        if self._pass != view.epoch:  # as PPO: starts of the present weights, once per pass
            self._pass, self._starts = view.epoch, []
            # Nothing is recalled: what is to be retained must not hang on the store.
            state = agent.initial_state(old.count, torch.full((old.count,), NOTHING))
            with torch.no_grad():
                for part in old.inputs.split(self._length):
                    self._starts.append(state)
                    state = agent.remember(part, state)[1]
            shape = (len(old.inputs), old.count, self._length)
            self._parts = minibatches(*shape, view.count, view.rng)
        losses = []
        for step, columns in self._parts[view.number :: view.count]:
            some = old.part(slice(step * self._length, (step + 1) * self._length), columns)
            outputs, _ = agent.unroll(some.inputs, self._starts[step][columns])
            losses.append(distillation(outputs.mean, outputs.log_std, some))
        return self._replay * torch.stack(losses).mean() if losses else None

    def _draw(self, trials: int, device: torch.device, rng: np.random.Generator) -> Replay | None:
        assert self.store is not None
        old = self.store.draw(round(self.config.replay_share * trials), rng)
        if old is None or old.weight.sum() == 0:
            return None
        return Replay(**{name: value.to(device) for name, value in vars(old).items()})

    # ------------------------------------------------------------------------------------ writing

    def consolidate(
        self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator
    ) -> dict[str, float]:
        """Slow policies follow, the store takes in the trials, episodic memory is encoded."""
        self._forget()
        self.iteration += 1
        rollout = rollout.without_faults()
        trials = len(rollout.task_ids)
        if not trials:
            return {}
        device = next(agent.parameters()).device
        inputs = rollout.inputs.to(device)
        everything = torch.full((trials,), ALL)
        self._recall = everything if rollout.recall is None else rollout.recall
        metrics: dict[str, float] = {}
        if self.cascade is not None:
            seen = agent.encoder.normaliser.state_dict()  # levels differ in what they learnt only
            for level in self.cascade.levels:
                level.encoder.normaliser.load_state_dict(seen)  # type: ignore[union-attr]
            replay = self._draw(trials, device, rng) if self._replay and self.store else None
            found = self.cascade.follow(
                agent,
                inputs,
                rng,
                length=self._length,
                replay=replay,
                replay_weight=self._replay,
            )
            metrics |= {f"memory/{name}": value for name, value in found.items()}
        if self.store is not None:
            written, reads = self._take_in(agent, rollout, inputs, rng)
            metrics |= {f"memory/{name}": value for name, value in reads.items()}
            metrics["memory/trials"] = float(len(self.store))
            metrics["memory/written"] = float(len(written))
            if agent.recall is not None:
                self._encode(agent, written)
        self._recall = None
        return metrics

    def _take_in(
        self, agent: RL2Agent, rollout: Rollout, inputs: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Write trials with what the agent, as it is now, does in them.

        Returns:
            Their slots, and what a read at their ends does.
        """
        assert self.store is not None
        worth = rollout.success_by_episode().mean(dim=0)
        if self.config.replay_from == "all":
            worth = torch.ones_like(worth)
        columns, slots = self.store.assign(worth, rng)
        reads: dict[str, float] = {}
        if len(columns):
            assert self._recall is not None
            with torch.no_grad():
                start = agent.initial_state(len(columns), self._recall[columns])
                outputs, state = agent.unroll(inputs[:, columns], start)
            reads = {} if agent.recall is None else agent.recall.report(state)
            log_std = outputs.log_std.expand(len(columns), -1)
            kept = Replay(inputs[:, columns], outputs.mean, log_std, worth[columns])
            self.store.write(slots, kept, self.iteration)
        return slots, reads

    def _encode(self, agent: RL2Agent, written: Tensor) -> None:
        """Encode what is new, or everything by the slowest policy as it is now."""
        assert agent.recall is not None
        assert self.store is not None
        assert self.cascade is not None
        recall, store = agent.recall, self.store
        if self.iteration == 1 or self.iteration % self.config.reencode_every == 0:
            slowest = self.cascade.levels[-1]
            recall.encoder.load_state_dict(slowest.encoder.state_dict())  # type: ignore[union-attr]
            recall.memory.load_state_dict(slowest.memory.state_dict())  # type: ignore[union-attr]
            written = store.filled
        for slots in written.split(ENCODED_AT_ONCE):
            if len(slots):
                encoded = recall.encode(store.at(slots).inputs.to(recall.store.values.device))
                recall.store.write(slots, *summarise(encoded, self._horizon))
        recent = torch.zeros(len(recall.store.filled), dtype=torch.bool)
        young = store.written > self.iteration - self.config.recent_iterations
        recent[: len(young)] = young
        recall.store.settle(recent.to(recall.store.recent.device))

    def end_phase(self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator) -> None:
        """Nothing: no arm of the hierarchy is told when tasks change."""

    # ------------------------------------------------------------------------------------- saving

    def tensors(self) -> dict[str, Tensor]:
        """Slow policies, their optimisers and the reservoir; episodic memory is the agent's."""
        found = {} if self.cascade is None else self.cascade.tensors()
        if self.store is not None and len(self.store):
            found |= {f"store.{name}": value for name, value in self.store.tensors().items()}
        return found

    def state(self) -> dict[str, Any]:
        """Counters."""
        return {"iteration": self.iteration} | ({} if self.store is None else self.store.state())

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Inverse of `tensors` and `state`."""
        self._forget()
        self.iteration = int(state["iteration"])
        if self.cascade is not None:
            self.cascade.restore(tensors)
        kept = chosen(tensors, "store.")
        if self.store is not None and kept:
            self.store.restore(kept, state)

    def _forget(self) -> None:
        """Drop what was computed for one iteration only."""
        self._held_for: Rollout | None = None
        self._pieces_of: object = None
        self._rehearsed_for: Rollout | None = None
        self._old: Replay | None = None
        self._pass = -1

    def _start(self, policy: RL2Agent, trials: int) -> Tensor:
        """Trials start with what they were allowed to recall when they were acted."""
        return policy.initial_state(trials, self._recall if policy.recall is not None else None)


def _unroll(policy: RL2Agent, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    outputs, state = policy.unroll(inputs, state)
    return outputs.mean, outputs.log_std, state


def without_recall(agent: RL2Agent) -> RL2Agent:
    """A copy that reads nothing: slow policies encode the store, so they must not read it."""
    slow = copy.deepcopy(agent)
    slow.recall, slow.config = None, dataclasses.replace(agent.config, entries=0)
    return slow


def guarded(trials: Sequence[Trial], config: MemoryConfig) -> list[Trial]:
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
