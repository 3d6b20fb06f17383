"""The arms: complete memory configurations that are compared with one another, as data.

An arm of your own is an `Arm` in your own file: ``--arm my_module:MY_ARM``.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agents.rl2 import AgentConfig, RL2Agent, parameter_count
from train.long_term.compress import ProgressAndCompress
from train.long_term.config import MemoryConfig
from train.long_term.contract import LongTerm
from train.long_term.level import Level, LevelSetting
from train.long_term.reference import L2, OnlineEWC, ReferenceConfig
from train.registry import Registry


@dataclass(frozen=True)
class Arm:
    """Which levels of memory an agent has.

    Attributes:
        short: recurrent short-term memory (L0); without it the agent is an MLP.
        cascade: slow policies (L2, L3) that hold the fast one back.
        episodic: a store of past trials that is read (L1).
        replay: distillation on a reservoir of old trials.
        levels: functions that make further levels, consolidated after the others.
        large_as: an arm whose number of parameters, all levels together, the agent gets.
        reference: makes a reference learner in place of levels; on streams only.
        tasks: how the tasks of a stream come: one after another, all at once, or one after another
            with a new learner for each.
    """

    short: bool = True
    cascade: bool = False
    episodic: bool = False
    replay: bool = False
    levels: tuple[Callable[[LevelSetting], Level], ...] = ()
    large_as: Arm | None = None
    reference: Callable[[RL2Agent, ReferenceConfig], LongTerm] | None = None
    tasks: Literal["in turn", "at once", "alone"] = "in turn"

    @property
    def long_term(self) -> bool:
        """Whether any level outlives a trial besides the policy's own weights."""
        return self.cascade or self.episodic or self.replay or bool(self.levels)

    @property
    def needs_stream(self) -> bool:
        """Whether it only makes sense where tasks come one after another."""
        return self.reference is not None or self.tasks != "in turn"


HIERARCHICAL = Arm(cascade=True, replay=True, episodic=True)
ARMS: dict[str, Arm] = {
    "none": Arm(short=False),
    "short": Arm(),
    "short-wide": Arm(large_as=HIERARCHICAL),
    "short+replay": Arm(replay=True),
    "long": Arm(short=False, cascade=True, replay=True),
    "cascade": Arm(cascade=True),
    "cascade+replay": Arm(cascade=True, replay=True),
    "episodic": Arm(episodic=True),
    "hierarchical": HIERARCHICAL,
}
STREAM_ARMS: dict[str, Arm] = {
    "ewc": Arm(reference=lambda agent, how: OnlineEWC(agent, how.ewc, how.ewc_decay)),
    "l2": Arm(reference=lambda agent, how: L2(agent, how.l2)),
    "progress-compress": Arm(reference=ProgressAndCompress),
    "joint": Arm(tasks="at once"),
    "single": Arm(tasks="alone"),
}
"""Reference learners and bounds of the literature on continual learning."""

ARM_REGISTRY = Registry(
    "--arm",
    ARMS | STREAM_ARMS,
    fits=lambda found: isinstance(found, Arm),
    must_be="a train.long_term.arms.Arm",
)


def network(arm: Arm, agent: AgentConfig, memory: MemoryConfig) -> AgentConfig:
    """The agent of an arm, from the agent that was asked for."""
    if not arm.short:
        return dataclasses.replace(agent, core="none")
    if arm.large_as is not None:
        return _widened(arm.large_as, agent, memory)
    if arm.episodic and not agent.lifetime:
        return dataclasses.replace(agent, entries=memory.reservoir + memory.recent)
    return agent


def _widened(arm: Arm, agent: AgentConfig, memory: MemoryConfig) -> AgentConfig:
    """`agent` with layers so wide that it has the parameters of all levels of `arm`."""
    slow = memory.cascade.levels - 1 if arm.cascade else 0
    goal = parameter_count(network(arm, agent, memory))
    goal += slow * parameter_count(agent)
    hidden = agent.hidden

    def of_width(hidden: int) -> AgentConfig:
        encoder = max(1, round(agent.encoder * hidden / agent.hidden))
        return dataclasses.replace(agent, hidden=hidden, encoder=encoder)

    wider = range(hidden + 1, hidden * (slow + 4))  # parameters grow at least with the width
    fitting = bisect.bisect_right(wider, goal, key=lambda h: parameter_count(of_width(h)))
    return of_width(hidden + fitting)
