"""The Gymnasium side of environments that run one trial at a time, as one Gymnasium episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from agents.input_layout import ACTION_DIM, INPUT_DIM
from envs.trials.block import Block, Runners
from envs.trials.trial import Trial, TrialStep


class OneTrialEnv(gym.Env[np.ndarray, np.ndarray]):
    """Steps one trial in a `Block`, by whose rules actions are refused and faults masked.

    Whoever derives from it draws the trial in `reset` and says in `step` what is told of it.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own convention

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (INPUT_DIM,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)
        self._runners = Runners()
        self._block: Block | None = None
        self._closed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Seed the generator. Raises ClosedEnvironmentError if the environment was closed."""
        self._refuse_if_closed()
        return super().reset(seed=seed)

    def close(self) -> None:
        """Free the simulators; idempotent."""
        self._runners.close()
        self._block, self._closed = None, True

    def _begin(self, trial: Trial) -> np.ndarray:
        """Start `trial`; its first input (input,)."""
        self._block = Block([trial], self._runners)
        self._block.start()
        return self._block.inputs[0].copy()

    def _take(self, action: np.ndarray) -> tuple[np.ndarray, TrialStep, bool]:
        """One step: the next input (input,), what came of it, and whether the trial is over.

        Raises:
            ClosedEnvironmentError: the environment was closed.
            ResetNeeded: there was no reset yet, or the trial is over.
            FloatingPointError: the action is not finite.
        """
        self._refuse_if_closed()
        if self._block is None:
            raise ResetNeeded("call reset() before step()")
        [step] = self._block.step(np.asarray(action)[None])
        if step is None:
            raise ResetNeeded("the trial is over: call reset() to start the next one")
        [runner] = self._block.runners
        assert runner is not None
        return self._block.inputs[0].copy(), step, runner.finished

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ClosedEnvironmentError("the environment is closed: make a new one")
