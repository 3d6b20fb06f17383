"""Our agent behind Meta-World's `MetaLearningAgent` protocol (`metaworld.evaluation`, 3.1.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agents.acting.numpy_actor import NumpyActor
from agents.acting.place_aims import PlacePlan
from agents.acting.repeating import RepeatingActor
from agents.input_layout import ACTION_DIM, OBS, OBS_DIM
from envs.pool.pool import Policy
from envs.trials.last_step import NO_STEP

# Meta-World's own layout with recurrent_info_in_obs: observation, action, reward / 10, done.
OFFICIAL_DIM = OBS_DIM + ACTION_DIM + 2
OFFICIAL_REWARD = OBS_DIM + ACTION_DIM
OFFICIAL_REWARD_SCALE = 0.1


class OfficialAgent:
    """Our agent as a `metaworld.evaluation.MetaLearningAgent`.

    Adaptation: it acts stochastically and takes the RL² input from each `Timestep`, because
    Meta-World's wrapper never shows the last reward of an episode nor done = 1. `adapt` freezes the
    memory together with the input still unseen (last action, last reward, done = 1).

    Evaluation: it acts by the mean, as the reference implementation does, and every episode starts
    from what `adapt` froze; to the agent each is the next episode of the trial. The protocol hands
    over no rewards here, so they are read from the observation, which therefore must be made with
    ``recurrent_info_in_obs=True`` (and its default scale, reward / 10): an RL² agent that sees no
    rewards is another agent than the one that was trained. A policy with attempts
    (`agents.acting.repeating`) repeats the best of them here instead of acting by the mean.

    Args:
        policy: the agent, as `train.collect.acting_policy` gives it.
        environments: B, environments stepped together.
        seed: seed of the exploration noise.
        on_step: called after each step of the B environments.
    """

    def __init__(
        self,
        policy: Policy,
        environments: int,
        *,
        seed: int,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        aims = [PlacePlan((seed, row)) for row in range(environments)] if policy.aims else None
        self._actor = NumpyActor(policy.core, policy.weights, environments, aims=aims)
        self._attempts = policy.attempts
        self._rng = np.random.default_rng([seed, 0, 3])
        self._on_step = on_step
        self._inputs = np.zeros((environments, policy.input_width), dtype=np.float32)
        self.init()

    def init(self) -> None:
        """Start a trial in every environment: cleared memory, no previous action or reward."""
        environments = len(self._inputs)
        self._actor.reset()
        self._repeater = None
        if self._attempts:
            self._repeater = RepeatingActor(self._actor, self._attempts)
        self._action = np.zeros((environments, ACTION_DIM), dtype=np.float32)
        self._last = [NO_STEP] * environments
        self._restored = np.zeros(environments, dtype=bool)
        self.adapt()

    def adapt_action(self, observations: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Stochastic actions (B, 4), clipped to the box, for observations (B, 45)."""
        noise = self._rng.standard_normal(self._action.shape, dtype=np.float32)
        actions, _ = (self._repeater or self._actor).act(self._pack(observations), noise)
        return _in_the_box(actions), {}

    def step(self, timestep: Any) -> None:
        """Remember what the next input must show of a `metaworld.evaluation.Timestep`."""
        done = np.logical_or(timestep.terminated, timestep.truncated)
        self._action = _in_the_box(timestep.action)
        taken = zip(self._action, timestep.reward, done, strict=True)
        for row, (action, reward, ended) in enumerate(taken):
            self._last[row] = self._last[row].then(action, float(reward), bool(ended))
        self._on_step()

    def adapt(self) -> None:
        """Freeze what was learnt: RL² adapts in its memory, which is kept from here on."""
        self._adapted = self._actor.state.copy(), list(self._last)

    def reset(self, env_mask: np.ndarray) -> None:
        """Return environments of `env_mask` (B,) to what `adapt` froze: an episode starts."""
        state, last = self._adapted
        self._actor.state[env_mask] = state[env_mask]
        for row in np.flatnonzero(env_mask):
            self._last[row] = last[row]
        self._restored |= env_mask

    def eval_action(self, observations: np.ndarray) -> np.ndarray:
        """Actions (B, 4), clipped to the box, for observations (B, 45), which show rewards."""
        shown = observations[:, OFFICIAL_REWARD] / np.float64(OFFICIAL_REWARD_SCALE)
        for row in np.flatnonzero(~self._restored):
            self._last[row] = self._last[row].then(self._action[row], float(shown[row]), False)
        self._restored[:] = False
        inputs = self._pack(observations)
        if self._repeater is None:
            actions = self._actor.mean(inputs)
        else:
            actions, _ = self._repeater.act(inputs, np.zeros_like(self._action))
        self._action = _in_the_box(actions)
        self._on_step()
        return self._action.copy()

    def _pack(self, observations: np.ndarray) -> np.ndarray:
        if observations.shape[1] != OFFICIAL_DIM:
            raise ValueError(
                f"OfficialAgent needs observations of {OFFICIAL_DIM} numbers, not "
                f"{observations.shape[1]}: make the environments with recurrent_info_in_obs=True"
            )
        for last, obs, inputs in zip(self._last, observations, self._inputs, strict=True):
            last.pack(obs[OBS], inputs)
        return self._inputs


def _in_the_box(actions: np.ndarray) -> np.ndarray:
    """As the simulator takes actions, and as training shows the last one; means may lie outside."""
    return np.clip(actions, -1.0, 1.0).astype(np.float32)
