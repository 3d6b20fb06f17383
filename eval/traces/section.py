"""The section on memory traces of a page: of `eval.traces`, and of `eval.report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.reporting.report_writer import Lines, Part
from eval.reporting.runs import Run
from eval.traces.geometry_page import geometry_parts
from eval.traces.lesion_page import lesion_parts
from eval.traces.probe_page import probe_parts
from eval.traces.seeds import Groups
from eval.traces.timescale_page import timescale_parts

NOTE = (
    "Each seed's newest checkpoint on fixed test trials. Intervals are Student's 95 % over "
    "training seeds, the unit of every statement; units of one net are no samples. Slow policies "
    "(L2, L3) change slowly because their update rule says so: that is no sign of organisation. "
    "What is meant by each number: docs/traces.md."
)


def section(groups: Groups) -> list[Part]:
    """All that is known of these runs; nothing where nothing is."""
    parts = [
        *timescale_parts(groups),
        *probe_parts(groups),
        *geometry_parts(groups),
        *lesion_parts(groups),
    ]
    if not parts:
        return []
    notes = [f"{arm}: {note}" for arm, results in groups.items() for note in _notes(results)]
    return ["# Memory traces", NOTE, *([Lines(notes)] if notes else []), *parts]


def _notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(note for result in results for note in result["notes"]))


def by_arm(results: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Results by arm and in order of the seeds; by suite and arm where there are several suites.

    Where an arm's seeds were looked into on different trials, each kind of trials is by itself.
    """
    arms: dict[str, dict[str, list[dict[str, Any]]]] = {}
    several = len({values["suite"] for values in results}) > 1
    for values in sorted(results, key=lambda values: values["seed"]):
        arm = f"{values['suite']} {values['label']}" if several else values["label"]
        trials = f"{values['trials']} trials of seed {values['probe_seed']}"
        arms.setdefault(arm, {}).setdefault(trials, []).append(values)
    return {
        arm if len(kinds) == 1 else f"{arm}, {trials}": found
        for arm, kinds in arms.items()
        for trials, found in kinds.items()
    }


def newest_traces(runs: Sequence[Run]) -> Groups:
    """The latest result of each run that was looked into; see `by_arm`."""
    found = [
        max(run.traces.values(), key=lambda values: values["step"]) for run in runs if run.traces
    ]
    return by_arm(found)
