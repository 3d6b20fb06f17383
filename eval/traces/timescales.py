"""All timescales of one run, beside their controls, as JSON values."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.rl2 import RL2Agent
from eval.traces.acf import Timescales, shuffled, timescales
from eval.traces.causal import context_swap, draw_pairs, past_of, perturbations
from eval.traces.gates import gate_constants
from eval.traces.recording import Recording


def lags_of(recording: Recording) -> int:
    """Lags of an autocorrelation: a quarter of the trial, at most 100 steps."""
    return max(8, min(recording.steps // 4, 100))


def all_timescales(
    agent: RL2Agent,
    floor: RL2Agent,
    before: np.ndarray,
    recording: Recording,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Autocorrelation, gates and causal courses.

    Args:
        agent: as training left it.
        floor: the same before training.
        before: states of `floor` on the recorded inputs, (T, N, H).
        recording: of the agent's trials.
        rng: draws pairs and orders.
    """
    lags = lags_of(recording)
    sources = dict(recording.states)
    sources["untrained"] = before
    sources["inputs"] = recording.observed
    sources["shuffled time"] = shuffled(recording.states["L0"], rng)
    constants = {
        name: gate_constants(net, recording.inputs, states)
        for name, net, states in (
            ("trained", agent, recording.states["L0"]),
            ("untrained", floor, before),
        )
    }
    known = all(values is not None for values in constants.values())
    return {
        "lags": lags,
        "autocorrelation": {
            name: _plain(timescales(values, lags)) for name, values in sources.items()
        },
        "gates": {n: v.tolist() for n, v in constants.items() if v is not None} if known else {},
        "courses": _courses(agent, floor, recording, rng),
    }


def _plain(found: Timescales) -> dict[str, Any]:
    return {
        "tau": [None if x != x else float(x) for x in found.tau],
        "rejected": found.rejected,
        "long": found.long,
        "median": None if found.median != found.median else found.median,
    }


def _courses(
    agent: RL2Agent, floor: RL2Agent, recording: Recording, rng: np.random.Generator
) -> dict[str, Any]:
    """Context swaps and perturbations by name."""
    labels = past_of(recording)
    pairs = draw_pairs(labels, same=False, rng=rng)
    alike = draw_pairs(labels, same=True, rng=rng)
    found = {}
    if pairs.shape[1]:
        found["other past"] = context_swap(agent, recording, pairs, rng)
        found["other past, untrained"] = context_swap(floor, recording, pairs, rng)
        found["other past, shuffled time"] = context_swap(
            agent, recording, pairs, rng, shuffle=True
        )
    if alike.shape[1]:
        found["same past"] = context_swap(agent, recording, alike, rng)
    found |= perturbations(agent, recording, rng)
    return {name: course.to_json() for name, course in found.items()}
