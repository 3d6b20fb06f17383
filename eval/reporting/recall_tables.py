"""Runs on a RECALL suite, as the seeds of arms: one table, with floors and ceilings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envs.memory_tests.fork import MEETING, ForkSettings
from envs.memory_tests.recall import ceiling, without_store
from eval.goals.metrics import t_interval
from eval.memory_tests.fork_results import AGENT
from eval.memory_tests.recall_results import CLEARED, PERFECT
from eval.reporting.chosen import chosen
from eval.reporting.figures import ordered
from eval.reporting.fork_tables import distinct, latest, value_of
from eval.reporting.report_writer import Table
from eval.reporting.runs import Run
from eval.reporting.tables import UNKNOWN, every_seed, measures_to_json, number, span

Groups = Mapping[str, Sequence[Run]]
BESIDE = ("shuffled", "another", "off", "reinstating", "told", "untrained")  # of an arm
BOUNDS = ("random", "scripted")  # of the suite


def results(groups: Groups, split: str) -> dict[str, dict[str, list[list[float]]]]:
    """Measures by row: for each exposure, or once, the values of the seeds; NaN is unknown."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for arm in ordered(list(groups)):
        for policy in (AGENT, *BESIDE):
            rows[arm if policy == AGENT else f"{arm}, {policy}"] = _seeds(
                groups[arm], split, policy
            )
    every = [run for group in groups.values() for run in group]
    rows |= {policy: distinct(_seeds(every, split, policy)) for policy in BOUNDS}
    found = {}
    for name, seeds in rows.items():
        if seeds:
            exposures = min(len(seed["first"]) for seed in seeds)
            found[name] = {
                "first": [[value_of(s["first"][r]) for s in seeds] for r in range(exposures)],
                "recall_index": [[value_of(s["recall_index"]) for s in seeds]],
                "gain": [[value_of(s["gain"]) for s in seeds]],
            }
    return found


def _seeds(runs: Sequence[Run], split: str, policy: str) -> list[dict[str, Any]]:
    found = [latest(run, run.recalls, split, policy) for run in runs]
    return [summary for summary in found if summary is not None]


def _attempts(groups: Groups, split: str, flat: bool) -> int:
    """K of each meeting, as the runs were evaluated."""
    every = [run for group in groups.values() for run in group]
    told = [chosen(run, run.recalls, split, lambda _: True) for run in every]
    asked = [one["settings"].get("episodes", MEETING) for one in told if one is not None]
    return MEETING if flat else max(asked, default=MEETING)


def recall_table(groups: Groups, split: str, fork: ForkSettings) -> Table | None:
    """Arms × measures, mean and interval over seeds; None where nothing was evaluated."""
    found, life = results(groups, split), fork.lifetimes
    if not found or life is None:
        return None
    rows, attempts = [], _attempts(groups, split, life.flat)
    for name, measures in found.items():
        index, first = measures["recall_index"][0], measures["first"]
        cells = [span(t_interval(seeds)) for seeds in first]
        cells += [UNKNOWN] * (life.exposures - len(cells))
        shown = span(t_interval(index)), every_seed(index)
        rows.append((name, str(len(index)), *shown, *cells, span(t_interval(measures["gain"][0]))))
    for name, of in ((PERFECT, ceiling), (CLEARED, without_store)):
        curve = of(fork.options, life.exposures, attempts)[:, 0].tolist()
        index = "1" if of is ceiling else "0"
        gain = number(curve[1] - curve[0])
        rows.append((name, UNKNOWN, index, UNKNOWN, *map(number, curve), gain))
    names = ("arm", "seeds", "share of the ceiling's gain [95 %]", "every seed")
    exposures = tuple(f"exposure {r + 1}" for r in range(life.exposures))
    columns = zip((*names, *exposures, "one-shot gain"), zip(*rows, strict=True), strict=True)
    return Table({name: list(cells) for name, cells in columns})


def to_json(groups: Groups) -> dict[str, Any]:
    """All measures of both splits as JSON values."""
    return {
        "seeds": {arm: [run.seed for run in group] for arm, group in groups.items()},
        "measures": {
            split: measures_to_json(results(groups, split)) for split in ("test", "train")
        },
    }
