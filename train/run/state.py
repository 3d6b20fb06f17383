"""Everything a run is at one moment: built from a configuration, saved, and restored exactly.

Randomness is a function of (seed, iteration), so there is no generator state to save: a resumed
run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.belief import Belief, goal_statistics
from agents.heads import Critic
from agents.rl2 import RL2Agent
from envs.metaworld.suites import Suite
from envs.trials import practice
from envs.trials.trial import Trial
from memory.cascade import chosen
from memory.cores.registry import CoreError
from train.algorithms.ppo import PPO
from train.algorithms.rollout import Rollout, pad_goals
from train.long_term.compress import ProgressAndCompress
from train.long_term.contract import LongTerm
from train.long_term.hierarchy import Hierarchy, guarded
from train.long_term.reference import L2, OnlineEWC
from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.config import Config
from train.run.run_folder import identity
from train.run.stream_config import StreamConfig, read_config

TASK_SMOOTHING = 0.08  # of a task's training success: about the last twelve iterations


@dataclass
class TrainState:
    """What changes while a run goes on.

    Attributes:
        agent, critic, belief, ppo: the learner, changed in place by `PPO.update`.
        iteration: iterations done.
        steps: environment steps taken.
        best: highest smoothed training success so far.
        success: exponentially smoothed training success.
        success_by_task: the same of each task, by which trials are dealt.
        long_term: what keeps old knowledge, in the arms that have it.
    """

    agent: RL2Agent
    critic: Critic
    belief: Belief
    ppo: PPO
    iteration: int = 0
    steps: int = 0
    best: float = -1.0
    success: float | None = None
    success_by_task: dict[str, float] = field(default_factory=dict)
    long_term: LongTerm | None = None

    def guarded(self, trials: Sequence[Trial], config: Config) -> list[Trial]:
        """Training trials with what of episodic memory each may see."""
        return list(trials) if self.agent.recall is None else guarded(trials, config.memory)

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
                "agent": self.agent.state_dict(),
                "critic": self.critic.state_dict(),
                "belief": self.belief.state_dict(),
                "optimiser": _optimiser_tensors(self.ppo.optimiser),
                **({"long_term": kept} if kept else {}),
            },
            state={
                "iteration": self.iteration,
                "steps": self.steps,
                "best": self.best,
                "success": self.success,
                "success_by_task": self.success_by_task,
                "long_term": None if self.long_term is None else self.long_term.state(),
            },
            config=config.to_json(),
            run=identity(config.run_folder),
            keep=config.keep,
        )

    def restore(self, saved: Checkpoint) -> None:
        """Become what was saved. Raises CheckpointError where it is of another architecture."""
        try:
            self.agent.load_state_dict(saved.tensors["agent"])
            self.critic.load_state_dict(saved.tensors["critic"])
            self.belief.load_state_dict(saved.tensors["belief"])
            _restore_optimiser(self.ppo.optimiser, saved.tensors["optimiser"])
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
    network = config.network
    agent = RL2Agent(network)
    goals = torch.stack([pad_goals(suite.train[task]) for task in suite.tasks])
    mean, scale = goal_statistics(goals)
    if config.proposal_share:  # their own outputs: the same scene may ask for the opposite
        others = torch.tensor(practice.MEAN), 1 / torch.tensor(practice.DEVIATION)
        mean, scale = (
            torch.cat((own, other.expand(len(own), -1)))
            for own, other in zip((mean, scale), others, strict=True)
        )
    critic = Critic(
        len(mean),
        goal_mean=mean,
        goal_scale=scale,
        memory_width=network.hidden,
        width=network.critic,
        privileged=network.privileged_critic,
    )
    told = config.proposal_share and config.ppo.kind
    belief = Belief(
        len(mean),
        goal_mean=mean,
        goal_scale=scale,
        hidden=network.hidden,
        kinds=1 + len(practice.PARTS) if told else 0,
    )
    for module in (agent, critic, belief):
        module.to(learner_device(config))
    ppo = PPO(agent, critic, belief, config.ppo)
    return TrainState(agent, critic, belief, ppo, long_term=make_long_term(config, agent))


def make_long_term(config: Config, agent: RL2Agent) -> LongTerm | None:
    """What keeps old knowledge in the arm of `config`; None: nothing does."""
    arm = config.levels
    if arm.long_term:
        shape = {"episodes": config.episodes, "horizon": config.horizon}
        return Hierarchy(agent, arm, config.memory, config.ppo, **shape)
    if not isinstance(config, StreamConfig):
        return None
    reference = config.reference
    if config.arm == "l2":
        return L2(reference.l2)
    if config.arm == "ewc":
        return OnlineEWC(reference.ewc, reference.ewc_decay)
    if config.arm == "progress-compress":
        return ProgressAndCompress(agent, reference)
    return None


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
        network, tensors = config.network, saved.tensors["agent"]
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


def learner_device(config: Config) -> torch.device:
    """Where the learner runs: with ``auto`` a GPU where there is one."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def _smoothed(before: float | None, value: float, rate: float) -> float:
    return value if before is None else before + rate * (value - before)


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    states = optimiser.state_dict()["state"]
    return {f"{i}.{name}": value for i, slots in states.items() for name, value in slots.items()}


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    states: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        states.setdefault(int(index), {})[name] = value
    own = optimiser.state_dict()
    optimiser.load_state_dict({**own, "state": states})
