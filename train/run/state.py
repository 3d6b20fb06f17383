"""Everything a run is at one moment: built from a configuration, saved, and restored exactly.

Randomness is a function of (seed, iteration), so there is no generator state to save: a resumed
run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from agents.rl2 import AgentConfig, RL2Agent
from envs.metaworld.suites import Suite
from envs.trials.trial import Trial
from memory.cascade import chosen
from memory.cores.registry import CoreError
from train.algorithms.learner import Learner
from train.algorithms.registry import ALGORITHMS
from train.algorithms.rollout import Rollout
from train.long_term.contract import LongTerm
from train.long_term.episodic import with_recall
from train.long_term.level import LevelSetting
from train.long_term.stack import make_stack
from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.config import Config
from train.run.config_io import build
from train.run.run_folder import identity
from train.run.stream_config import StreamConfig, read_config

TASK_SMOOTHING = 0.08  # of a task's training success: about the last twelve iterations


@dataclass
class TrainState:
    """What changes while a run goes on.

    Attributes:
        learner: what learns, changed in place.
        iteration: iterations done.
        steps: environment steps taken.
        best: highest smoothed training success so far.
        success: exponentially smoothed training success.
        success_by_task: the same of each task, by which trials are dealt.
        long_term: what keeps old knowledge, in the arms that have it.
    """

    learner: Learner
    iteration: int = 0
    steps: int = 0
    best: float = -1.0
    success: float | None = None
    success_by_task: dict[str, float] = field(default_factory=dict)
    long_term: LongTerm | None = None

    @property
    def agent(self) -> RL2Agent:
        """The network that acts."""
        return self.learner.agent

    @property
    def parameters(self) -> int:
        """Learnt numbers of the network that acts."""
        return sum(p.numel() for p in self.agent.parameters() if p.requires_grad)

    def with_recall(self, trials: Sequence[Trial], config: Config) -> list[Trial]:
        """Training trials with what of episodic memory each may see."""
        return list(trials) if self.agent.recall is None else with_recall(trials, config.memory)

    def consolidate(self, rollout: Rollout, seed: int) -> dict[str, float]:
        """Let long-term memory, where there is one, take in an iteration that has been learnt."""
        if self.long_term is None:
            return {}
        rng = np.random.default_rng([seed, self.iteration, 4])
        return self.long_term.consolidate(self.agent, rollout, rng)

    def minibatch_rng(self, seed: int) -> np.random.Generator:
        """The generator that shuffles this iteration's minibatches."""
        return np.random.default_rng([seed, self.iteration, 2])

    def boundary_rng(self, seed: int) -> np.random.Generator:
        """The generator of what is done at a phase's end."""
        return np.random.default_rng([seed, self.iteration, 5])

    def note_success(self, value: float, rate: float) -> None:
        """Smooth the training success that chooses the best checkpoint; NaN is left out."""
        if value == value:
            self.success = _smoothed(self.success, value, rate)

    def note_success_by_task(self, found: Mapping[str, float | None]) -> None:
        """Smooth the training success of the tasks that had a usable trial."""
        for task, value in found.items():
            if value is not None:
                before = self.success_by_task.get(task)
                self.success_by_task[task] = _smoothed(before, value, TASK_SMOOTHING)

    def save(self, config: Config) -> Path:
        """Write a checkpoint into the run folder. Raises CheckpointError if it cannot."""
        kept = {} if self.long_term is None else self.long_term.tensors()
        return checkpoint.save(
            config.run_folder / "checkpoints",
            self.steps,
            tensors={
                **self.learner.tensors(),
                **({"long_term": kept} if kept else {}),
            },
            state={
                "iteration": self.iteration,
                "steps": self.steps,
                "best": self.best,
                "success": self.success,
                "success_by_task": self.success_by_task,
                "long_term": None if self.long_term is None else self.long_term.state(),
                "network": dataclasses.asdict(self.agent.config),
            },
            config=config.to_json(),
            run=identity(config.run_folder),
            keep=config.keep,
        )

    def restore(self, saved: Checkpoint) -> None:
        """Become what was saved. Raises CheckpointError where it is of another architecture."""
        try:
            self.learner.restore(saved.tensors)
            for name in ("iteration", "steps", "best", "success"):
                setattr(self, name, saved.state[name])
            self.success_by_task = dict(saved.state.get("success_by_task", {}))  # older: none
            if self.long_term is not None:
                kept = saved.tensors.get("long_term", {})
                self.long_term.restore(kept, saved.state["long_term"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{saved.path} does not fit its configuration: {error}"
            ) from error


def initialise(config: Config, suite: Suite) -> TrainState:
    """A new learner: weights are a function of the seed.

    Orthogonal matrices differ in their last digits with the number of threads, so that this process
    from now on uses the run's.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    learner = ALGORITHMS.find(config.algorithm)(config, suite)
    return TrainState(learner, long_term=make_long_term(config, learner.agent))


def make_long_term(config: Config, agent: RL2Agent) -> LongTerm | None:
    """What keeps old knowledge in the arm of `config`; None: nothing does."""
    arm = config.chosen_arm
    if arm.reference is not None:
        assert isinstance(config, StreamConfig), "Config.validate refuses it elsewhere"
        return arm.reference(agent, config.reference)
    if not arm.long_term:
        return None
    setting = LevelSetting(
        agent,
        config.memory,
        learning_rate=config.ppo.learning_rate,
        length=config.ppo.bptt,
        episodes=config.episodes,
        horizon=config.horizon,
    )
    return make_stack(arm, setting)


def load_agent(saved: Checkpoint, *, level: int = 1) -> tuple[RL2Agent, Config]:
    """The agent of a checkpoint and the configuration of its run, for evaluation.

    Args:
        saved: a checkpoint.
        level: 1 for the policy that learns, 2, 3, … for a slow policy of the cascade, which acts
            without reading episodic memory.

    Raises:
        CheckpointError: the checkpoint is not one of ours or does not fit its configuration.
    """
    try:
        config = read_config(saved.config)
        # Said by the checkpoint, so that an arm from a user's file need not be imported.
        own = saved.state.get("network")
        network = config.network if own is None else build(AgentConfig, own)
        tensors = saved.tensors["agent"]
        if level != 1:
            network = dataclasses.replace(network, entries=0)
            tensors = chosen(saved.tensors.get("long_term", {}), f"level{level}.")
            if not tensors:
                raise ValueError(f"arm {config.arm} has no policy of level {level}")
        agent = RL2Agent(network)
        agent.load_state_dict(tensors)
    except CoreError as error:
        raise CheckpointError(
            f"{saved.path} holds an agent that cannot be made: {error}"
        ) from error
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{saved.path} does not hold a Strata agent: {error}") from error
    return agent.eval(), dataclasses.replace(config, device="cpu")


def _smoothed(before: float | None, value: float, rate: float) -> float:
    return value if before is None else before + rate * (value - before)
