"""Settings of long-term memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from memory.cascade import CascadeConfig

ReplayFrom = Literal["successful", "best", "all"]


@dataclass(frozen=True)
class MemoryConfig:
    """How long-term memory works, in the arms that have it."""

    anchor: float = 0.25
    """Weight of the fast policy's KL to the slow one next to it (arms with a cascade)."""
    replay: float = 1.0
    """lambda: weight of distillation on old trials (arms with replay)."""
    replay_share: float = 0.25
    """Old trials in each iteration, as a share of new ones."""
    replay_from: ReplayFrom = "successful"
    """What enters the reservoir. successful: trials with any success, which count by their share of
    successful episodes; best: of these only some, each with chance share⁴; all: every trial, all
    alike. Early trials of a task show how it is not done."""
    reservoir: int = 192
    """Trials of the lifelong sample, 0: none; fewer where they would take more than 64 MiB."""
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
            "--reservoir must be from 0 to 512": 0 <= self.reservoir <= 512,
            "--recent must be from 1 to 512": 1 <= self.recent <= 512,
            "--reencode-every must be from 1 to 1000000": 1 <= self.reencode_every <= 10**6,
            "--pull-cap must be a number from 0 to 100": 0 <= self.pull_cap <= 100,
            "--memory-dropout must be a number from 0 to 1": 0 <= self.memory_dropout <= 1,
            "--recent-exclusion must be a number from 0 to 1": 0 <= self.recent_exclusion <= 1,
            "--recent-iterations must be from 0 to 1000000": 0 <= self.recent_iterations <= 10**6,
        }
        return [m for m, holds in checks.items() if not holds] + self.cascade.problems()
