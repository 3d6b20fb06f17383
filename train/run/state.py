"""Everything a run is at one moment: built from a configuration, saved, and restored exactly.

Randomness is a function of (seed, iteration), so there is no generator state to save: a resumed
run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.input_layout import CUE
from agents.reinstating import hide_cues
from agents.rl2 import AgentConfig, RL2Agent, blank_agent
from envs.metaworld.suites import Suite
from envs.trials.trial import Trial
from memory.cores.registry import CoreError
from memory.restored import check_tensors, chosen, number, whole
from train.algorithms.learner import Learner, SharesGradients
from train.algorithms.registry import ALGORITHMS
from train.algorithms.rollout import Rollout
from train.learners.ranks import ALONE, Ranks
from train.long_term.contract import LongTerm
from train.long_term.episodic import with_recall
from train.long_term.level import LevelSetting
from train.long_term.stack import Stack, make_stack
from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.config import Config
from train.run.config_io import build
from train.run.input_error import InputError
from train.run.rollback import Rollback
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
        ranks: the learners that share the run.
        rollback: takes the learner back where an update leaves a number that is not finite.
    """

    learner: Learner
    iteration: int = 0
    steps: int = 0
    best: float = -1.0
    success: float | None = None
    success_by_task: dict[str, float] = field(default_factory=dict)
    long_term: LongTerm | None = None
    ranks: Ranks = ALONE
    rollback: Rollback = field(init=False)

    def __post_init__(self) -> None:
        self.rollback = Rollback(self.learner)

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

    def stores(self, trials: Sequence[Trial]) -> Tensor | None:
        """What training trials may recall of their lifetimes; None where nothing is kept."""
        return self.long_term.read(trials) if isinstance(self.long_term, Stack) else None

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

    def join(self, ranks: Ranks) -> None:
        """Share the run from now on; an algorithm that can share its gradients is told so."""
        self.ranks = ranks
        if isinstance(self.learner, SharesGradients):
            self.learner.ranks = ranks

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that is learnt and kept, in named groups; live, not copies."""
        kept = {} if self.long_term is None else self.long_term.tensors()
        return {**self.learner.tensors(), **({"long_term": kept} if kept else {})}

    def counters(self) -> dict[str, Any]:
        """All else, as JSON values."""
        return {
            "iteration": self.iteration,
            "steps": self.steps,
            "best": self.best,
            "success": self.success,
            "success_by_task": self.success_by_task,
            "bad_updates": self.rollback.bad,
            "long_term": None if self.long_term is None else self.long_term.state(),
            "network": dataclasses.asdict(self.agent.config),
        }

    def save(self, config: Config) -> Path:
        """Write a checkpoint into the run folder. Raises CheckpointError if it cannot."""
        return checkpoint.save(
            config.run_folder / "checkpoints",
            self.steps,
            tensors=self.tensors(),
            state=self.counters(),
            config=config.to_json(),
            run=identity(config.run_folder),
            keep=config.keep,
        )

    def restore(self, saved: Checkpoint) -> None:
        """Become what was saved. Raises CheckpointError where it is of another architecture."""
        self._count_from(saved)
        with _blamed_on(saved.path):
            self.learner.restore(saved.tensors)
        if self.long_term is not None:
            with _blamed_on(saved.path / "long_term.safetensors"):
                kept, counters = saved.tensors.get("long_term", {}), saved.state.get("long_term")
                if not isinstance(counters, dict):
                    raise ValueError("its counters in state.json must be a JSON object")
                self.long_term.restore(kept, counters)

    def _count_from(self, saved: Checkpoint) -> None:
        """Take over the counters, each of its type and in its range."""
        state = saved.state
        with _blamed_on(saved.path / "state.json"):
            self.iteration, self.steps = whole(state, "iteration"), whole(state, "steps")
            if self.steps != saved.step:
                raise ValueError(f"steps must be {saved.step}, as in the manifest")
            self.rollback.bad = whole({"bad_updates": 0, **state}, "bad_updates")  # older: none
            self.best = number(state, "best", -1, 1)
            self.success = None if state["success"] is None else number(state, "success", 0, 1)
            by_task = state.get("success_by_task", {})  # older: none
            if not isinstance(by_task, dict):
                raise ValueError("success_by_task must be a JSON object")
            self.success_by_task = {task: number(by_task, task, 0, 1) for task in by_task}


def initialise(config: Config, suite: Suite) -> TrainState:
    """A new learner: weights are a function of the seed, or those of `Config.init_from`.

    Orthogonal matrices differ in their last digits with the number of threads, so that this process
    from now on uses the run's.

    Raises:
        CheckpointError: the weights to start with are not to be had, or are of another agent.
        InputError: the user's own algorithm makes no learner.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    learner = ALGORITHMS.find(config.algorithm)(config, suite)
    if not isinstance(learner, Learner):
        kind = type(learner).__name__
        raise InputError(
            [f"--algorithm {config.algorithm} makes a {kind}, which is no learner"],
            "give it the methods of Learner (docs/extend.md)",
        )
    if config.init_from is not None:
        _take_weights(learner.agent, Path(config.init_from))
        if config.lifetimes is not None and not learner.agent.encoder.normaliser.var[CUE].any():
            hide_cues(learner.agent)  # it never saw any: their weights would be noise
    return TrainState(learner, long_term=make_long_term(config, learner.agent))


