"""Trials and policies for tests of the pool."""

import itertools

import numpy as np
import torch

from agents.rl2 import AgentConfig, RL2Agent, actor_weights
from envs.pool.pool import Policy
from envs.pool.shared_rollout import TrialBatch
from envs.trials.trial import Trial

LANES = 2
STALL = 4.0  # seconds; to start, a worker may take longer
DRAWER = (0.05, 0.9, 0.0)


def make_trials(count: int, *, episodes: int = 2, horizon: int = 8) -> list[Trial]:
    """Two tasks in turn; five trials in blocks of two leave a block of one."""
    goals = itertools.cycle(
        [
            ("reach-v3", (0.0, 0.6, 0.02, 0.1, 0.8, 0.1)),
            ("drawer-close-v3", DRAWER),
            ("reach-v3", (0.05, 0.65, 0.02, -0.1, 0.85, 0.2)),
        ]
    )
    return [
        Trial(task, goal, i, "train", episodes, horizon, seed=10 + i)
        for i, (task, goal) in zip(range(count), goals, strict=False)
    ]


SHORT, LONG = make_trials(5), make_trials(4, horizon=400)


def make_policy(*, nan: bool = False) -> Policy:
    torch.manual_seed(0)
    agent = RL2Agent(AgentConfig(hidden=16, encoder=16))
    weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
    if nan:
        weights["head.bias"] = np.full_like(weights["head.bias"], np.nan)
    return Policy("agent", "gru", weights)


POLICY = make_policy()


def assert_same(batch: TrialBatch, expected: TrialBatch) -> None:
    for name, array in vars(batch).items():
        np.testing.assert_array_equal(array, getattr(expected, name), err_msg=name)
