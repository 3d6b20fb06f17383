"""Who acts for a block of trials: an agent, the floor (random) or the ceiling (scripted)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from scipy.special import ndtr

from agents.acting.numpy_actor import NumpyActor
from agents.acting.repeating import RepeatingActor
from agents.input_layout import ACTION_DIM, OBS
from envs.trials.trial import TrialRunner


class Actor(Protocol):
    """Anything that acts for a block of trials in lockstep."""

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions (B, 4) and log-probabilities (B,) from packed inputs (B, 46) and noise (B, 4)."""
        ...


class RandomActor:
    """Uniform actions in the box: the floor."""

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The trial's own normal noise, mapped to uniform."""
        return 2.0 * ndtr(noise) - 1.0, np.full(len(inputs), -ACTION_DIM * np.log(2.0))


class ScriptedActor:
    """Meta-World's scripted experts: the ceiling. They see the goal, which the agent must not.

    Args:
        runners: the runners of the block's trials, whose simulators know their goals.
    """

    def __init__(self, runners: list[TrialRunner]) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        self._runners = runners
        self._policies = [ENV_POLICY_MAP[runner.env.task]() for runner in runners]

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The experts' deterministic actions, clipped to the box."""
        actions = np.zeros((len(inputs), ACTION_DIM))
        with warnings.catch_warnings():
            # Said of every response beyond the box, which is clipped below as officially.
            warnings.filterwarnings("ignore", r"Constant\(s\) may be too high", UserWarning)
            for row, (runner, policy) in enumerate(zip(self._runners, self._policies, strict=True)):
                obs = inputs[row, OBS].astype(np.float64)
                obs[-3:] = runner.env.env._get_pos_goal()
                actions[row] = np.clip(policy.get_action(obs), -1.0, 1.0)
        return actions, np.zeros(len(inputs))


def make_actor(
    policy: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    runners: list[TrialRunner],
    *,
    recall: Sequence[int] | np.ndarray,
) -> Actor:
    """What acts for one block.

    Args:
        policy: `envs.pool.pool.Policy` as JSON values.
        weights: the agent's, which come apart.
        runners: of the block's trials that are run here.
        recall: for every row of the block, run here or not, what of episodic memory it may see.
    """
    if policy["kind"] == "random":
        return RandomActor()
    if policy["kind"] == "scripted":
        return ScriptedActor(runners)
    actor = NumpyActor(
        policy["core"],
        weights,
        len(recall),
        deterministic=policy["deterministic"],
        recall=recall,
    )
    return RepeatingActor(actor, policy["attempts"]) if policy["attempts"] else actor
