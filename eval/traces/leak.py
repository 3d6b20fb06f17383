"""The leak test of FORK: nothing in the first attempt may tell the target.

By the rules (docs/memory-benchmarks.md) no input of the first attempt depends on the target. So no
probe of any level, and none of the inputs, may find it above 1/M. If one does, the suite or the
recording leaks, and nothing that stands beside it means what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from eval.traces.probes import correct, state_at
from eval.traces.recording import Recording
from eval.traces.variables import TARGET, folds, variables

ERRORS = 4.0  # standard errors above 1/M at which the mean over the attempt is a leak
ALARM = 1e-5  # chance of a false alarm of a single step's probe, over all steps together
EVERY = 5  # steps between probes


@dataclass(frozen=True)
class Leak:
    """How well one source tells the target in the first attempt.

    Attributes:
        accuracy: mean over steps.
        errors: standard errors, over trials, that it stands above 1/M.
        worst: highest accuracy of any step.
        leaks: either is more than chance gives.
    """

    accuracy: float
    errors: float
    worst: float
    leaks: bool

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))


def leak_test(recording: Recording, sources: Mapping[str, np.ndarray]) -> dict[str, Leak]:
    """The test of every source (T, N, D) by name; nothing outside FORK."""
    if not recording.options:
        return {}
    target = next(v for v in variables(recording) if v.name == TARGET)
    begin = recording.attempts[0] * recording.horizon
    steps = range(begin + EVERY - 1, begin + recording.horizon, EVERY)
    labels, parts = target.labels[:, :, recording.attempts[0]], folds(recording)
    found = {}
    for source, values in sources.items():
        hits = [
            correct(state_at(source, values, step), labels, target.classes, parts)[0]
            for step in steps
        ]
        found[source] = verdict(np.array(hits), recording.counted)
    return found


def verdict(hits: np.ndarray, counted: int) -> Leak:
    """Of hits (steps, N) bool with M = `counted`."""
    trials = hits.shape[1]
    each = hits.mean(axis=0)
    spread = max(float(each.std(ddof=1)), 1e-3) / np.sqrt(trials)
    errors = float((each.mean() - 1 / counted) / spread)
    worst = int(hits.sum(axis=1).max())
    chance = float(binom.sf(worst - 1, trials, 1 / counted)) * len(hits)
    leaks = bool(errors > ERRORS or chance < ALARM)
    return Leak(float(each.mean()), errors, worst / trials, leaks)
