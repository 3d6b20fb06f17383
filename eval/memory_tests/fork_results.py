"""The evaluation of an agent on a FORK suite, as people read it (tables) and as programs do."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from envs.metaworld.suites import Suite
from eval.goals.metrics import Interval
from eval.goals.results import print_table
from eval.memory_tests.fork_measure import ForkOutcomes
from eval.memory_tests.fork_metrics import Ceilings, ForkSummary, shares, summarise_fork
from eval.outcome import head, write_json
from train.run.checkpoint import Checkpoint

KIND, SCHEMA = "strata fork evaluation", 1
AGENT = "agent"
BAYES, SIMPLE, NONE = "Bayes (exact)", "win–stay/lose–shift (exact)", "no memory (at most)"
UNKNOWN = "–"


@dataclass(frozen=True)
class ForkMeasured:
    """One policy on the evaluation trials.

    Attributes:
        outcomes: what was touched in each attempt.
        summary: of all trials.
        scenes: of each scene's trials, where there are several.
        belief: by attempt, the likeliest target at its last still step is the one that counts; may
            be empty.
        seconds: wall-clock.
    """

    outcomes: ForkOutcomes
    summary: ForkSummary
    scenes: dict[str, ForkSummary]
    belief: tuple[Interval, ...]
    seconds: float

    @classmethod
    def of(cls, outcomes: ForkOutcomes, suite: Suite, *, seed: int, seconds: float) -> ForkMeasured:
        """Summarise outcomes on a FORK suite; `seed` is of the bootstrap."""
        fork = suite.fork
        assert fork is not None

        def summary(found: ForkOutcomes) -> ForkSummary:
            return summarise_fork(
                found.choices,
                found.targets,
                fork.options,
                counted=len(fork.counted),
                switch=fork.switch,
                scenes=found.scenes,
                places=found.places,
                seed=seed,
            )

        names = tuple(dict.fromkeys(outcomes.scenes))
        scenes = {n: summary(outcomes.of(n)) for n in names} if len(names) > 1 else {}
        believed = outcomes.believed
        belief = () if believed is None else shares(believed == outcomes.targets)
        return cls(outcomes, summary(outcomes), scenes, belief, seconds)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "seconds": self.seconds,
            "summary": self.summary.to_json(),
            "scenes": {name: summary.to_json() for name, summary in self.scenes.items()},
            "belief": [interval.to_json() for interval in self.belief],
            "outcomes": self.outcomes.to_json(),
        }


@dataclass(frozen=True)
class ForkEvaluation:
    """All that one evaluation on a FORK suite found out.

    Attributes:
        checkpoint: what was evaluated.
        suite: where.
        split: ``train`` or ``test``.
        settings: how, as JSON values.
        policies: ``agent`` and, by what they are called, what stands beside it
            (`eval.memory_tests.fork_evaluation`).
        adapts: by gradients, before the last attempt, instead of remembering.
    """

    checkpoint: Checkpoint
    suite: Suite
    split: str
    settings: dict[str, Any]
    policies: dict[str, ForkMeasured]
    adapts: bool = False

    @property
    def ceilings(self) -> Ceilings:
        """What is exact of the suite's trials."""
        fork = self.suite.fork
        assert fork is not None
        first = next(iter(self.policies.values())).summary
        return Ceilings.of(len(fork.counted), len(first.success), fork.switch)

    def to_json(self) -> dict[str, Any]:
        """Everything, every attempt included, as JSON values."""
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
            "ceilings": asdict(self.ceilings),
            "policies": {name: found.to_json() for name, found in self.policies.items()},
        }

    def write(self, path: Path) -> None:
        """Write the JSON atomically. Raises OSError; an older file is then intact."""
        write_json(path, self.to_json())

    def show(self, console: Console) -> None:
        """Print the tables."""
        print_table(console, "success by attempt, %", self._success())
        print_table(console, "committed by attempt, %", self._curves("committed"))
        print_table(
            console, "right if committed, by attempt, %", self._curves("right_if_committed")
        )
        if next(iter(self.policies.values())).scenes:
            print_table(console, "memory index by scene", self._by_scene())
        print_table(console, "memory", self._memory())
        for note in self._notes():
            console.print(textwrap.fill(note, min(console.width, 100)), markup=False)

    def _success(self) -> dict[str, list[str]]:
        """Success of all policies, the agent's belief below it, and the exact curves."""
        rows: list[tuple[str, Sequence[str]]] = []
        for name, found in self.policies.items():
            rows.append((name, _percents(found.summary.success)))
            if found.belief:
                rows.append((f"belief of {name}", _percents(found.belief)))
        exact = self.ceilings
        attempts = len(exact.bayes)
        curves = ((BAYES, exact.bayes), (SIMPLE, exact.win_stay_lose_shift))
        curves += ((NONE, (exact.memoryless,) * attempts),)
        rows += [(name, [f"{100 * x:.0f}" for x in curve]) for name, curve in curves if curve]
        return _by_attempt(rows)

    def _curves(self, measure: str) -> dict[str, list[str]]:
        return _by_attempt(
            [
                (name, _percents(getattr(found.summary, measure)))
                for name, found in self.policies.items()
            ]
        )

    def _memory(self) -> dict[str, list[str]]:
        """One row a policy: the memory index, and how it went on after an outcome."""
        exact = self.ceilings
        columns: dict[str, list[str]] = {"policy": [*self.policies, BAYES, SIMPLE, NONE]}
        simple = exact.win_stay_lose_shift
        indices = ["1", f"{exact.index(simple):.2f}" if simple else UNKNOWN, "0"]
        found = [measured.summary for measured in self.policies.values()]
        columns["memory index"] = [_fraction(s.memory_index) for s in found] + indices
        for name in ("win_stay", "lose_shift", "perseveration"):
            cells = [percent(getattr(summary, name)) for summary in found]
            columns[name.replace("_", "–") + ", %"] = cells + [UNKNOWN] * len(indices)
        return columns

    def _by_scene(self) -> dict[str, list[str]]:
        columns = {"task": list(next(iter(self.policies.values())).scenes)}
        for name, found in self.policies.items():
            columns[name] = [_fraction(summary.memory_index) for summary in found.scenes.values()]
        return columns

    def _notes(self) -> list[str]:
        headline, found = next(iter(self.policies.items()))
        notes = [
            f"memory index of {headline}: {_fraction(found.summary.memory_index)}. It is (mean "
            "success after the first attempt - 1/M) / (Bayes' mean - 1/M): 0 or less is expected "
            "without memory, and 1 of a perfect one.",
            "[low, high]: 95% intervals over trials (Wilson's, of the index a bootstrap); they say "
            "nothing of other training seeds.",
        ]
        if found.belief:
            notes.append(
                "belief: what it holds likeliest at the last still step is the right target."
            )
        if self.adapts:
            notes.append(
                "this agent adapts by gradients once, before its last attempt: compare the success "
                "of that attempt. The memory index averages all attempts after the first, so it "
                "cannot be 1 here."
            )
        told = [text for name, text in WHAT.items() if name in self.policies]
        if told:
            notes.append("; ".join(told) + ".")
        for name, measured in self.policies.items():
            if faults := int(measured.outcomes.faults.sum()):
                notes.append(
                    f"unstable physics in {faults} of {len(measured.outcomes.faults)} trials of "
                    f"{name}: counted as failures from there on"
                )
        return notes


