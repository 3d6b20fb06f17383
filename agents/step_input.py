"""The layout of what the agent may know at one step, shared by the NumPy and the torch side.

One packed row of 46 numbers: observation (39: Meta-World's, goal hidden), previous action (4,
clipped as the simulator saw it), previous reward (× 0.1, Meta-World's scale of 0-10 per step),
previous done (1 at the first step of every episode but the first of its trial) and the change of
the reward over the last step (0 where the episode has no earlier reward). The change is a
function of what RL² sees anyway; given apart it is not drowned by the level, and the goal is
found from it several times sooner (docs/recipe.md).
"""

from __future__ import annotations

import numpy as np

OBS_DIM = 39
ACTION_DIM = 4
INPUT_DIM = OBS_DIM + ACTION_DIM + 3
REWARD_SCALE = 0.1
REWARD_CHANGE_CLIP = 3.0  # a success can add 10 at once

OBS = slice(0, OBS_DIM)
PREV_ACTION = slice(OBS_DIM, OBS_DIM + ACTION_DIM)
PREV_REWARD = OBS_DIM + ACTION_DIM
PREV_DONE = OBS_DIM + ACTION_DIM + 1
REWARD_CHANGE = OBS_DIM + ACTION_DIM + 2


def pack(
    obs: np.ndarray,
    prev_action: np.ndarray,
    prev_reward: float,
    prev_done: bool,
    reward_change: float = 0.0,
    *,
    out: np.ndarray,
) -> None:
    """Write one step's input into `out` (46,) float32."""
    out[OBS] = obs
    out[PREV_ACTION] = prev_action
    out[PREV_REWARD] = prev_reward * REWARD_SCALE
    out[PREV_DONE] = prev_done
    out[REWARD_CHANGE] = min(max(reward_change, -REWARD_CHANGE_CLIP), REWARD_CHANGE_CLIP)
