"""FORK as Gymnasium environments, so that anyone's agent can be put on it.

    import envs
    env = gymnasium.make("Strata/FORK-reach-2")

One Gymnasium episode is one trial: an agent's memory is to be cleared by its reset and by nothing
else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.memory_tests.fork import FORKS, fork_settings
from envs.metaworld.suites import make_suite
from envs.trials.one_trial_env import OneTrialEnv
from envs.trials.trial import Trial

TRAIN_GOALS = 100  # placements of a joint that training trials draw from
SPLITS = ("train", "test")


class ForkEnv(OneTrialEnv):
    """Endless FORK trials of one suite.

    Observation: the packed RL² input (46,), which shows the outcome of the last attempt, 1 or -1,
    in place of the previous reward in the still steps. The trial ends by truncation. The returned
    reward is 1 at the last step of an attempt that touched the right target, else 0, so an agent
    that takes it as an input learns no more than it may. ``info["training_reward"]`` is what our
    own agents are trained on: an agent that is shown it is not tested by FORK.

    ``info`` has ``choice`` (-1: none), ``success``, ``episode_done`` and ``physics_fault`` after a
    step; after a reset ``trial``, whose ``fork.targets`` are not for the agent.

    Args:
        suite: name of a FORK suite, knobs included.
        split: ``train`` or ``test``, whose jitter is never seen in training.
        seed: of the joints' placements.
    """

    def __init__(self, suite: str, split: str = "train", seed: int = 1) -> None:
        super().__init__()
        fork = fork_settings(suite)
        if fork is None or fork.lifetimes is not None or split not in SPLITS:
            raise ValueError(
                f"no FORK suite {suite!r} with a split {split!r}: use {', '.join(FORKS)}"
            )
        self._suite = make_suite(suite, seed=seed, train_goals=TRAIN_GOALS)
        self._fork, self._split = fork, split

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a trial, drawn by the environment's own generator.

        Raises:
            ClosedEnvironmentError: the environment was closed.
        """
        super().reset(seed=seed)
        trial = self._draw()
        return self._begin(trial), {"trial": trial}

    def _draw(self) -> Trial:
        goals = self._suite.split(self._split)
        task = list(goals)[int(self.np_random.integers(len(goals)))]
        goal = int(self.np_random.integers(len(goals[task])))
        return self._suite.trial(
            self._split,
            task,
            goal,
            self._fork.episodes,
            self._fork.horizon,
            seed=int(self.np_random.integers(2**63)),
        )

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One environment step; truncated at the end of the trial.

        After a physics fault observations and rewards are zeros until the trial ends.

        Raises:
            ClosedEnvironmentError: the environment was closed.
            ResetNeeded: there was no reset yet, or the trial is over.
            FloatingPointError: the action is not finite.
        """
        inputs, step, finished = self._take(action)
        info = {
            "success": step.success,
            "choice": step.choice,
            "episode_done": step.done,
            "training_reward": step.reward,
            "physics_fault": step.fault,
        }
        reward = float(step.done and step.success)
        return inputs, reward, False, finished, info
