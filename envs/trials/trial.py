"""A trial: K episodes on one (task, goal), the unit that a worker runs and a memory lives for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from agents.acting.place_aims import aim_at
from agents.input_layout import INPUT_DIM, OBS
from envs.memory_tests.fork import UNCOMMITTED, Fork
from envs.memory_tests.fork_task import ForkTask
from envs.metaworld.task_env import ACTION_DIM, TaskEnv
from envs.trials.last_step import NO_STEP, LastStep
from envs.trials.practice import Proposal, ProposedTask


@dataclass(frozen=True)
class Trial:
    """All that is needed to run one trial; equal trials give equal bits wherever they run.

    Attributes:
        task: Meta-World task name, e.g. ``reach-v3``.
        goal: the task's ``rand_vec`` (object and target placement), in metres.
        goal_index: position of the goal in its suite's list for this task and split.
        split: ``train`` or ``test``.
        episodes: K, episodes of the trial.
        horizon: H, environment steps of each episode (at most 500).
        seed: seed of the exploration noise of this trial.
        goal_hidden: whether the observation hides the goal (ML) or shows it (MT).
        recall: what of episodic memory the trial may see: 0 nothing, 1 what is not recent, 2 all.
        proposal: a task to practise in the place of the task's own; None: its own.
        fork: a test of memory in the task's scene (docs/memory-benchmarks.md); None: none.
        practise: show the true target, as the aim of an agent that acts on one.
        shown: practice of an agent that acts on its memory: the target stands in the input instead.
        missing: chance P that a step's observation is hidden from the agent, as zeros.
    """

    task: str
    goal: tuple[float, ...]
    goal_index: int
    split: str
    episodes: int
    horizon: int
    seed: int
    goal_hidden: bool = True
    recall: int = 2
    proposal: Proposal | None = None
    fork: Fork | None = None
    practise: bool = False
    shown: bool = False
    missing: float = 0.0

    def __post_init__(self) -> None:
        if self.shown and not self.practise:  # it would count as what the agent found out itself
            raise ValueError("a trial that shows its target is practice: set practise as well")

    @property
    def steps(self) -> int:
        """Environment steps of the whole trial, K × H."""
        return self.episodes * self.horizon

    def to_json(self) -> dict[str, Any]:
        """The trial as JSON values; ``Trial.from_json`` restores it exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Trial:
        """Inverse of ``to_json``."""
        proposal, fork = values.get("proposal"), values.get("fork")
        return cls(
            **{
                **values,
                "goal": tuple(values["goal"]),
                "proposal": None if proposal is None else Proposal.from_json(proposal),
                "fork": None if fork is None else Fork.from_json(fork),
            }
        )

    def noise(self) -> np.ndarray:
        """Standard normal exploration noise, (K × H, 4) float32, a function of the seed alone."""
        rng = np.random.Generator(np.random.Philox(self.seed))
        return rng.standard_normal((self.steps, ACTION_DIM), dtype=np.float32)

    def hidden(self) -> np.ndarray:
        """(K × H + 1,) bool: the inputs whose observation is hidden, a function of the seed."""
        return np.random.default_rng([self.seed, 18]).random(self.steps + 1) < self.missing

    def aim_draws(self) -> np.ndarray:
        """(K,) uniform numbers in [0, 1) that draw the aims, a function of the seed alone."""
        return np.random.default_rng([self.seed, 16]).random(self.episodes)


class TrialStep(NamedTuple):
    """Outcome of one environment step of a trial."""

    reward: float
    """The task's own reward, or its proposal's, unscaled."""
    success: bool
    """The same's success flag at this step."""
    done: bool
    """The step was the last of its episode."""
    fault: bool
    """MuJoCo warned of unstable physics; the trial is not to be learnt from."""
    info: dict[str, Any]
    """The task's own measurements (``obj_to_target``, ``grasp_success``, …)."""
    choice: int = UNCOMMITTED
    """In FORK the target that was touched in this attempt."""


