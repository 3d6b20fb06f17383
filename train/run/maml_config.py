"""Configuration of a run of `train.maml`: that of `train.rl2` without what remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

import tyro

from agents.rl2 import AgentConfig
from train.algorithms.maml_options import MamlOptions
from train.algorithms.ppo_config import PPOConfig
from train.long_term.config import MemoryConfig
from train.run.command_line import shown_first
from train.run.config import Config

NETWORK = AgentConfig(core="none", hidden=64, encoder=64, slopes=0.0)
"""An MLP of two tanh layers of 64 units; the field's is 512."""


@shown_first("suite", "task", "tasks", "seed", "total_steps", "run", "workers", "maml")
@dataclass(frozen=True)
class MamlConfig(Config):
    """Train MAML on Meta-World: a policy that adapts to a task by a gradient step."""

    maml: MamlOptions = field(default_factory=MamlOptions)
    episodes: int = 20
    """Episodes of a training trial: batches of --rollouts, with an inner step after each but the
    last."""
    horizon: int = 125
    """Steps of a training episode (H)."""
    trials: int | None = None
    """Trials of one iteration, each of one task and goal; unset: the smallest multiple of the
    tasks that is at least 20."""
    agent: AgentConfig = NETWORK
    # What only makes sense with a memory, or with PPO.
    arm: tyro.conf.Suppress[str] = "none"
    algorithm: tyro.conf.Suppress[str] = "maml"
    init_from: tyro.conf.Suppress[str | None] = None
    proposals: tyro.conf.Suppress[float | None] = 0.0
    vary: tyro.conf.Suppress[bool] = False
    balance: tyro.conf.Suppress[bool] = False
    practise: tyro.conf.Suppress[float] = 0.0
    missing: tyro.conf.Suppress[float] = 0.0
    ppo: Annotated[PPOConfig, tyro.conf.Fixed, tyro.conf.Suppress] = field(
        default_factory=PPOConfig
    )
    memory: Annotated[MemoryConfig, tyro.conf.Fixed, tyro.conf.Suppress] = field(
        default_factory=MemoryConfig
    )
    learners: tyro.conf.Suppress[int] = 1
    device: tyro.conf.Suppress[Literal["auto", "cpu", "cuda"]] = "cpu"
    video_every: tyro.conf.Suppress[int] = 0
    learner: ClassVar[str] = "MAML"
    logged_as: ClassVar[str] = "maml"

    @property
    def least_trials(self) -> int:
        """20."""
        return 20

    @property
    def targets(self) -> int:
        """0: the network has no belief over hidden targets."""
        return 0

    @property
    def label(self) -> str:
        """``maml``, ``anil``, or either with ``-ppo``."""
        return ("anil" if self.maml.anil else "maml") + "-ppo" * (self.maml.outer == "ppo")

    def validate(self, tasks: int | None = None) -> list[str]:
        """Everything wrong with this configuration."""
        found = super().validate(tasks) + self.maml.problems()
        rollouts, agent = self.maml.rollouts, self.agent
        if rollouts > 0 and (self.episodes % rollouts or self.episodes < 2 * rollouts):
            found.append(
                f"--episodes must be two or more batches of --rollouts {rollouts}: try "
                f"{max(2, -(-self.episodes // rollouts)) * rollouts}"
            )
        if (agent.core, agent.act, agent.slopes) != ("none", "direct", 0.0):
            found.append(
                "--core, --act and --slopes are for agents that remember: leave them out, or use "
                "python -m train.rl2"
            )
        if (self.arm, self.algorithm, self.proposals) != ("none", "maml", 0.0):
            found.append("train.maml has no --arm, --algorithm or --proposals: use train.rl2")
        if self.lifetimes is not None or (self.fork is not None and self.fork.interference):
            found.append(
                f"--suite {self.suite} needs a memory: use --suite FORK-reach-4, or python -m "
                "train.rl2"
            )
        return found

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`. Raises ValueError naming unknown or ill-typed fields."""
        if isinstance(values, dict) and "maml" not in values:
            program = "train.continual" if "phase_steps" in values else "train.rl2"
            raise ValueError(f"a run of {program}, to be resumed by python -m {program} --resume")
        return super().from_json(values)
