"""The agent before training: the floor that every evaluation can have."""

from __future__ import annotations

import torch

from agents.rl2 import RL2Agent
from eval.goals.config import Subject


def untrained(subject: Subject) -> RL2Agent:
    """The agent as its run began (`train.run.state.initialise`)."""
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(subject.config.threads)
        torch.manual_seed(subject.config.seed)
        return RL2Agent(subject.agent.config)
