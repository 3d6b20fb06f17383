"""How fast each core acts and learns without a simulator, in the sizes of FORK-reach-4."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from agents.acting.numpy_actor import NumpyActor
from agents.input_layout import INPUT_DIM, PREV_DONE
from agents.rl2 import AgentConfig, RL2Agent
from eval.throughput.rivals import LANES, Entry, Setup
from memory.cores.registry import CORES
from train.collect import acting_policy

HORIZON, STEPS = 50, 250  # of an attempt, of a trial
MINIBATCH = 6  # trials


def sizes(core: str) -> AgentConfig:
    """The agent of FORK's recipe with another core."""
    return AgentConfig(core=core, hidden=64, encoder=64, slopes=0.0)


def parameters(core: str) -> int:
    """Learnt numbers of an agent, really made: without numbers it imports torch's compiler."""
    with torch.random.fork_rng(devices=[]):
        return sum(w.numel() for w in RL2Agent(sizes(core)).parameters() if w.requires_grad)


def made_up_inputs(seed: int, trials: int) -> np.ndarray:
    """(250, trials, input) float32: noise, with the ends of attempts marked."""
    shape = STEPS, trials, INPUT_DIM
    inputs = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    inputs[..., PREV_DONE] = 0.0
    inputs[HORIZON::HORIZON, :, PREV_DONE] = 1.0
    return inputs


class Acting:
    """What a worker does for a block of trials, but for the simulator.

    Args:
        core: its name.
        setup: its seed is taken.
    """

    def __init__(self, core: str, setup: Setup) -> None:
        torch.manual_seed(setup.seed)
        policy = acting_policy(RL2Agent(sizes(core)))
        self._actor = NumpyActor(policy.core, policy.weights, LANES)
        self._inputs = made_up_inputs(setup.seed, LANES)

    def run(self, steps: int) -> int:
        """Act for at least `steps` steps; returns how many."""
        rounds = -(-steps // LANES)
        for step in range(rounds):
            if step % STEPS == 0:
                self._actor.reset()
            self._actor.mean(self._inputs[step % STEPS])
        return rounds * LANES

    def close(self) -> None:
        """There is nothing to end."""


class Learning:
    """Forward and backward of the policy over minibatches of whole trials, on one thread.

    Args:
        core: its name.
        setup: its seed is taken.
    """

    def __init__(self, core: str, setup: Setup) -> None:
        torch.manual_seed(setup.seed)
        self._agent = RL2Agent(sizes(core))
        self._inputs = torch.from_numpy(made_up_inputs(setup.seed, MINIBATCH))

    def run(self, steps: int) -> int:
        """Learn from at least `steps` steps, in whole minibatches; returns how many."""
        torch.set_num_threads(1)
        rounds = -(-steps // (STEPS * MINIBATCH))
        for _ in range(rounds):
            outputs, _ = self._agent.unroll(self._inputs, self._agent.initial_state(MINIBATCH))
            outputs.mean.square().mean().backward()
            self._agent.zero_grad()
        return rounds * STEPS * MINIBATCH

    def close(self) -> None:
        """There is nothing to end."""


CORE_ACTING: dict[str, Entry] = {
    f"act-{name}": Entry(f"{name} acting ({parameters(name):,} parameters)", partial(Acting, name))
    for name in CORES
}
CORE_LEARNING: dict[str, Entry] = {
    f"learn-{name}": Entry(f"{name} learning", partial(Learning, name)) for name in CORES
}
