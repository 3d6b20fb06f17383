"""One task, then another that wants the opposite: what a flat agent forgets and replay keeps.

Two contexts of the bandit of `recurring`, each with its own sign, learnt one after the other.
Nothing but its pattern tells a trial's task. ``python -m tests.learning.two_tasks hierarchical 1``
"""

from __future__ import annotations

import sys
from typing import get_args

import numpy as np
import torch

from agents.rl2 import AgentConfig
from tests.learning.recurring import collect, make_learner, trials_of
from train.arms import ArmName, MemoryConfig
from train.ppo import PPOConfig

TASKS = ((11, 1.0), (12, -1.0))
AGENT = AgentConfig(hidden=24, encoder=24, critic=24, read_every=1)
PPO = PPOConfig(
    learning_rate=5e-3, final_learning_rate=5e-3, belief=0.0, epochs=3, minibatches=2, bptt=8
)
MEMORY = MemoryConfig(reservoir=64, recent=32, reencode_every=5)


def learn_in_turn(
    name: ArmName, seed: int, *, iterations: int = 25, trials: int = 32
) -> list[list[float]]:
    """R[phase][task]: success in the first episode of each task after each phase, by the mean."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    learner = make_learner(name, AGENT, PPO, MEMORY, goals=[(-1.0,) * 3, (1.0,) * 3])
    table = []
    for task in TASKS:
        for _ in range(iterations):
            learner.update(collect(learner.agent, trials_of([task] * trials, rng)), rng)
        scores = []
        for tested in TASKS:
            rollout = collect(learner.agent, trials_of([tested] * 20, rng), deterministic=True)
            scores.append(float(rollout.success_by_episode()[0].mean()))
        table.append(scores)
    return table


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = sys.argv[1]
    assert chosen in get_args(ArmName)
    print(chosen, [learn_in_turn(chosen, int(seed)) for seed in sys.argv[2:]])
