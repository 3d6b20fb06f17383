"""The layout of what the agent may know at one step, shared by the NumPy and the torch side.

One packed row of 46 numbers: observation (39: Meta-World's, goal hidden), previous action (4,
clipped as the simulator saw it), previous reward (× 0.1, Meta-World's scale of 0-10 per step),
previous done (1 at the first step of every episode but the first of its trial) and the change of
the reward over the last step (0 where the episode has no earlier reward). The change is a
function of what RL² sees anyway; given apart it is not drowned by the level, and the goal is
found from it several times sooner (docs/recipe.md).
"""

from __future__ import annotations

from typing import Any

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

FRAME = 18  # numbers of one frame; an observation holds the present frame, the last one, the goal
HAND, OBJECT = slice(0, 3), slice(4, 7)  # places of the hand and of the first object in a frame
SLOPES = 6
SLOPE_CLIP = 3.0
RESOLUTION = 1e-3  # metres; smaller movements say nothing


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


def slopes(inputs: Any, scale: float) -> list[Any]:
    """How the reward changed per metre that the hand, and the object, moved over the last step.

    For each a vector along its movement d: Δr d / (|d|² + (1 mm)²), the one-step estimate of the
    reward's gradient, scaled and clipped. A sum of such vectors points uphill, so what a memory has
    to learn of finding a hidden goal is to add them up; from Δr and d apart it must learn to
    multiply and divide first.

    Args:
        inputs: packed inputs (…, 46), a NumPy array or a torch tensor: acting and training run the
            same lines.
        scale: per (reward per metre). Rewards rise by some units a metre far from a goal and by
            hundreds near it.

    Returns:
        Two arrays (…, 3).
    """
    # Few operations on whole rows: workers run this on ten rows, where each call has its price.
    moved = inputs[..., : OBJECT.stop] - inputs[..., FRAME : FRAME + OBJECT.stop]
    squared, scaled = moved * moved, scale * inputs[..., REWARD_CHANGE, None] * moved
    found = []
    for place in (HAND, OBJECT):
        x, y, z = range(place.start, place.stop)
        length = squared[..., x] + squared[..., y] + squared[..., z] + RESOLUTION**2
        slope = scaled[..., place] / length[..., None]
        found.append(slope.clip(-SLOPE_CLIP, SLOPE_CLIP))
    return found
