"""The layout of what the agent may know at one step, shared by the NumPy and the torch side.

One packed row of 45 numbers: observation (39: Meta-World's, goal hidden), previous action (4,
clipped as the simulator saw it), previous reward (× 0.1, Meta-World's scale of 0-10 per step) and
previous done (1 at the first step of every episode but the first of its trial).
"""

from __future__ import annotations

import numpy as np

OBS_DIM = 39
ACTION_DIM = 4
INPUT_DIM = OBS_DIM + ACTION_DIM + 2
REWARD_SCALE = 0.1

OBS = slice(0, OBS_DIM)
PREV_ACTION = slice(OBS_DIM, OBS_DIM + ACTION_DIM)
PREV_REWARD = OBS_DIM + ACTION_DIM
PREV_DONE = OBS_DIM + ACTION_DIM + 1


def pack(
    obs: np.ndarray,
    prev_action: np.ndarray,
    prev_reward: float,
    prev_done: bool,
    *,
    out: np.ndarray,
) -> None:
    """Write one step's input into `out` (45,) float32."""
    out[OBS] = obs
    out[PREV_ACTION] = prev_action
    out[PREV_REWARD] = prev_reward * REWARD_SCALE
    out[PREV_DONE] = prev_done
