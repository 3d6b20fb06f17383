"""Slow policies (`memory.cascade`): each follows the faster one and holds it back."""

from __future__ import annotations

import copy
import dataclasses

from torch import Tensor

from agents.rl2 import RL2Agent
from memory.behaviour import Behaviour, divergence
from memory.cascade import Cascade, CascadeConfig, Sweep
from train.algorithms.rollout import Rollout, Sequences
from train.long_term.contract import MinibatchView
from train.long_term.level import IterationView, Level
from train.long_term.replay import ReplayLevel


class SlowPolicies(Level):
    """The cascade of slow policies, and the pull of its first one on the fast policy.

    Args:
        agent: the fast policy; slow ones start as its copies that recall nothing.
        config: how they follow.
        anchor: weight of the pull; 0: none.
        learning_rate: the fast policy's.
        length: steps of back-propagation through time.
        rehearsal: where old trials come from to which slow policies are held too; None: nowhere.
    """

    def __init__(
        self,
        agent: RL2Agent,
        config: CascadeConfig,
        *,
        anchor: float,
        learning_rate: float,
        length: int,
        rehearsal: ReplayLevel | None = None,
    ) -> None:
        self.cascade = Cascade(
            without_recall(agent),
            config,
            learning_rate=learning_rate,
            unroll=_unroll,
            start=lambda policy, trials: policy.initial_state(trials),
            settle=lambda policy: policy.head.project(),
        )
        self._anchor, self._length, self._rehearsal = anchor, length, rehearsal
        self._forget()

    def loss(self, view: MinibatchView) -> Tensor | None:
        """β₁₂ KL(π_1 ‖ π_2): the fast policy stays near its slow neighbour."""
        if not self._anchor:
            return None
        if self._target_of is not view.rollout:
            inputs = view.rollout.inputs.to(view.inputs.device)
            self._target = self.cascade.sweep(self.cascade.policies[0], inputs, self._length)
            self._target_of, self._cut = view.rollout, None
        if self._cut is not view.cut:  # once per pass
            self._cut, self._slow = view.cut, self._target.done.changed(view.cut.cut)
            counts = view.rollout.belief_counts()
            self._read = None if counts is None else view.cut.cut(counts.to(view.inputs.device))
        slow = self._slow.changed(lambda x: x[:, view.index])
        read = None if self._read is None else self._read[:, view.index]
        kl = divergence(view.agent.behaviour(view.outputs), slow, read)
        return self._anchor * (kl * view.mask).sum() / view.mask.sum().clamp(min=1.0)

    def consolidate(self, view: IterationView) -> dict[str, float]:
        """Every slow policy follows the one below it."""
        self._forget()
        agent = view.agent
        seen = agent.encoder.normaliser.state_dict()  # policies differ in what they learnt only
        for policy in self.cascade.policies:
            policy.encoder.normaliser.load_state_dict(seen)  # type: ignore[union-attr]
        trials, device = len(view.recall), view.inputs.device
        replay = self._rehearsal.draw(trials, device, view.rng) if self._rehearsal else None
        counts = view.rollout.belief_counts()
        return self.cascade.follow(
            agent,
            view.inputs,
            view.rng,
            length=self._length,
            fast_start=agent.initial_state(trials, view.recall),
            read=None if counts is None else counts.to(device),
            replay=replay,
            replay_weight=self._rehearsal.weight if self._rehearsal else 0.0,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Slow policies and their optimisers."""
        return self.cascade.tensors()

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Inverse of `tensors`."""
        self._forget()
        self.cascade.restore(tensors)

    def _forget(self) -> None:
        """Drop what was computed for one iteration only."""
        self._target_of: Rollout | None = None
        self._target: Sweep
        self._cut: Sequences | None = None
        self._slow: Behaviour
        self._read: Tensor | None = None


def without_recall(agent: RL2Agent) -> RL2Agent:
    """A copy that reads nothing: slow policies encode the store, so they must not read it."""
    slow = copy.deepcopy(agent)
    slow.recall, slow.config = None, dataclasses.replace(agent.config, entries=0)
    return slow


def _unroll(policy: RL2Agent, inputs: Tensor, state: Tensor) -> tuple[Behaviour, Tensor]:
    outputs, state = policy.unroll(inputs, state)
    return policy.behaviour(outputs), state
