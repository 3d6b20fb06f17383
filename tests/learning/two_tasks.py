"""One task, then another that wants the opposite: what `short` forgets and `hierarchical` keeps.

Both are the bandit of `recurring` with sixteen fixed contexts each, told apart by the first two
bits of their patterns. In the first task the sign is that of the third bit, in the second it is
not. ``python -m tests.learning.two_tasks hierarchical 1 2 3``
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from agents.rl2 import AgentConfig
from memory.cascade import CascadeConfig
from tests.learning.recurring import Context, collect, make_learner, pattern, trials_of
from train.algorithms.ppo_config import PPOConfig
from train.long_term.arms import ARMS
from train.long_term.config import MemoryConfig

CONTEXTS = 16
AGENT = AgentConfig(
    hidden=32, encoder=32, critic=32, read_every=2, mean_limit=1.0, log_std_min=-0.2
)
PPO = PPOConfig(
    learning_rate=5e-3,
    final_learning_rate=5e-3,
    critic_learning_rate=5e-3,
    epochs=4,
    minibatches=2,
    bptt=4,
    belief=0.0,
)
MEMORY = MemoryConfig(
    reservoir=128, recent=32, reencode_every=10, cascade=CascadeConfig(slow_minibatches=2)
)


def contexts_of(task: int, rng: np.random.Generator) -> list[Context]:
    """Half of either sign; seeds are drawn until their patterns are of the task."""
    cue, found = 1.0 - 2.0 * task, []
    while len(found) < CONTEXTS:
        sign = 1.0 - 2.0 * (len(found) % 2)
        context = (int(rng.integers(2**31)), sign)
        bits = pattern(context)
        if bits[0] == bits[1] == cue and bits[2] == cue * sign:
            found.append(context)
    return found


def learn_in_turn(
    name: str, seed: int, *, iterations: int = 40, copies: int = 3
) -> list[list[float]]:
    """R[phase][task]: success in the first episode of each task after each phase, by the mean."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tasks = [contexts_of(task, rng) for task in (0, 1)]
    learner = make_learner(name, AGENT, PPO, MEMORY, goals=[(-1.0,) * 3, (1.0,) * 3])
    table = []
    for task in tasks:
        for _ in range(iterations):
            learner.update(collect(learner.agent, trials_of(task * copies, rng)), rng)
        scores = []
        for tested in tasks:
            rollout = collect(learner.agent, trials_of(tested, rng), deterministic=True)
            scores.append(float(rollout.success_by_episode()[0].mean()))
        table.append(scores)
        print(name, seed, scores, flush=True)
    return table


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = sys.argv[1]
    assert chosen in ARMS
    for number in sys.argv[2:]:
        learn_in_turn(chosen, int(number))
