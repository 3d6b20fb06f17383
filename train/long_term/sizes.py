"""What long-term memory takes: bytes of an old trial and of slow policies, to compare them."""

from __future__ import annotations

import dataclasses

from agents.input_layout import ACTION_DIM
from agents.rl2 import blank_agent
from train.run.config import Config

FLOAT = 4  # bytes


def trial_bytes(config: Config) -> int:
    """Bytes of one trial in the reservoir: inputs, mean actions, σ, weight and beliefs."""
    agent = blank_agent(config.network)
    belief = agent.config.targets + 1 if agent.body is not None else 0
    step = agent.input_width + ACTION_DIM + belief
    return FLOAT * (config.episodes * config.horizon * step + ACTION_DIM + 1)


def slow_policy_bytes(config: Config) -> tuple[int, int]:
    """Bytes of all slow policies of a cascade: weights alone, and with their optimisers' moments.

    They read no episodic memory.
    """
    agent = blank_agent(dataclasses.replace(config.network, entries=0))
    held = sum(tensor.numel() for tensor in agent.state_dict().values())
    learnt = sum(weight.numel() for weight in agent.parameters() if weight.requires_grad)
    slow = config.memory.cascade.levels - 1
    return FLOAT * slow * held, FLOAT * slow * (held + 2 * learnt)
