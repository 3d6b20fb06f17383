"""Trials as an ordinary Gymnasium environment, so that other people's agents can run on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from envs.metaworld.task_env import MAX_HORIZON
from envs.trials.one_trial_env import OneTrialEnv
from envs.trials.trial import Trial, TrialStep


def check_horizons(trials: Sequence[Trial]) -> None:
    """Raises ValueError where an episode would outlast Meta-World's own limit."""
    if max(trial.horizon for trial in trials) > MAX_HORIZON:
        raise ValueError(f"the horizon of an episode is at most {MAX_HORIZON} steps")


def reset_info(trial: Trial) -> dict[str, Any]:
    """What an environment's ``info`` says of the trial that it has begun."""
    return {"task": trial.task, "goal_index": trial.goal_index}


def step_info(step: TrialStep) -> dict[str, bool | int]:
    """What an environment's ``info`` says of a step; stable-baselines3 logs ``is_success``."""
    return {
        "success": bool(step.success),
        "is_success": bool(step.success),
        "episode_done": bool(step.done),
        "physics_fault": bool(step.fault),
        "choice": int(step.choice),
    }


class TrialEnv(OneTrialEnv):
    """Trials as an ordinary Gymnasium environment: one Gymnasium "episode" is one trial.

    Observation: the packed RL² input (input,), so that any recurrent agent can run on it. The trial
    ends by truncation after K × H steps. ``info`` holds ``task`` and ``goal_index`` after a reset,
    ``success`` (also as ``is_success``), ``episode_done`` and ``physics_fault`` after a step.
    After a physics fault observations and rewards are zeros until the trial ends.

    Args:
        trials: trials to run, in order; ``reset(seed=)`` draws where in it to go on.

    Raises:
        ValueError: there is no trial, or one has a horizon beyond Meta-World's.
    """

    def __init__(self, trials: Iterable[Trial]) -> None:
        super().__init__()
        self.trials = tuple(trials)
        if not self.trials:
            raise ValueError("TrialEnv needs at least one trial")
        check_horizons(self.trials)
        self._next = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the next trial (``options={"trial": i}`` picks one).

        Raises:
            ClosedEnvironmentError: the environment was closed.
            ValueError: there is no such trial.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._next = int(self.np_random.integers(len(self.trials)))
        index = self._index((options or {}).get("trial", self._next))
        self._next = (index + 1) % len(self.trials)
        trial = self.trials[index]
        return self._begin(trial), reset_info(trial)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One environment step; truncated at the end of the trial.

        Raises:
            ClosedEnvironmentError: the environment was closed.
            ResetNeeded: there was no reset yet, or the trial is over.
            FloatingPointError: the action is not finite.
        """
        inputs, step, finished = self._take(action)
        info = {**step.info, **step_info(step)}
        return inputs, float(step.reward), False, finished, info

    def _index(self, asked: Any) -> int:
        count = len(self.trials)
        if isinstance(asked, bool) or not isinstance(asked, int | np.integer):
            raise ValueError(f'options["trial"] must be a whole number, not {asked!r}')
        if not 0 <= asked < count:
            raise ValueError(f'options["trial"] must be from 0 to {count - 1}, not {asked}')
        return int(asked)
