"""Long-term memory as a stack of levels: what `train.loop` sees as one `LongTerm`.

Levels are consolidated in their order, so one may read what an earlier one has just written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.input_layout import ACTION_DIM
from agents.rl2 import RL2Agent
from envs.trials.trial import Trial
from memory.episodic import ALL
from memory.reservoir import TrialStore, capacity
from memory.restored import whole
from train.algorithms.rollout import Rollout
from train.long_term.arms import Arm
from train.long_term.contract import MinibatchView
from train.long_term.episodic import EpisodicLevel
from train.long_term.level import IterationView, Level, LevelSetting
from train.long_term.lifetime import LifetimeLevel, make_stores
from train.long_term.replay import ReplayLevel
from train.long_term.slow_policies import SlowPolicies


class Stack:
    """Levels as one `LongTerm`.

    Args:
        levels: in the order in which they consolidate.
        cap: see `LongTerm.cap`.
    """

    uses_boundaries = False

    def __init__(self, levels: Sequence[Level], cap: float) -> None:
        self.levels, self.cap, self.iteration = tuple(levels), cap, 0

    def loss(self, view: MinibatchView) -> Tensor | None:
        """The sum of what the levels have to add; None where no level has."""
        pulls = [pull for level in self.levels if (pull := level.loss(view)) is not None]
        return sum(pulls[1:], pulls[0]) if pulls else None

    def consolidate(
        self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator
    ) -> dict[str, float]:
        """Every level takes in the iteration; nothing where physics faults left no trial."""
        self.iteration += 1
        rollout = rollout.without_faults()
        trials = len(rollout.task_ids)
        if not trials:
            return {}
        inputs = rollout.inputs.to(next(agent.parameters()).device)
        recall = torch.full((trials,), ALL) if rollout.recall is None else rollout.recall
        view = IterationView(agent, rollout, inputs, recall, self.iteration, rng)
        metrics: dict[str, float] = {}
        for level in self.levels:
            metrics |= {f"memory/{name}": value for name, value in level.consolidate(view).items()}
        return metrics

    def end_phase(self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator) -> None:
        """Nothing: no level is told when tasks change."""

    def read(self, trials: Sequence[Trial]) -> Tensor | None:
        """What `trials` may recall of their lifetimes; None where no level keeps that."""
        kept = (level for level in self.levels if isinstance(level, LifetimeLevel))
        return next((level.read(trials) for level in kept), None)

    def tensors(self) -> dict[str, Tensor]:
        """Those of all levels."""
        return {name: value for level in self.levels for name, value in level.tensors().items()}

    def state(self) -> dict[str, Any]:
        """How many iterations were consolidated, and the levels' own."""
        found = {"iteration": self.iteration}
        return found | {name: v for level in self.levels for name, v in level.state().items()}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Inverse of `tensors` and `state`."""
        self.iteration = whole(state, "iteration")
        for level in self.levels:
            level.restore(tensors, state)


def make_stack(arm: Arm, setting: LevelSetting) -> Stack:
    """The levels that an arm names, its own last."""
    memory = setting.memory
    if setting.agent.reader is not None:
        kept = LifetimeLevel(make_stores(setting.agent, setting.slots))
        return Stack([kept, *(make(setting) for make in arm.levels)], memory.pull_cap)
    levels: list[Level] = []
    replay = _replay(arm, setting) if arm.replay or arm.episodic else None
    if arm.cascade or arm.episodic:
        levels.append(_slow_policies(arm, setting, replay if arm.replay else None))
    if replay is not None:
        levels.append(replay)
    if arm.episodic:
        slow, stored = levels
        assert isinstance(slow, SlowPolicies)
        assert isinstance(stored, ReplayLevel)
        levels.append(
            EpisodicLevel(
                stored.store,
                slow.cascade,
                horizon=setting.horizon,
                reencode_every=memory.reencode_every,
                recent_iterations=memory.recent_iterations,
            )
        )
    levels += [make(setting) for make in arm.levels]
    return Stack(levels, memory.pull_cap)


def _slow_policies(arm: Arm, setting: LevelSetting, rehearsal: ReplayLevel | None) -> SlowPolicies:
    how = setting.memory.cascade
    if not arm.cascade:  # only an encoder for episodic memory: the slowest average
        how = dataclasses.replace(
            how, levels=2, consolidation="ema", half_lives=how.half_lives[-1:]
        )
    return SlowPolicies(
        setting.agent,
        how,
        anchor=setting.memory.anchor if arm.cascade else 0.0,
        learning_rate=setting.learning_rate,
        length=setting.length,
        rehearsal=rehearsal,
    )


def _replay(arm: Arm, setting: LevelSetting) -> ReplayLevel:
    memory, steps = setting.memory, setting.episodes * setting.horizon
    agent = setting.agent
    targets = agent.config.targets if agent.body is not None else 0
    trials, recent = capacity(
        memory.reservoir,
        memory.recent if arm.episodic else 0,
        steps * (agent.input_width + ACTION_DIM + targets + bool(targets)),
    )
    return ReplayLevel(
        TrialStore(
            trials,
            recent,
            steps=steps,
            inputs=agent.input_width,
            actions=ACTION_DIM,
            targets=targets,
        ),
        weight=memory.replay if arm.replay else 0.0,
        share=memory.replay_share,
        replay_from=memory.replay_from,
        length=setting.length,
    )
