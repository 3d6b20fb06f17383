"""What probes are asked for, and how trials are split between their training and their test."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.memory_tests.fork_metrics import known_to_fail
from eval.traces.recording import Recording

FOLDS, TYPES = 5, 8
LEAST = 8  # trials of the rarest class, for a question to be asked
TARGET = "target"


@dataclass(frozen=True)
class Variable:
    """Labels by episode.

    Attributes:
        name: of the variable.
        classes: C.
        labels: (Q, N, K) ints below C: Q questions, whose accuracies are averaged.
        first: the first attempt in which it is asked; earlier there is nothing to know.
    """

    name: str
    classes: int
    labels: np.ndarray
    first: int = 0


def variables(recording: Recording) -> list[Variable]:
    """What there is to know in each episode: the target, the last outcome, tried sites, scene."""
    own, found = recording.attempts, []
    before = np.zeros_like(recording.outcomes, dtype=int)
    for last, episode in itertools.pairwise(own):
        before[:, episode] = recording.outcomes[:, last]
    if recording.options:
        choices, targets = (x[:, own].astype(int) for x in (recording.choices, recording.targets))
        every = np.maximum(recording.targets, 0).astype(int)
        found.append(Variable(TARGET, recording.options, every[None]))
        tried = np.zeros((recording.options, *before.shape), dtype=int)
        touched = np.zeros((*choices.shape, recording.options), dtype=bool)
        for attempt in range(1, len(own)):
            touched[:, attempt] = touched[:, attempt - 1]
            touched[:, attempt] |= choices[:, [attempt - 1]] == np.arange(recording.options)
        failed = known_to_fail(choices, targets, recording.options)
        tried[:, :, own] = np.moveaxis(touched, 2, 0)
        in_vain = np.zeros_like(tried)
        in_vain[:, :, own] = np.moveaxis(failed, 2, 0)
        found.append(Variable("tried sites", 2, tried, first=1))
        found.append(Variable("sites that failed", 2, in_vain, first=1))
    found.append(Variable("last outcome", 2, before[None], first=1))
    tasks = len(recording.facts["tasks"])
    if tasks > 1:
        scenes = np.repeat(recording.scenes.astype(int)[:, None], recording.episodes, axis=1)
        found.append(Variable("scene", tasks, scenes[None]))
    return found


def attempt_labels(recording: Recording) -> np.ndarray:
    """(T,) number of the episode at each step."""
    return np.arange(recording.steps) // recording.horizon


def phase_labels(recording: Recording) -> np.ndarray:
    """(T, N) phase of the episode: 0 its first fifth (in FORK still), 1 moving, 2 its second half.

    The borders are the same in all trials: still steps, or a fifth of the episode, and its middle.
    """
    within = np.arange(recording.steps) % recording.horizon
    early = recording.still or recording.horizon // 5
    phases = np.digitize(within, [early, recording.horizon // 2])
    return np.repeat(phases[:, None], recording.trials, axis=1)


def folds(recording: Recording) -> np.ndarray:
    """(N,) fold of each trial: neighbours along the layout that varies most are in one fold.

    So the trials that test a probe are other trials and other layouts than those that trained it.
    """
    return bins(recording, 0, FOLDS)


def types(recording: Recording) -> np.ndarray:
    """(N,) type of each trial by scene and second coordinate of the layout, for control labels."""
    return recording.scenes.astype(int) * TYPES + bins(recording, 1, TYPES)


def bins(recording: Recording, place: int, count: int) -> np.ndarray:
    """(N,) quantile, of `count`, within its scene of the `place`-th most varying coordinate."""
    found = np.zeros(recording.trials, dtype=int)
    for scene in np.unique(recording.scenes):
        rows = np.flatnonzero(recording.scenes == scene)
        layout = recording.layout[rows]
        order = np.argsort(-layout.std(axis=0), kind="stable")
        values = layout[:, order[min(place, len(order) - 1)]]
        ranks = np.unique(values, return_inverse=True)[1]
        found[rows] = ranks * count // (ranks.max() + 1)
    return found


def control(
    kinds: np.ndarray, classes: int, questions: int, rng: np.random.Generator
) -> np.ndarray:
    """(Q, N) labels drawn at random for each type (Hewitt & Liang 2019, arXiv 1909.03368).

    A probe that reaches them has learnt types by heart, not what the state says of the variable.
    """
    drawn = rng.permuted(np.tile(np.arange(kinds.max() + 1) % classes, (questions, 1)), axis=1)
    return drawn[:, kinds]


def asked(labels: np.ndarray, classes: int) -> np.ndarray:
    """(Q,) whether each question (Q, N) has classes that are frequent enough to be asked for."""
    counts = np.stack([(labels == c).sum(axis=1) for c in range(classes)], axis=1)
    present = counts > 0
    rarest = np.where(present, counts, np.iinfo(int).max).min(axis=1)
    return (present.sum(axis=1) > 1) & (rarest >= LEAST)


def steps_of(recording: Recording, count: int = 40) -> Sequence[int]:
    """Steps of the trial at which probes are trained: about `count`, with every last still step."""
    every = max(1, recording.steps // count)
    decisions = decision_steps(recording)
    regular = range(every - 1, recording.steps, every)
    return sorted({*regular, *decisions})


def decision_steps(recording: Recording) -> list[int]:
    """The last step of each attempt before anything is done in it: the outcome has been shown."""
    return [e * recording.horizon + max(recording.still - 1, 0) for e in recording.attempts]
