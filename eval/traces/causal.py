"""Causal timescales: change a memory, replay the same inputs, and see how long it matters.

Context swap (Chien & Honey 2021, arXiv 2012.06717): two memories with different pasts see the same
inputs from a step on. Perturbation: one memory sees a changed input for a moment. Inputs are those
of a recorded trial, so whatever differs afterwards is held by the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from agents.input_layout import OBS, PREV_ACTION, PREV_REWARD
from agents.rl2 import RL2Agent
from eval.traces.levels import Trace, divergence, state_after, trace
from eval.traces.recording import Recording

PAIRS = 200
LONGEST = 400  # steps that are followed


@dataclass(frozen=True)
class Course:
    """What became of a difference.

    Attributes:
        state: (k,) mean length of the difference of states, over its length at the start.
        kl: (k,) nats, mean KL of what the policy does.
        units: (U,) steps until each unit's difference is half of its first; inf: not within k.
        first: step of the trial at which k is 0.
    """

    state: np.ndarray
    kl: np.ndarray
    units: np.ndarray
    first: int

    def to_json(self) -> dict[str, Any]:
        """JSON values; None for what does not fall to half."""
        return {
            "first": self.first,
            "state": self.state.tolist(),
            "kl": self.kl.tolist(),
            "state_half_life": _number(float(half_life(self.state))),
            "kl_half_life": _number(float(half_life(self.kl))),
            "unit_half_lives": [_number(x) for x in self.units],
        }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def half_life(curve: np.ndarray) -> np.ndarray:
    """First step k at which a curve (k, …) is at most half of what it is at 0; inf: at none.

    NaN for a curve that starts at 0: nothing was changed.
    """
    below = curve <= 0.5 * curve[:1]
    found = np.where(below.any(axis=0), below.argmax(axis=0), np.inf)
    return np.where(curve[0] > 0, found, np.nan)


def course(agent: RL2Agent, first: Trace, second: Trace, start: int) -> Course:
    """What becomes of the difference of two traces from their first step on."""
    apart = np.abs(first.states - second.states).astype(np.float64)
    length = np.sqrt((apart**2).sum(axis=-1)).mean(axis=1)
    scale = length[0] if length[0] > 0 else 1.0
    kl = divergence(agent, first, second).mean(axis=1)
    return Course(length / scale, kl, half_life(apart.mean(axis=1)), start)


def swap_start(recording: Recording) -> int:
    """Step from which two pasts see the same: the first outcome has been shown."""
    if len(recording.attempts) < 2:
        return recording.horizon // 2
    return recording.attempts[1] * recording.horizon + recording.still


def past_of(recording: Recording) -> np.ndarray:
    """(N,) what the past was about: the target of FORK, else the scene, else the trial itself."""
    if recording.options:
        return recording.targets[:, recording.attempts[0]].astype(int)
    if len(recording.facts["tasks"]) > 1:
        return recording.scenes.astype(int)
    return np.arange(recording.trials)


def draw_pairs(labels: np.ndarray, *, same: bool, rng: np.random.Generator) -> np.ndarray:
    """(2, P) trials with equal or unequal labels, each pair of two trials; P may be 0."""
    first = rng.integers(len(labels), size=20 * PAIRS)
    second = rng.integers(len(labels), size=20 * PAIRS)
    fits = ((labels[first] == labels[second]) == same) & (first != second)
    return np.stack((first[fits][:PAIRS], second[fits][:PAIRS]))


def context_swap(
    agent: RL2Agent,
    recording: Recording,
    pairs: np.ndarray,
    rng: np.random.Generator,
    *,
    shuffle: bool = False,
) -> Course:
    """Two pasts, then the same inputs of a third trial, which tell no outcome.

    An outcome would be news that replaces what is held; how long it is held is asked here.

    Args:
        agent: whose memory it is.
        recording: of its trials.
        pairs: (2, P) trials that lend their pasts.
        rng: draws the third trials.
        shuffle: replay them in a shuffled order of time, a control.
    """
    start = swap_start(recording)
    stop = min(recording.steps, start + LONGEST)
    donors = rng.integers(recording.trials, size=pairs.shape[1])
    replay = recording.inputs[start:stop, donors].copy()
    if recording.options:
        replay[..., PREV_REWARD] = 0.0
    if shuffle:
        replay = replay[rng.permutation(len(replay))]
    states = state_after(agent, recording.inputs[:start])
    first, second = (trace(agent, replay, states[trials]) for trials in pairs)
    return course(agent, first, second, start)


def perturbations(
    agent: RL2Agent, recording: Recording, rng: np.random.Generator
) -> dict[str, Course]:
    """Courses of small changes, by what is changed.

    ``observation``: of one step, in the first attempt's movement, for another trial's.
    ``previous action``: of the same step; it tells little, so it is a control. ``random
    direction``: the state after that step moves as far as the observation moved it. ``outcome``, in
    FORK: the other outcome is shown at the second attempt's start.
    """
    at = recording.still + (recording.horizon - recording.still) // 4
    others = (
        np.arange(recording.trials) + 1 + rng.integers(recording.trials - 1)
    ) % recording.trials
    found = {}
    for name, part in (("observation", OBS), ("previous action", PREV_ACTION)):
        changed = recording.inputs[: at + LONGEST].copy()
        changed[at, :, part] = recording.inputs[at][others][:, part]
        found[name] = _compare(agent, recording, changed, at)
    found["random direction"] = _pushed(agent, recording, at, rng)
    if recording.options and len(recording.attempts) > 1:
        begin = recording.attempts[1] * recording.horizon
        changed = recording.inputs[: begin + LONGEST].copy()
        changed[begin : begin + recording.still, :, PREV_REWARD] *= -1.0
        found["outcome"] = _compare(agent, recording, changed, begin + recording.still - 1)
    return found


def _compare(agent: RL2Agent, recording: Recording, changed: np.ndarray, start: int) -> Course:
    """The course from `start` on of changed inputs against those that were recorded."""
    whole = trace(agent, recording.inputs[: len(changed)])
    other = trace(agent, changed)
    return course(agent, _from(whole, start), _from(other, start), start)


def _from(found: Trace, start: int) -> Trace:
    belief = None if found.belief is None else found.belief[start:]
    return Trace(found.states[start:], found.mean[start:], found.log_std, belief)


def _pushed(agent: RL2Agent, recording: Recording, at: int, rng: np.random.Generator) -> Course:
    """The course of a push after step `at`."""
    inputs = recording.inputs[: at + LONGEST]
    state, pushed = push_start(agent, inputs[: at + 1], rng)
    later = inputs[at + 1 :]
    return course(agent, trace(agent, later, state), trace(agent, later, pushed), at + 1)


def push_start(
    agent: RL2Agent, inputs: np.ndarray, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """States (N, S) after inputs (T, N, input), and with L0 pushed in a random direction.

    The push is as long as the way that L0 goes with the last observation of the next trial. That
    may not move L0 at once (`hrnn` keeps inputs in a window first); then the whole state's way
    counts.
    """
    other = inputs.copy()
    other[-1, :, OBS] = np.roll(inputs[-1, :, OBS], 1, axis=0)
    state = state_after(agent, inputs)
    moved = state_after(agent, other) - state
    pushed = state.clone()
    part = agent.memory.hidden_part if agent.memory.state_width else slice(0, 0)
    own, whole = (x.norm(dim=-1, keepdim=True) for x in (moved[:, part], moved))
    length = torch.where(own > 0, own, whole)
    direction = torch.from_numpy(rng.standard_normal(tuple(pushed[:, part].shape))).to(pushed)
    pushed[:, part] += length * direction / direction.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    return state, pushed
