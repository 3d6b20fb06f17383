"""A trial: K episodes on one (task, goal), the unit that a worker runs and a memory lives for.

The RL² input (Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, arXiv 1611.05763) is packed
here and nowhere else, because Meta-World's own wrapper never shows the agent the last reward of an
episode nor its done flag (SAME_STEP autoreset replaces them by zeros).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from agents.input_layout import INPUT_DIM, pack
from envs.metaworld.task_env import ACTION_DIM, MAX_HORIZON, TaskEnv
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
        proposal = values.get("proposal")
        return cls(
            **{
                **values,
                "goal": tuple(values["goal"]),
                "proposal": None if proposal is None else Proposal.from_json(proposal),
            }
        )

    def noise(self) -> np.ndarray:
        """Standard normal exploration noise, (K × H, 4) float32, a function of the seed alone."""
        rng = np.random.Generator(np.random.Philox(self.seed))
        return rng.standard_normal((self.steps, ACTION_DIM), dtype=np.float32)


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


class TrialRunner:
    """Runs one trial after another on one simulator of one task.

    ``inputs`` always holds the packed RL² input of the next step, (46,) float32; its layout is
    that of `agents.input_layout`.
    """

    def __init__(self, task: str, *, goal_hidden: bool = True) -> None:
        self.env = TaskEnv(task, goal_hidden=goal_hidden)
        self.inputs = np.zeros(INPUT_DIM, dtype=np.float32)

    def begin(self, trial: Trial) -> np.ndarray:
        """Start `trial`; returns its first input (46,), with zero action, reward and done."""
        self.trial = trial
        self.episode = self.step_in_episode = 0
        self._last_reward: float | None = None
        self.env.set_goal(np.asarray(trial.goal, dtype=np.float64))
        self._proposed = None if trial.proposal is None else ProposedTask(self.env, trial.proposal)
        pack(
            self._seen(self._reset()), np.zeros(ACTION_DIM, np.float32), 0.0, False, out=self.inputs
        )
        return self.inputs

    def _reset(self) -> np.ndarray:
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
        """The same for an action known to be float32 and in its bounds, as the workers have it."""
        judge = None if self._proposed is None else self._proposed.judge
        obs, reward, success, fault, info = self.env.step(action, judge)
        self.step_in_episode += 1
        done = self.step_in_episode == self.trial.horizon
        change = 0.0 if self._last_reward is None else reward - self._last_reward
        self._last_reward = None if done else reward
        if done:
            self.episode += 1
            self.step_in_episode = 0
            if self.episode < self.trial.episodes:
                obs = self._reset()
        pack(self._seen(obs), action, reward, done, change, out=self.inputs)
        return TrialStep(reward, success, done, fault, info)

    @property
    def target(self) -> np.ndarray:
        """(3,) metres: where the trial's task wants its hand or object. Not for the agent."""
        return self.env.target if self._proposed is None else self._proposed.target

    @property
    def finished(self) -> bool:
        """Whether all K episodes of the current trial have been run."""
        return self.episode >= self.trial.episodes


def check_horizons(trials: Sequence[Trial]) -> None:
    """Raises ValueError where an episode would outlast Meta-World's own limit."""
    if max(trial.horizon for trial in trials) > MAX_HORIZON:
        raise ValueError(f"the horizon of an episode is at most {MAX_HORIZON} steps")


class TrialEnv(gym.Env[np.ndarray, np.ndarray]):
    """Trials as an ordinary Gymnasium environment: one Gymnasium "episode" is one trial.

    Observation: the packed RL² input (46,), so that any recurrent agent can run on it. The trial
    ends by truncation after K × H steps. ``info`` holds ``task`` and ``goal_index`` after a reset,
    ``success``, ``episode_done`` and ``physics_fault`` after a step.

    Args:
        trials: trials to run, in order; ``reset(seed=)`` draws where in it to go on.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own convention

    def __init__(self, trials: Iterable[Trial]) -> None:
        self.trials = tuple(trials)
        if not self.trials:
            raise ValueError("TrialEnv needs at least one trial")
        check_horizons(self.trials)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (INPUT_DIM,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)
        self._runners: dict[tuple[str, bool], TrialRunner] = {}
        self._next = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the next trial (``options={"trial": i}`` picks one)."""
        super().reset(seed=seed)
        if seed is not None:
            self._next = int(self.np_random.integers(len(self.trials)))
        index = (options or {}).get("trial", self._next)
        self._next = (index + 1) % len(self.trials)
        trial = self.trials[index]
        key = (trial.task, trial.goal_hidden)
        if key not in self._runners:
            self._runners[key] = TrialRunner(trial.task, goal_hidden=trial.goal_hidden)
        self._runner = self._runners[key]
        inputs = self._runner.begin(trial).copy()
        return inputs, {"task": trial.task, "goal_index": trial.goal_index}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One environment step; truncated at the end of the trial."""
        step = self._runner.step(action)
        info = {
            **step.info,
            "success": step.success,
            "episode_done": step.done,
            "physics_fault": step.fault,
        }
        finished = self._runner.finished
        return self._runner.inputs.copy(), float(step.reward), False, finished, info

    def close(self) -> None:
        """Free the simulators."""
        for runner in self._runners.values():
            runner.env.close()
        self._runners.clear()