class TrialRunner:
    """Runs one trial after another on one simulator of one task.

    ``inputs`` always holds the packed RL² input of the next step, (input,) float32; its layout is
    that of `agents.input_layout`.
    """

    def __init__(self, task: str, *, goal_hidden: bool = True) -> None:
        self.env = TaskEnv(task, goal_hidden=goal_hidden)
        self.inputs = np.zeros(INPUT_DIM, dtype=np.float32)
        self.observation = self.inputs[OBS]  # (39,) of it, as scripts see it: never hidden
        self._companions: dict[str, TaskEnv] = {}

    def begin(self, trial: Trial) -> np.ndarray:
        """Start `trial`; returns its first input (input,), with zero action, reward and done."""
        self.trial = trial
        self.episode = self.step_in_episode = 0
        self._last = NO_STEP
        goal = np.asarray(trial.goal, dtype=np.float64)
        self.env.set_goal(goal)
        self.fork = None
        if trial.fork is not None:
            self.fork = ForkTask(
                self.env, trial.fork, goal, trial.horizon, self._companions, tells=trial.shown
            )
        self._proposed = None if trial.proposal is None else ProposedTask(self.env, trial.proposal)
        self._hidden = trial.hidden() if trial.missing else None
        self._show(self._last, self._seen(self._reset()))
        return self.inputs

    def _show(self, last: LastStep, obs: np.ndarray) -> None:
        """Write the next input; a hidden observation is all zeros, as no real one is."""
        last.pack(obs, self.inputs)
        at = self.episode * self.trial.horizon + self.step_in_episode
        self.observation = self.inputs[OBS]
        if self._hidden is not None and self._hidden[at]:
            self.observation = self.observation.copy()
            self.inputs[OBS] = 0.0

    def _reset(self) -> np.ndarray:
        if self.fork is not None:
            return self.fork.begin()
        return self.env.reset() if self._proposed is None else self._proposed.begin()

    def _seen(self, obs: np.ndarray) -> np.ndarray:
        return obs if self._proposed is None else self._proposed.seen(obs)

    def step(self, action: np.ndarray) -> TrialStep:
        """Apply `action` (4,), clipped to [-1, 1]; resets the simulator at the end of an episode.

        The input after an episode's last step is the first observation of the next episode with
        that last step's action, reward and done = 1, so the memory sees how the episode ended.
        """
        return self.step_clipped(np.clip(action, -1.0, 1.0).astype(np.float32))

    def step_clipped(self, action: np.ndarray) -> TrialStep:
        """The same for an action known to be float32 and in its bounds, as `Block` has it."""
        if self.fork is not None:
            return self._step_fork(self.fork, action)
        judge = None if self._proposed is None else self._proposed.judge
        obs, reward, success, fault, info = self.env.step(action, judge)
        done = self.count_step()
        if done and not self.finished:
            obs = self._reset()
        self._last = self._last.then(action, reward, done)
        self._show(self._last, self._seen(obs))
        return TrialStep(reward, success, done, fault, info)

    def _step_fork(self, fork: ForkTask, action: np.ndarray) -> TrialStep:
        """A step of an attempt, whose rewards the agent does not see."""
        obs, reward, success, fault, info = fork.step(action)
        choice = fork.choice
        done = self.count_step()
        if done and not self.finished:
            obs = fork.begin()
        self._show(NO_STEP.then(*fork.shown(action), done), obs)
        return TrialStep(reward, success, done, fault, info, choice)

    def count_step(self) -> bool:
        """Go on by one step without taking it; returns whether it was the last of its episode."""
        self.step_in_episode += 1
        done = self.step_in_episode == self.trial.horizon
        if done:
            self.episode += 1
            self.step_in_episode = 0
        return done

    @property
    def target(self) -> np.ndarray:
        """(3,) metres: where the trial's task wants its hand or object. Not for the agent."""
        if self.fork is not None:
            return self.fork.place
        return self.env.target if self._proposed is None else self._proposed.target

    def true_aim(self) -> np.ndarray:
        """(4,) what the trial asks for, as an aim of `agents.acting.place_aims`; after `begin`.

        The part is an object unless the task's own measure, or its proposal, is of the hand. Not
        for the agent, but in practice.
        """
        if self._proposed is not None and self.trial.proposal is not None:
            return aim_at(self.trial.proposal.part == "hand", self._proposed.seen_target)
        return aim_at(self.env.moves_hand, self.env.seen_target)

    def close(self) -> None:
        """Free the simulators."""
        for env in (self.env, *self._companions.values()):
            env.close()

    @property
    def finished(self) -> bool:
        """Whether all K episodes of the current trial have been run."""
        return self.episode >= self.trial.episodes
