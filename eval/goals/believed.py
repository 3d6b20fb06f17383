"""What an agent of ``--act posterior`` believes at the start of each episode: right, and how near?

The belief is over (part, place); see `agents.place_belief`. It is read from the inputs of the
agent's own trials, where its aim is drawn, and compared with what the task asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from agents.input_layout import AIM
from agents.place_belief import PlaceBelief
from agents.rl2 import RL2Agent
from envs.pool.pool import Policy
from envs.pool.shared_rollout import TrialBatch
from envs.trials.trial import Trial
from eval.goals.measure import Runner
from eval.goals.metrics import Interval, stratified_bootstrap


@dataclass(frozen=True)
class Believed:
    """The belief at the start of each episode of one trial per (task, goal), before it is acted on.

    Attributes:
        tasks: the N tasks, in the order of the first axis.
        part_right: 1 where the likeliest part is the true one, (N, G, K).
        place_error: metres from the true place to that of the likeliest component, (N, G, K).
        aim_error: metres from the true place to that of the aim which was drawn, (N, G, K).
    """

    tasks: tuple[str, ...]
    part_right: np.ndarray
    place_error: np.ndarray
    aim_error: np.ndarray

    @classmethod
    def empty(cls, tasks: tuple[str, ...], goals: int, episodes: int) -> Believed:
        """Zeros of the right shapes, to be filled."""
        shape = len(tasks), goals, episodes
        return cls(tasks, *(np.zeros(shape) for _ in range(3)))

    def measures(self) -> dict[str, np.ndarray]:
        """All measures by name."""
        return {name: array for name, array in vars(self).items() if name != "tasks"}

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        numbers = {name: np.round(x, 5).tolist() for name, x in self.measures().items()}
        return {"axes": ["task", "goal", "episode"], "tasks": list(self.tasks), **numbers}

    def by_episode(self, seed: int) -> dict[str, list[Interval]]:
        """Each measure by episode, a mean over tasks with a bootstrap interval over goals."""
        return {
            name: [stratified_bootstrap(x[..., e], seed=seed) for e in range(x.shape[-1])]
            for name, x in self.measures().items()
        }

    def by_task(self) -> dict[str, np.ndarray]:
        """Each measure as a mean over goals, (N, K)."""
        return {name: x.mean(axis=1) for name, x in self.measures().items()}


class Believer:
    """A pool that also notes what `agent` believes in the trials that it runs.

    Args:
        pool: runs the trials.
        agent: whose trials they are.
        found: where it is noted.
    """

    def __init__(self, pool: Runner, agent: RL2Agent, found: Believed) -> None:
        self._pool, self._agent, self.found = pool, agent, found

    @property
    def workers(self) -> int:
        """Those of the pool."""
        return self._pool.workers

    def run(self, trials: Sequence[Trial], policy: Policy, *, lanes: int) -> TrialBatch:
        """Run `trials` by the pool."""
        batch = self._pool.run(trials, policy, lanes=lanes)
        read = believed(self._agent, batch, trials[0].horizon)
        for column, trial in enumerate(trials):
            place = self.found.tasks.index(trial.task), trial.goal_index
            for name, values in read.items():
                getattr(self.found, name)[place] = values[:, column]
        return batch


@torch.no_grad()
def believed(agent: RL2Agent, batch: TrialBatch, horizon: int) -> dict[str, np.ndarray]:
    """Measures (K, B) of the belief at the start of each episode of whole trials."""
    assert isinstance(agent.belief, PlaceBelief)
    inputs = torch.from_numpy(batch.inputs)
    hidden = agent.remember(inputs, agent.initial_state(inputs.shape[1]))[0][::horizon]
    truth = torch.from_numpy(batch.aims).expand(len(hidden), -1, -1)
    found = agent.belief.knew(hidden, truth, inputs[::horizon, :, AIM])
    return {name: values.numpy() for name, values in found.items()}