def _asked_for(saved: Checkpoint) -> str:
    """What to type so that an agent fits the one that was saved."""
    try:
        config = read_config(saved.config)
    except (ValueError, TypeError):
        return "name an agent that this Strata has trained"
    if config.adapts:
        return "it is one of train.maml: name a run of train.rl2 or train.continual"
    agent = config.agent
    return (
        f"it was trained with --suite {config.suite} --arm {config.arm} --core {agent.core} --act "
        f"{agent.act} --hidden {agent.hidden} --encoder {agent.encoder}; take its options, or "
        "another agent"
    )


def _take_weights(agent: RL2Agent, source: Path) -> None:
    """Give a new agent the weights of a trained one, with what scales its inputs.

    Its episodic memory stays empty, and encodes as the weights do. How a lifetime's store is read
    is learnt anew.
    """
    saved = checkpoint.load(source)
    tensors = _without_recall(saved.tensors.get("agent", {}))
    try:
        check_tensors(tensors, _without_recall(agent.state_dict()))
    except ValueError as error:
        raise CheckpointError(
            f"--init-from {source}: {saved.path} holds another agent ({error}): {_asked_for(saved)}"
        ) from error
    agent.load_state_dict({**agent.state_dict(), **tensors})
    if agent.recall is not None:
        agent.recall.encoder.load_state_dict(agent.encoder.state_dict())
        agent.recall.memory.load_state_dict(agent.memory.state_dict())


def _without_recall(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    recalling = ("recall.", "reader.")
    return {name: value for name, value in tensors.items() if not name.startswith(recalling)}


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
        slots=config.slots,
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
    with _blamed_on(saved.path / "config.json"):
        config = read_config(saved.config)
        _refuse(config.suite_problems() + config.size_problems())
        network = config.network if "network" not in saved.state else None
    if network is None:
        # Said by the checkpoint, so that an arm from a user's file need not be imported.
        with _blamed_on(saved.path / "state.json"):
            network = build(AgentConfig, saved.state["network"], "network.")
        with _blamed_on(saved.path / "state.json"):
            if network.targets != config.targets:
                raise ValueError(
                    f"network.targets must be {config.targets} on {config.suite}, not "
                    f"{network.targets}"
                )
    tensors, file = saved.tensors.get("agent", {}), "agent.safetensors"
    if level != 1:
        network, file = dataclasses.replace(network, entries=0), "long_term.safetensors"
        tensors = chosen(saved.tensors.get("long_term", {}), f"level{level}.")
    with _blamed_on(saved.path / file):
        if level != 1 and not tensors:
            raise ValueError(f"arm {config.arm} has no policy of level {level}")
        check_agent(network, tensors)
    agent = RL2Agent(network)
    agent.load_state_dict(tensors)
    return agent.eval(), dataclasses.replace(config, device="cpu")


def check_agent(network: AgentConfig, tensors: Mapping[str, Tensor]) -> None:
    """Whether an agent fits the tensors that it is to hold, before any memory is taken for it.

    Raises:
        ValueError: its sizes are out of bounds, its core is not known, or a tensor is another.
    """
    _refuse(network.problems())
    check_tensors(tensors, blank_agent(network).state_dict())


def check_fit(saved: Checkpoint, config: Config) -> None:
    """Whether what is resumed fits its configuration, before a learner is built from that.

    Raises:
        CheckpointError: its agent is of another shape.
    """
    with _blamed_on(saved.path / "agent.safetensors"):
        check_agent(config.network, saved.tensors.get("agent", {}))


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems))


@contextmanager
def _blamed_on(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file's values into a CheckpointError that names the file."""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error}: restore it from a copy") from error
    except (CoreError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit its configuration: {error}") from error


def _smoothed(before: float | None, value: float, rate: float) -> float:
    return value if before is None else before + rate * (value - before)
