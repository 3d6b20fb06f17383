"""What every level of memory does along given inputs.

L0 are the units of the short-term memory, L1 what was read from the store of past trials, L2 and L3
the slow policies θ₂ and θ₃, each with a short-term memory of its own along the same inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.input_layout import PREV_DONE
from agents.rl2 import RL2Agent
from memory.gaussian import gaussian_kl
from memory.restored import chosen
from train.long_term.arms import ARMS
from train.run.checkpoint import Checkpoint
from train.run.state import load_agent

SLOW = {"L2": 2, "L3": 3}
"""Slow policies by level: their number in the cascade."""


@dataclass(frozen=True)
class Trace:
    """One policy along T steps of N trials, float32.

    Attributes:
        states: (T, N, H) output of the short-term memory after each step.
        mean: (T, N, 4) mean action.
        log_std: (4,).
        belief: (T, N, M) scores of the targets; None where there is no belief.
    """

    states: np.ndarray
    mean: np.ndarray
    log_std: np.ndarray
    belief: np.ndarray | None


@torch.no_grad()
def trace(agent: RL2Agent, inputs: np.ndarray, state: Tensor | None = None) -> Trace:
    """What `agent` does along `inputs` (T, N, input), open loop.

    Args:
        agent: a policy of any level.
        inputs: as they were seen, or changed.
        state: memory before the first step; None: cleared.
    """
    given = torch.from_numpy(np.ascontiguousarray(inputs[..., : agent.input_width]))
    start = agent.initial_state(given.shape[1]) if state is None else state
    outputs, _ = agent.unroll(given, start)
    belief = None if agent.belief is None else agent.belief(outputs.hidden).numpy()
    log_std = outputs.log_std.detach().numpy()
    return Trace(outputs.hidden.numpy(), outputs.mean.numpy(), log_std, belief)


@torch.no_grad()
def state_after(agent: RL2Agent, inputs: np.ndarray) -> Tensor:
    """(N, S) memory after `inputs` (T, N, input)."""
    given = torch.from_numpy(np.ascontiguousarray(inputs[..., : agent.input_width]))
    return agent.remember(given, agent.initial_state(given.shape[1]))[1]


@torch.no_grad()
def reads(agent: RL2Agent, inputs: np.ndarray) -> np.ndarray:
    """(T, N, K) value that the last read of episodic memory gave; zeros before the first one.

    Args:
        agent: with episodic memory.
        inputs: (T, N, input).
    """
    recall = agent.recall
    assert recall is not None
    given = torch.from_numpy(np.ascontiguousarray(inputs[..., : agent.input_width]))
    state = agent.initial_state(given.shape[1])
    held = state.new_zeros(given.shape[1], recall.store.values.shape[1])
    found = []
    for step in given:
        now = recall.split(state)
        asked = (now.age % recall.every == 0) | (step[:, PREV_DONE] > 0.5)
        due = asked & (now.age > 0)
        if bool(due.any()):
            query = now.total / now.age.clamp(min=1)[:, None]
            value, _, _ = recall.store.attend(query, now.recall)
            held = torch.where(due[:, None], value, held)
        found.append(held)
        _, state = agent.remember(step[None], state)
    return torch.stack(found).numpy()


def slow_agents(saved: Checkpoint) -> dict[str, RL2Agent]:
    """The slow policies of a checkpoint by level; empty where its arm has none, or kept none.

    The average of weights that encodes the store of arm `episodic` is no policy: it never acted.

    Raises:
        CheckpointError: they do not fit the checkpoint's configuration.
    """
    kept = saved.tensors.get("long_term", {})
    found = {
        name: load_agent(saved, level=k) for name, k in SLOW.items() if chosen(kept, f"level{k}.")
    }
    return {
        name: agent
        for name, (agent, config) in found.items()
        if config.arm not in ARMS or ARMS[config.arm].cascade  # others are your own
    }


def divergence(agent: RL2Agent, first: Trace, second: Trace) -> np.ndarray:
    """(T, N) KL in nats between what two memories of one agent make it do.

    An agent that acts on aims is moved by its memory through the belief alone, from which the aims
    are drawn. So for it this is the KL of the beliefs.
    """
    if agent.body is not None:
        assert first.belief is not None
        assert second.belief is not None
        return belief_kl(first.belief, second.belief)
    parts = (first.mean, first.log_std, second.mean, second.log_std)
    return gaussian_kl(*map(torch.from_numpy, parts)).numpy()


def belief_kl(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """KL in nats between softmaxes of scores (…, M)."""
    p, q = (torch.from_numpy(x).double().log_softmax(dim=-1) for x in (first, second))
    return (p.exp() * (p - q)).sum(dim=-1).numpy()