WHAT = {
    "told": "told: the agent is shown the target that counts",
    "forgetting": "forgetting: its memory is cleared at each attempt, and no outcome is shown",
    "untrained": "untrained: the same agent before training",
    "scripted": "scripted: a script that moves well and remembers what it tried",
}
"""Policies beside the agent, in words."""


def _by_attempt(rows: Sequence[tuple[str, Sequence[str]]]) -> dict[str, list[str]]:
    columns = {"policy": [name for name, _ in rows]}
    for attempt in range(len(rows[0][1])):
        columns[str(attempt + 1)] = [curve[attempt] for _, curve in rows]
    return columns


def _percents(curve: Sequence[Interval]) -> list[str]:
    return [percent(interval) for interval in curve]


def percent(interval: Interval) -> str:
    """Value [low, high] in percent; a dash where nothing was seen."""
    return _shown(interval, lambda x: f"{100 * x:.0f}")


def _fraction(interval: Interval) -> str:
    return _shown(interval, lambda x: f"{round(x, 2) + 0.0:.2f}")


def _shown(interval: Interval, form: Callable[[float], str]) -> str:
    """Value [low, high]; a dash where nothing was seen."""
    if interval.value != interval.value:
        return UNKNOWN
    value, low, high = (form(x) if x == x else "?" for x in vars(interval).values())
    return f"{value} [{low}, {high}]"
