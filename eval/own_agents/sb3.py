"""Stable-Baselines3 and sb3-contrib models in our evaluator."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from agents.input_layout import INPUT_DIM, OBS, OBS_DIM, PREV_DONE


class Model(Protocol):
    """What is needed of a model; `stable_baselines3.common.base_class.BaseAlgorithm` has it."""

    observation_space: Any

    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Actions (B, 4) and the next state of the memory."""
        ...


class SB3Agent:
    """A model as an agent of the evaluator.

    A model trained on `TrialEnv` sees packed inputs (input,), one trained on Meta-World's own
    environments their observation (39,): which of them it needs is read from its space.

    Args:
        model: a loaded model, recurrent or not.
        deterministic: act by the mean.
        per_episode: clear a recurrent memory at the start of every episode, not only of a trial.
        normaliser: the `VecNormalize` that it was trained with, if any.

    Raises:
        ValueError: its observations are of neither shape.
    """

    def __init__(
        self,
        model: Model,
        *,
        deterministic: bool = True,
        per_episode: bool = False,
        normaliser: Any = None,
    ) -> None:
        shape = tuple(model.observation_space.shape)
        if shape not in ((INPUT_DIM,), (OBS_DIM,)):
            raise ValueError(
                f"the model sees observations of shape {shape}: not ({INPUT_DIM},) nor ({OBS_DIM},)"
            )
        self._model, self._packed = model, shape == (INPUT_DIM,)
        self._deterministic, self._per_episode = deterministic, per_episode
        self._normaliser = normaliser

    def begin(self, trials: int) -> None:
        """Clear the memory."""
        self._state: Any = None
        self._starts = np.ones(trials, dtype=bool)

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Actions (B, 4) for packed inputs (B, input)."""
        starts = self._starts
        if self._per_episode:
            starts = starts | (observations[:, PREV_DONE] > 0.5)
        seen = observations if self._packed else observations[:, OBS]
        if self._normaliser is not None:
            seen = self._normaliser.normalize_obs(seen)
        actions, self._state = self._model.predict(
            seen, self._state, episode_start=starts, deterministic=self._deterministic
        )
        self._starts = np.zeros(len(observations), dtype=bool)
        return actions
