"""Act with a trained agent in a loop of your own, e.g. on a Meta-World environment of Gymnasium.

    agent = load_agent("runs/ML10-short-seed1", seed=1)
    agent.reset()
    observation, _ = env.reset()
    action = agent.act(observation)
    while True:
        observation, reward, *_ = env.step(action)
        action = agent.act(observation, reward, done=False)

Memory lives from `reset` to `reset`: call it when the task or its goal changes, and not between the
episodes of one trial, for from those the agent learns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agents.acting.numpy_actor import NumpyActor
from agents.acting.place_aims import PlacePlan
from agents.input_layout import ACTION_DIM, OBS_DIM
from agents.rl2 import RL2Agent, actor_weights
from envs.trials.trial import NO_STEP
from train.run import checkpoint, state


class TrainedAgent:
    """One agent in one trial.

    Args:
        agent: as `train.run.state.load_agent` gives it.
        deterministic: act by the mean, without exploration noise.
        seed: of the noise, and of the aims of an agent that acts on a belief over places.
    """

    def __init__(self, agent: RL2Agent, *, deterministic: bool = False, seed: int = 0) -> None:
        weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
        aims = [PlacePlan((seed,))] if agent.config.over_places else None
        self._actor = NumpyActor(
            agent.memory.stepper, weights, 1, deterministic=deterministic, aims=aims
        )
        self._width = agent.input_width
        self._rng = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        """Forget everything: another task or another goal begins."""
        self._actor.reset()
        self._last, self._action = NO_STEP, None

    def act(self, observation: np.ndarray, reward: float = 0.0, done: bool = False) -> np.ndarray:
        """The action (4,) float32, in [-1, 1], for what has come of the one before.

        Args:
            observation: Meta-World's, (39,), its goal hidden (zeros); after the last step of an
                episode the first one of the next episode.
            reward: of the action before; without meaning in the first call of a trial.
            done: whether that action ended an episode.

        Raises:
            ValueError: the observation has another shape, or something is not finite.
        """
        if np.shape(observation) != (OBS_DIM,):
            raise ValueError(f"observation must be ({OBS_DIM},), not {np.shape(observation)}")
        if not (np.isfinite(observation).all() and np.isfinite(reward)):
            raise ValueError("observation and reward must be finite")
        if self._action is not None:
            self._last = self._last.then(self._action, float(reward), done)
        inputs = np.zeros((1, self._width), dtype=np.float32)
        self._last.pack(np.asarray(observation), inputs[0])
        noise = self._rng.standard_normal((1, ACTION_DIM), dtype=np.float32)
        action, _ = self._actor.act(inputs, noise)
        self._action = action[0].clip(-1.0, 1.0).astype(np.float32)
        return self._action.copy()


def load_agent(path: Path | str, *, deterministic: bool = False, seed: int = 0) -> TrainedAgent:
    """The agent of a run folder (its newest checkpoint) or of one checkpoint in it.

    Raises:
        CheckpointError: there is no good checkpoint, or the agent is of FORK or RECALL, whose
            trials show and hide what Meta-World's own environments do not.
    """
    agent, config = state.load_agent(checkpoint.load(Path(path)))
    if config.fork is not None:
        raise checkpoint.CheckpointError(
            f"{path} was trained on {config.suite}, whose rules an environment of Meta-World does "
            "not keep: use eval.api.evaluate_fork, eval.api.watch or python -m eval.evaluate"
        )
    return TrainedAgent(agent, deterministic=deterministic, seed=seed)
