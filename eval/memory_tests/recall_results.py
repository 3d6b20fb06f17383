"""The evaluation of an agent on a RECALL suite, as people read it (tables) and programs do."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from envs.memory_tests.recall import ceiling, without_store
from envs.metaworld.suites import Suite
from eval.goals.metrics import Interval
from eval.goals.results import print_table
from eval.memory_tests.fork_results import percent
from eval.memory_tests.recall_measure import RecallOutcomes
from eval.memory_tests.recall_metrics import RecallSummary
from eval.outcome import head, write_json
from train.run.checkpoint import Checkpoint

KIND, SCHEMA = "strata recall evaluation", 1
PERFECT, CLEARED = "store and memory (exact)", "no store (exact)"
WHAT = {
    "reinstating": "reinstating: the state that the trial with the same cue left behind is put "
    "back; nothing is learnt",
    "shuffled": "shuffled: each entry has the value of another context",
    "another": "another: each slot reads the store of another",
    "off": "off: nothing is read",
    "told": "told: the agent is shown the target that counts",
    "untrained": "untrained: the same agent before training",
    "scripted": "scripted: a script with a dictionary of cues",
}
"""Policies beside the agent, in words."""


@dataclass(frozen=True)
class RecallMeasured:
    """One policy on the lifetimes: outcomes, their summary and wall-clock seconds."""

    outcomes: RecallOutcomes
    summary: RecallSummary
    seconds: float


@dataclass(frozen=True)
class RecallEvaluation:
    """All that one evaluation on a RECALL suite found out.

    Attributes:
        checkpoint: what was evaluated.
        suite: where.
        split: ``train`` or ``test``.
        settings: how, as JSON values.
        policies: ``agent`` and what stands beside it.
    """

    checkpoint: Checkpoint
    suite: Suite
    split: str
    settings: dict[str, Any]
    policies: dict[str, RecallMeasured]

    @property
    def exact(self) -> dict[str, tuple[float, ...]]:
        """First attempts by exposure that are known without a run."""
        fork, shape = self.suite.fork, next(iter(self.policies.values())).outcomes
        assert fork is not None
        size = fork.options, int(shape.exposures.max()), shape.choices.shape[1]
        curves = {PERFECT: ceiling(*size), CLEARED: without_store(*size)}
        return {name: tuple(curve[:, 0].tolist()) for name, curve in curves.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything, every meeting included, as JSON values."""
        saved, suite = self.checkpoint, self.suite
        assert suite.fork is not None
        return {
            **head(KIND, SCHEMA, saved),
            "config": saved.config,
            "settings": self.settings,
            "suite": {
                "name": suite.name,
                "seed": suite.seed,
                "split": self.split,
                **asdict(suite.fork),
            },
            "ceilings": self.exact,
            "policies": {
                name: {
                    "seconds": found.seconds,
                    "summary": found.summary.to_json(),
                    "outcomes": found.outcomes.to_json(),
                }
                for name, found in self.policies.items()
            },
        }

    def write(self, path: Path) -> None:
        """Write the JSON atomically. Raises OSError; an older file is then intact."""
        write_json(path, self.to_json())

    def show(self, console: Console) -> None:
        """Print the tables."""
        rows: dict[str, Sequence[str]] = {}
        for name, found in self.policies.items():
            rows[name] = _percents(found.summary.first)
            if found.summary.belief:
                rows[f"belief of {name}"] = _percents(found.summary.belief)
        rows |= {n: [f"{100 * x:.0f}" for x in curve] for n, curve in self.exact.items()}
        print_table(console, "right first attempts by exposure of a context, %", _by_column(rows))
        for title, name, arrange in (
            ("right second attempts by exposure, %", "second", _by_column),
            ("committed first attempts by exposure, %", "committed", _by_column),
            ("right first attempts by trials since the context was met last, %", "by_lag", by_row),
        ):
            curves = {n: _percents(getattr(f.summary, name)) for n, f in self.policies.items()}
            if all(curves.values()):
                print_table(console, title, arrange(curves))
        print_table(console, "recall", self._recall())
        told = [text for name, text in WHAT.items() if name in self.policies]
        for note in (*NOTES, *(["; ".join(told) + "."] if told else [])):
            console.print(textwrap.fill(note, min(console.width, 100)), markup=False)

    def _recall(self) -> dict[str, list[str]]:
        found = [measured.summary for measured in self.policies.values()]
        return {
            "policy": list(self.policies),
            "share of the ceiling's gain, %": [percent(s.recall_index) for s in found],
            "one-shot gain, points": [percent(s.gain) for s in found],
        }


NOTES = (
    "share of the ceiling's gain: (mean success of first attempts from the second exposure on - "
    "1/M) / (the ceiling's mean - 1/M): 0 or less is expected without a store, and 1 of a perfect "
    "one. One-shot gain: the second minus the first exposure.",
    "[low, high]: 95% intervals over meetings (Wilson's; of gains a bootstrap over lifetimes); "
    "they say nothing of other training seeds.",
)


def _percents(curve: Sequence[Interval]) -> list[str]:
    return [percent(interval) for interval in curve]


def by_row(curves: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """A row for each number of trials: 24 contexts have 46 of them, too many for columns."""
    longest = max(map(len, curves.values()))
    filled = {name: [*curve, *["–"] * (longest - len(curve))] for name, curve in curves.items()}
    return {"trials": [str(number + 1) for number in range(longest)], **filled}


def _by_column(rows: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    columns = {"policy": list(rows)}
    for number in range(max(map(len, rows.values()))):
        columns[str(number + 1)] = [c[number] if number < len(c) else "–" for c in rows.values()]
    return columns
