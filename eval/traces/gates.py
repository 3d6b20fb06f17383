"""Time constants of gates: how much of its state a unit keeps in a step, on average.

GRU: h' = (1 - z) n + z h, so τ = -1 / ln E[z]. LSTM: c' = f c + i g, so τ = -1 / ln E[f]. A gate
says how long a unit could hold something, not that it holds anything.
"""

from __future__ import annotations

import numpy as np
import torch

from agents.rl2 import RL2Agent
from memory.cores.gru import GRU
from memory.cores.lstm import LSTM

GATE = {GRU: 1, LSTM: 1}
"""Place of the gate that keeps, among those of the core: r, z, n and i, f, g, o."""


@torch.no_grad()
def gate_constants(agent: RL2Agent, inputs: np.ndarray, states: np.ndarray) -> np.ndarray | None:
    """(H,) steps; None for a core whose gates are not known here.

    Args:
        agent: whose short-term memory is looked at.
        inputs: (T, N, input) that it saw.
        states: (T, N, H) its outputs along them.
    """
    core = agent.memory
    if not isinstance(core, GRU | LSTM):
        return None
    place = GATE[type(core)] * core.hidden
    part = slice(place, place + core.hidden)
    features = agent.encoder(torch.from_numpy(inputs[..., : agent.input_width]))
    before = torch.from_numpy(np.concatenate((np.zeros_like(states[:1]), states[:-1])))
    from_input, from_state, input_bias, state_bias = core.net.all_weights[0]
    open_ = features @ from_input[part].T + input_bias[part]
    open_ = open_ + before @ from_state[part].T + state_bias[part]
    keep = torch.sigmoid(open_).double().mean(dim=(0, 1)).clamp(1e-9, 1 - 1e-9)
    return (-1 / keep.log()).numpy()
