"""Geometry of levels, their drift along training, and plasticity, as JSON values of one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from agents.rl2 import RL2Agent
from eval.traces.causal import half_life
from eval.traces.history import Moment
from eval.traces.levels import Trace, divergence
from eval.traces.recording import Recording
from eval.traces.ridge import predicted
from eval.traces.similarity import cka_matrix, dormant, effective_rank, procrustes
from eval.traces.variables import TARGET, decision_steps, folds, variables
from memory.episodic import summarise

SAMPLES = 1500  # states, of at least 200 trials where there are so many


def all_geometry(
    recording: Recording,
    before: np.ndarray,
    moments: Sequence[Moment],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Likeness of levels and of checkpoints, decoder drift, lag, keys and plasticity.

    Args:
        recording: of the agent's trials.
        before: (T, N, H) states of the untrained net along them.
        moments: checkpoints along the same inputs, oldest first.
        rng: draws the samples.
    """
    steps = rng.integers(recording.steps, size=SAMPLES)
    trials = rng.permutation(np.arange(SAMPLES) % recording.trials)
    sources = {**recording.states, "untrained": before, "inputs": recording.observed}
    samples = {name: values[steps, trials] for name, values in sources.items()}
    samples["shuffled"] = samples["L0"][rng.permutation(SAMPLES)]
    along = [moment.fast.states[steps, trials] for moment in moments]
    return {
        "levels": _likeness(list(samples), list(samples.values())),
        "training": _likeness([str(moment.step) for moment in moments], along),
        "decoder": decoder_drift(recording, [moment.fast.states for moment in moments]),
        "lag": effective_lag(moments),
        "keys": keys_of(moments, recording),
        "plasticity": [
            plasticity(moment, states) for moment, states in zip(moments, along, strict=True)
        ],
    }


def _likeness(names: list[str], states: Sequence[np.ndarray]) -> dict[str, Any]:
    turned = [[procrustes(a, b) for b in states] for a in states]
    return {
        "names": names,
        "cka": _rows(cka_matrix(states)),
        "procrustes": _rows(np.array(turned)),
    }


def _rows(matrix: np.ndarray) -> list[list[float | None]]:
    return [[None if x != x else float(x) for x in row] for row in matrix]


def decoder_drift(recording: Recording, states: Sequence[np.ndarray]) -> dict[str, Any] | None:
    """A probe of the target that is trained on one checkpoint and tested on later ones.

    Args:
        recording: with its targets.
        states: (T, N, H) of each checkpoint.

    Returns:
        ``accuracy`` (C, C), row: trained, column: tested, on other trials; ``half_life`` in
        checkpoints, None: not within them; None outside FORK.
    """
    target = next((v for v in variables(recording) if v.name == TARGET), None)
    steps = decision_steps(recording)[1:]
    if target is None or not steps:
        return None
    held = np.repeat((folds(recording) == 0)[None], len(steps), axis=0).ravel()
    labels = target.labels[:, :, [step // recording.horizon for step in steps]]
    labels = np.moveaxis(labels, 2, 1).reshape(1, -1)
    flat = [values[steps].reshape(-1, values.shape[-1]) for values in states]
    count = len(flat)
    accuracy = np.full((count, count), np.nan)
    for i in range(count):
        for j in range(i, count):
            both = np.where(held[:, None], flat[j], flat[i])
            hits = predicted(both, labels, target.classes, held, ~held) == labels[:, held]
            accuracy[i, j] = hits.mean()
    apart = np.array([np.diagonal(accuracy, offset).mean() for offset in range(count)])
    life = float(half_life(np.maximum(apart - 1 / recording.counted, 0.0)))
    return {
        "accuracy": _rows(accuracy),
        "by_distance": apart.tolist(),
        "half_life": life if np.isfinite(life) else None,
    }


def effective_lag(moments: Sequence[Moment]) -> dict[str, Any]:
    """How many training steps each slow policy of the last checkpoint lies behind the fast one.

    The lag is that of the earlier fast policy to which the slow one is nearest, in KL(slow ‖ fast).
    """
    last, found = moments[-1], {}
    for level, slow in last.slow.items():
        kl = [_apart(moment.agent, slow, moment.fast) for moment in moments]
        found[level] = {"kl": kl, "lag": last.step - moments[int(np.argmin(kl))].step}
    return found


def _apart(agent: RL2Agent, first: Trace, second: Trace) -> float:
    return float(divergence(agent, first, second).mean())


@torch.no_grad()
def keys_of(moments: Sequence[Moment], recording: Recording) -> list[dict[str, Any]]:
    """Collapse and drift of episodic keys: of the store as it is, and of the probe trials' keys."""
    found, before = [], None
    for moment in moments:
        recall = moment.agent.recall
        if recall is None:
            return []
        kept = recall.store.raw_keys[recall.store.filled].numpy()
        inputs = torch.from_numpy(recording.inputs[..., : moment.agent.input_width])
        probes = summarise(recall.encode(inputs), recording.horizon)[0].numpy()
        found.append(
            {
                "step": moment.step,
                "entries": len(kept),
                "rank": effective_rank(kept) if len(kept) > 1 else 0.0,
                "likeness": collapse(kept),
                "like_before": None
                if before is None
                else float(cka_matrix([before, probes])[0, 1]),
            }
        )
        before = probes
    return found


def collapse(keys: np.ndarray) -> float | None:
    """Mean cosine of different keys (n, K); 1: all point one way. None for fewer than two."""
    if len(keys) < 2:
        return None
    unit = keys / np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), 1e-9)
    total = np.linalg.norm(unit.sum(axis=0)) ** 2 - len(keys)
    return float(total / (len(keys) * (len(keys) - 1)))


def plasticity(moment: Moment, states: np.ndarray) -> dict[str, Any]:
    """Dormant units, effective rank of (n, H) states, and root mean square of learnt weights."""
    weights = [w.detach().double() for w in moment.agent.parameters() if w.requires_grad]
    squares = sum(float(w.square().sum()) for w in weights)
    count = sum(w.numel() for w in weights)
    return {
        "step": moment.step,
        "dormant": dormant(states),
        "rank": effective_rank(states),
        "weight": float(np.sqrt(squares / count)),
    }
