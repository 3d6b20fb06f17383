"""The agent before training: the floor that every evaluation can have."""

from __future__ import annotations

import torch

from agents.rl2 import RL2Agent
from eval.goals.config import Subject


def untrained(subject: Subject) -> RL2Agent:
    """The agent with new weights: those of its run's start, but for a run with `--init-from`.

    They depend on the number of threads, as in `train.run.state.initialise`.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(subject.config.threads)
        torch.manual_seed(subject.config.seed)
        agent = RL2Agent(subject.agent.config)
    torch.set_num_threads(threads)
    return agent
