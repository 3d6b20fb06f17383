"""The arms: complete memory configurations that are compared with one another, as data."""

from __future__ import annotations

import bisect
import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from agents.rl2 import AgentConfig, parameter_count
from memory.cascade import CascadeConfig

ArmName = Literal[
    "none", "short", "short-wide", "short+replay", "long",
    "cascade", "cascade+replay", "episodic", "hierarchical",
]  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """Which levels of memory an agent has.

    Attributes:
        short: recurrent short-term memory (L0); without it the agent is an MLP.
        cascade: slow policies (L2, L3) that hold the fast one back.
        episodic: a store of past trials that is read (L1).
        replay: distillation on a reservoir of old trials.
        wide: short-term memory as large as all levels of `hierarchical` together.
    """

    short: bool = True
    cascade: bool = False
    episodic: bool = False
    replay: bool = False
    wide: bool = False

    @property
    def long_term(self) -> bool:
        """Whether anything outlives a trial besides the policy's own weights."""
        return self.cascade or self.episodic or self.replay


ARMS: dict[ArmName, Arm] = {
    "none": Arm(short=False),
    "short": Arm(),
    "short-wide": Arm(wide=True),
    "short+replay": Arm(replay=True),
    "long": Arm(short=False, cascade=True, replay=True),
    "cascade": Arm(cascade=True),
    "cascade+replay": Arm(cascade=True, replay=True),
    "episodic": Arm(episodic=True),
    "hierarchical": Arm(cascade=True, replay=True, episodic=True),
}


@dataclass(frozen=True)
class MemoryConfig:
    """How long-term memory works, in the arms that have it."""

    anchor: float = 0.25
    """Weight of the fast policy's KL to the slow one next to it (arms with a cascade)."""
    replay: float = 1.0
    """lambda: weight of distillation on old trials (arms with replay)."""
    replay_share: float = 0.25
    """Old trials in each iteration, as a share of new ones."""
    replay_from: Literal["successful", "all"] = "successful"
    """What enters the reservoir: trials that count by their share of successful episodes, or all
    alike. Early trials of a task show how it is not done."""
    reservoir: int = 192
    """Trials of the lifelong sample; fewer where they would take more than 64 MiB."""
    recent: int = 64
    """Most recent trials that episodic memory holds besides."""
    reencode_every: int = 10
    """Iterations between renewals of the slow encoder, with which all entries are encoded anew."""
    pull_cap: float = 0.5
    """rho: the gradient of anchor and replay is at most so many times PPO's."""
    memory_dropout: float = 0.25
    """Share of training trials that may recall nothing."""
    recent_exclusion: float = 0.5
    """Share of the others that may not recall what is recent, which is mostly their own task."""
    recent_iterations: int = 5
    """Iterations for which an entry is recent."""
    cascade: CascadeConfig = field(default_factory=CascadeConfig)

    def problems(self) -> list[str]:
        """Everything wrong with these values, each with the flag to change."""
        checks = {
            "--anchor must be a number from 0 to 100": 0 <= self.anchor <= 100,
            "--replay must be a number from 0 to 100": 0 <= self.replay <= 100,
            "--replay-share must be a number from 0 to 4": 0 <= self.replay_share <= 4,
            "--reservoir must be from 1 to 512": 1 <= self.reservoir <= 512,
            "--recent must be from 1 to 512": 1 <= self.recent <= 512,
            "--reencode-every must be at least 1": self.reencode_every >= 1,
            "--pull-cap must be a number from 0 to 100": 0 <= self.pull_cap <= 100,
            "--memory-dropout must be a number from 0 to 1": 0 <= self.memory_dropout <= 1,
            "--recent-exclusion must be a number from 0 to 1": 0 <= self.recent_exclusion <= 1,
            "--recent-iterations must be at least 0": self.recent_iterations >= 0,
        }
        return [m for m, holds in checks.items() if not holds] + self.cascade.problems()


def network(arm: Arm, agent: AgentConfig, memory: MemoryConfig) -> AgentConfig:
    """The agent of an arm, from the agent that was asked for."""
    if not arm.short:
        return dataclasses.replace(agent, core="none")
    if arm.wide:
        return _widened(agent, memory)
    if arm.episodic:
        return dataclasses.replace(agent, entries=memory.reservoir + memory.recent)
    return agent


def _widened(agent: AgentConfig, memory: MemoryConfig) -> AgentConfig:
    """`agent` with layers so wide that it has the parameters of all levels of `hierarchical`."""
    slow = memory.cascade.levels - 1
    goal = parameter_count(network(ARMS["hierarchical"], agent, memory))
    goal += slow * parameter_count(agent)
    hidden = agent.hidden

    def of_width(hidden: int) -> AgentConfig:
        encoder = max(1, round(agent.encoder * hidden / agent.hidden))
        return dataclasses.replace(agent, hidden=hidden, encoder=encoder)

    wider = range(hidden + 1, hidden * (slow + 4))  # parameters grow at least with the width
    fitting = bisect.bisect_right(wider, goal, key=lambda h: parameter_count(of_width(h)))
    return of_width(hidden + fitting)
