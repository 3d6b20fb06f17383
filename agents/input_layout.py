"""The layout of the agent's input at one step, shared by the NumPy and the torch side.

RL² shows the agent the observation, its last action, the reward and the end of the episode before.
The change of the reward is a function of these; given apart it is not drowned by the level, and the
goal is found from it several times sooner (docs/archive/lab-notes.md).

To add an input: append it to `FIELDS` with the next version, raise `LAYOUT_VERSION`, and write it
in `pack`. An agent of an older version reads the first numbers of the row, which stay as they were.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

LAYOUT_VERSION = 1
FIELDS = (  # name, numbers, the version that added it
    ("obs", 39, 1),  # Meta-World's observation, goal hidden
    ("prev_action", 4, 1),  # clipped, as the simulator saw it
    ("prev_reward", 1, 1),  # × 0.1; Meta-World's scale is 0-10 per step
    ("prev_done", 1, 1),  # 1 at the first step of every episode but the first of its trial
    ("reward_change", 1, 1),  # over the last step; 0 where the episode has no earlier reward
)
_STOPS = itertools.accumulate(numbers for _, numbers, _ in FIELDS)
SLICES = {
    name: slice(stop - numbers, stop)
    for (name, numbers, _), stop in zip(FIELDS, _STOPS, strict=True)
}
WIDTHS = {
    version: sum(numbers for _, numbers, since in FIELDS if since <= version)
    for version in range(1, LAYOUT_VERSION + 1)
}
"""Numbers that an agent of each version reads."""

INPUT_DIM = WIDTHS[LAYOUT_VERSION]
AIM = slice(INPUT_DIM, None)
"""What follows in the rows of an agent that acts on an aim: one number for each target, 1 for the
aim (`agents.posterior`), or the part and the place (`agents.acting.place_aims`). The agent writes
it itself while acting."""
OBS, PREV_ACTION = SLICES["obs"], SLICES["prev_action"]
PREV_REWARD, PREV_DONE = SLICES["prev_reward"].start, SLICES["prev_done"].start
REWARD_CHANGE = SLICES["reward_change"].start
OBS_DIM, ACTION_DIM = OBS.stop, PREV_ACTION.stop - PREV_ACTION.start
REWARD_SCALE = 0.1
REWARD_CHANGE_CLIP = 3.0  # a success can add 10 at once

FRAME = 18  # numbers of one frame; an observation holds the present frame, the last one, the goal
HAND, OBJECT = slice(0, 3), slice(4, 7)  # places of the hand and of the first object in a frame
CUE = slice(36, 39)  # the place of the goal, which is hidden: RECALL shows its cues there
SLOPES = 6
SLOPE_CLIP = 3.0
RESOLUTION = 1e-3  # metres; smaller movements say nothing


def input_width(version: int) -> int:
    """Numbers that an agent of this version of the layout reads. Raises ValueError if unknown."""
    if version not in WIDTHS:
        known = ", ".join(map(str, WIDTHS))
        raise ValueError(f"it reads inputs of layout {version}; this Strata has layouts {known}")
    return WIDTHS[version]


def pack(
    obs: np.ndarray,
    prev_action: np.ndarray,
    prev_reward: float,
    prev_done: bool,
    reward_change: float = 0.0,
    *,
    out: np.ndarray,
) -> None:
    """Write one step's input into `out` (input,) float32."""
    out[OBS] = obs
    out[PREV_ACTION] = prev_action
    out[PREV_REWARD] = prev_reward * REWARD_SCALE
    out[PREV_DONE] = prev_done
    out[REWARD_CHANGE] = min(max(reward_change, -REWARD_CHANGE_CLIP), REWARD_CHANGE_CLIP)


def signal(name: str, inputs: Any) -> Any:
    """One of `memory.cores.signals` for packed inputs (…, input), NumPy or torch; (…), 0 or 1."""
    # A hidden observation is all zeros, as no real one is.
    return inputs[..., PREV_DONE] > 0.5 if name == "outcome" else (inputs[..., OBS] != 0).any(-1)


def slopes(inputs: Any, scale: float) -> list[Any]:
    """How the reward changed per metre that the hand, and the object, moved over the last step.

    For each a vector along its movement d: Δr d / (|d|² + (1 mm)²), the one-step estimate of the
    reward's gradient, scaled and clipped. A sum of such vectors points uphill, so what a memory has
    to learn of finding a hidden goal is to add them up; from Δr and d apart it must learn to
    multiply and divide first.

    Args:
        inputs: packed inputs (…, input), a NumPy array or a torch tensor: acting and training run
            the same lines.
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
