"""Probes by time: what can be read, by a linear map, from each level and from its controls.

Sources beside the levels: ``untrained``, the same net before training, and ``inputs``, the last
five inputs alone. A random net holds recent inputs too, so only what goes beyond both was learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.traces.recording import Recording
from eval.traces.ridge import predicted
from eval.traces.variables import (
    Variable,
    asked,
    attempt_labels,
    control,
    decision_steps,
    folds,
    phase_labels,
    steps_of,
    types,
    variables,
)

WINDOW = 5  # inputs that the control sees
POOLED = 8  # steps of each trial from which attempt and phase are read


def sources_of(recording: Recording, before: np.ndarray) -> dict[str, np.ndarray]:
    """States (T, N, D) to read from, by source.

    Args:
        recording: of the agent's trials.
        before: (T, N, H) states of the untrained net along them.
    """
    return {**recording.states, "untrained": before, "inputs": recording.observed}


def state_at(source: str, values: np.ndarray, step: int) -> np.ndarray:
    """(N, D) what a probe sees at `step`: a state, or the last inputs."""
    if source != "inputs":
        return values[step]
    window = values[max(0, step - WINDOW + 1) : step + 1]
    return np.moveaxis(window, 0, 1).reshape(values.shape[1], -1)


def all_probes(
    recording: Recording, before: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Accuracies over time, of every variable from every source, and the leak test's hits."""
    steps = list(steps_of(recording))
    kinds, parts = types(recording), folds(recording)
    wanted = variables(recording)
    curves: dict[str, Any] = {}
    for source, values in sources_of(recording, before).items():
        found = {v.name: _empty() for v in wanted}
        for step in steps:
            state = state_at(source, values, step)
            for variable, row in read_at(state, step // recording.horizon, wanted, kinds, parts,
                                         recording.attempts, rng).items():  # fmt: skip
                for name, value in row.items():
                    found[variable][name].append(value)
        found |= _pooled(source, values, recording, kinds, parts, rng)
        curves[source] = found
    return {"steps": steps, "decisions": decision_steps(recording), "sources": curves}


def _empty() -> dict[str, list]:
    return {"accuracy": [], "control": [], "chance": []}


def read_at(
    state: np.ndarray,
    episode: int,
    wanted: Sequence[Variable],
    kinds: np.ndarray,
    parts: np.ndarray,
    attempts: Sequence[int],
    rng: np.random.Generator,
) -> dict[str, dict[str, float | None]]:
    """Accuracy, control accuracy and chance of every variable at one step; None: not asked.

    Args:
        state: (N, D).
        episode: of the step.
        wanted: the variables.
        kinds: (N,) types, for control labels.
        parts: (N,) folds.
        attempts: episodes in the trial's own scene.
        rng: draws control labels.
    """
    found: dict[str, dict[str, float | None]] = {}
    for variable in wanted:
        labels = variable.labels[:, :, episode]
        here = episode in attempts and attempts.index(episode) >= variable.first
        labels = labels[asked(labels, variable.classes)] if here else labels[:0]
        if not len(labels):
            found[variable.name] = dict.fromkeys(_empty())
            continue
        lots = control(kinds, variable.classes, len(labels), rng)
        hits = correct(state, np.concatenate((labels, lots)), variable.classes, parts)
        found[variable.name] = {
            "accuracy": float(hits[: len(labels)].mean()),
            "control": float(hits[len(labels) :].mean()),
            "chance": chance(labels, variable.classes),
        }
    return found


def correct(state: np.ndarray, labels: np.ndarray, classes: int, parts: np.ndarray) -> np.ndarray:
    """(Q, N) bool: each sample's label is found by a probe that was trained on other folds."""
    hits = np.zeros(labels.shape, dtype=bool)
    for part in range(parts.max() + 1):
        test = parts == part
        hits[:, test] = predicted(state, labels, classes, test, ~test) == labels[:, test]
    return hits


def chance(labels: np.ndarray, classes: int) -> float:
    """Share of the most frequent class, mean over questions (Q, N)."""
    counts = np.stack([(labels == c).mean(axis=1) for c in range(classes)])
    return float(counts.max(axis=0).mean())


def _pooled(
    source: str,
    values: np.ndarray,
    recording: Recording,
    kinds: np.ndarray,
    parts: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, dict[str, list]]:
    """Attempt and phase, which vary over time and not over trials, from some steps of each trial.

    Steps of one trial stay in one fold. A type is that of the trial and its episode together.
    """
    picks = rng.integers(recording.steps, size=(POOLED, recording.trials))
    columns = np.broadcast_to(np.arange(recording.trials), picks.shape)
    if source == "inputs":
        late = [np.maximum(picks - back, 0) for back in range(WINDOW)]
        state = np.concatenate([values[step, columns] for step in late], axis=-1)
    else:
        state = values[picks, columns]
    state = state.reshape(-1, state.shape[-1])
    episode = attempt_labels(recording)[picks].ravel()
    kind = (kinds[columns].ravel() * recording.episodes) + episode
    phases = phase_labels(recording)[picks, columns].ravel()
    found = {}
    for name, labels, classes in (
        ("attempt", episode, recording.episodes), ("phase", phases, 3)
    ):  # fmt: skip
        found[name] = _empty()
        if classes < 2:
            continue
        both = np.stack((labels, control(kind, classes, 1, rng)[0]))
        hits = correct(state, both, classes, parts[columns].ravel())
        found[name] = {
            "accuracy": [float(hits[0].mean())],
            "control": [float(hits[1].mean())],
            "chance": [chance(labels[None], classes)],
        }
    return found


def at_decisions(
    probes: Mapping[str, Any], source: str, variable: str, measure: str
) -> list[float]:
    """Values of a curve at the last still steps where it was asked; of a pooled one, the only."""
    values = probes["sources"][source][variable][measure]
    if len(values) != len(probes["steps"]):
        return list(values)
    places = [probes["steps"].index(step) for step in probes["decisions"]]
    return [values[place] for place in places if values[place] is not None]
