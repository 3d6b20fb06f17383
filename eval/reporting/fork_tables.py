"""Runs on a FORK suite, as the seeds of arms: one table of memory, with floors and ceilings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from envs.memory_tests.fork import UNRELATED, ForkSettings
from eval.goals.metrics import t_interval
from eval.memory_tests.fork_metrics import Ceilings
from eval.memory_tests.fork_results import AGENT, BAYES, NONE, SIMPLE
from eval.reporting.chosen import chosen
from eval.reporting.figures import ordered
from eval.reporting.report_writer import Table
from eval.reporting.runs import Run
from eval.reporting.tables import UNKNOWN, every_seed, measures_to_json, number, span

Groups = Mapping[str, Sequence[Run]]
SINGLE = ("memory_index", "win_stay", "lose_shift", "perseveration")
BESIDE = ("told", "forgetting", "untrained", "deterministic")  # of an arm
BOUNDS = ("random", "scripted")  # of the suite


def suite_of(groups: Groups) -> ForkSettings | None:
    """The FORK suite of runs that share one; None where it is none."""
    return next(iter(groups.values()))[0].config.fork


def attempts_of(run: Run, fork: ForkSettings) -> tuple[int, ...]:
    """Episodes of its training trials that are attempts in the trial's own scene."""
    targets = fork.draw(fork.tasks[0], 0, run.config.episodes, split="train").targets
    return tuple(e for e, target in enumerate(targets) if target != UNRELATED)


def ceilings(groups: Groups, fork: ForkSettings) -> Ceilings:
    """What is exact of the suite."""
    return ceilings_of(next(iter(groups.values()))[0], fork)


def ceilings_of(run: Run, fork: ForkSettings) -> Ceilings:
    """The same by the attempts of one run."""
    return Ceilings.of(len(fork.counted), len(attempts_of(run, fork)), fork.switch)


def latest(
    run: Run, evaluations: Mapping[str, dict[str, Any]], split: str, policy: str
) -> dict[str, Any] | None:
    """A policy's summary in the run's `chosen` evaluation of a split; None without one."""
    found = chosen(run, evaluations, split, lambda values: policy in values["policies"])
    return found and found["policies"][policy]["summary"]


def rows_of(groups: Groups, split: str) -> dict[str, list[dict[str, Any]]]:
    """Summaries of the seeds by row: each arm, what stands beside it, then floor and ceiling."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for arm in ordered(list(groups)):
        for policy in (AGENT, *BESIDE):
            name = arm if policy == AGENT else f"{arm}, {policy}"
            rows[name] = _seeds(groups[arm], split, policy)
    every = [run for group in groups.values() for run in group]
    rows |= {policy: distinct(_seeds(every, split, policy)) for policy in BOUNDS}
    return {name: found for name, found in rows.items() if found}


def _seeds(runs: Sequence[Run], split: str, policy: str) -> list[dict[str, Any]]:
    found = [latest(run, run.forks, split, policy) for run in runs]
    return [summary for summary in found if summary is not None]


def distinct(summaries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each summary once: on the same trials a script does the same, whichever run stands beside it.

    Trials of reach are those of all seeds; joints are placed by the seed of the run.
    """
    return [one for n, one in enumerate(summaries) if one not in summaries[:n]]


def results(groups: Groups, split: str) -> dict[str, dict[str, list[list[float]]]]:
    """Every measure by row: for each attempt, or once, the values of the seeds; NaN is unknown."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for name, seeds in rows_of(groups, split).items():
        attempts = min(len(seed["success"]) for seed in seeds)
        found[name] = {"success": [[value_of(s["success"][e]) for s in seeds]
                                   for e in range(attempts)]}  # fmt: skip
        found[name] |= {m: [[value_of(seed[m]) for seed in seeds]] for m in SINGLE}
    return found


def value_of(interval: Sequence[float | None]) -> float:
    """The value of an interval as JSON has it; NaN is unknown."""
    return float("nan") if interval[0] is None else float(interval[0])


def memory_table(groups: Groups, split: str, fork: ForkSettings) -> Table | None:
    """Arms × measures, mean and interval over seeds; None where nothing was evaluated."""
    found = results(groups, split)
    if not found:
        return None
    attempts = max(len(measures["success"]) for measures in found.values())
    exact = Ceilings.of(len(fork.counted), attempts, fork.switch)
    columns: dict[str, list[str]] = {"arm": [], "seeds": [], "memory index [95 %]": []}
    columns["every seed"] = []
    columns |= {f"attempt {e + 1}": [] for e in range(attempts)}
    columns |= {name.replace("_", "–"): [] for name in SINGLE[1:]}
    for name, measures in found.items():
        index, success = measures["memory_index"][0], measures["success"]
        cells = [name, str(len(index)), span(t_interval(index)), every_seed(index)]
        cells += [
            span(t_interval(success[e])) if e < len(success) else UNKNOWN for e in range(attempts)
        ]
        cells += [span(t_interval(measures[measure][0])) for measure in SINGLE[1:]]
        _append(columns, cells)
    for name, curve in exact_curves(exact).items():
        shown = [number(exact.index(curve)), UNKNOWN, *(number(rate) for rate in curve)]
        _append(columns, [name, UNKNOWN, *shown, *[UNKNOWN] * (len(SINGLE) - 1)])
    return Table({name: cells for name, cells in columns.items()})


def exact_curves(exact: Ceilings) -> dict[str, tuple[float, ...]]:
    """Success by attempt that is known without a run."""
    curves = {BAYES: exact.bayes, SIMPLE: exact.win_stay_lose_shift}
    curves[NONE] = (exact.memoryless,) * len(exact.bayes)
    return {name: curve for name, curve in curves.items() if curve}


def _append(columns: dict[str, list[str]], cells: Sequence[str]) -> None:
    for column, cell in zip(columns.values(), cells, strict=True):
        column.append(cell)


def headline(groups: Groups) -> list[str]:
    """Two sentences on top of the page."""
    counts = ", ".join(f"{arm} ({len(group)})" for arm, group in groups.items())
    lines = [f"Arms (seeds): {counts}."]
    found = results(groups, "test")
    indices = [
        f"{arm} {span(t_interval(found[arm]['memory_index'][0]))}"
        for arm in ordered(list(groups))
        if arm in found
    ]
    told = f"Memory index on unseen trials: {', '.join(indices)}."
    return [*lines, told if indices else "Nothing was evaluated yet: python -m eval.evaluate RUN."]


def to_json(groups: Groups, fork: ForkSettings) -> dict[str, Any]:
    """All measures of both splits as JSON values."""
    return {
        "seeds": {arm: [run.seed for run in group] for arm, group in groups.items()},
        "ceilings": asdict(ceilings(groups, fork)),
        "measures": {
            split: measures_to_json(results(groups, split)) for split in ("test", "train")
        },
    }
