"""Which memory buys what: arms × benchmarks, each cell with its seeds and its interval.

A benchmark is a suite or a stream with one headline measure, a floor and a ceiling. The functions
here read them off run folders of several suites; `eval.report` makes a page of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite, nan
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from eval.goals.metrics import Interval, t_interval
from eval.memory_tests.fork_results import AGENT
from eval.reporting import suite_tables
from eval.reporting.figures import colours, ordered
from eval.reporting.fork_tables import latest
from eval.reporting.loading import group_runs, stream_groups
from eval.reporting.report_writer import Table
from eval.reporting.runs import Run, StreamRun
from eval.reporting.tables import UNKNOWN, newest_probe, number, span
from eval.streams.compare import metric_values, nanmean, of_forks
from train.run.config import stop


@dataclass(frozen=True)
class Benchmark:
    """One column of the answer.

    Attributes:
        name: suite or stream.
        measure: its headline measure in words.
        floor: the most without memory, or of an untrained agent; NaN: unknown.
        ceiling: the most with perfect memory, or of the scripts; NaN: unknown.
        arms: values of the seeds by arm.
        missing: seeds by arm that were not evaluated.
    """

    name: str
    measure: str
    floor: float
    ceiling: float
    arms: dict[str, tuple[float, ...]]
    missing: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def interval(self, arm: str) -> Interval:
        """Mean over the arm's seeds with Student's 95 % interval."""
        return t_interval(self.arms[arm])


def of_memory_test(name: str, groups: Mapping[str, Sequence[Run]]) -> Benchmark:
    """FORK by its memory index, RECALL by its share of what the store can gain."""
    arms: dict[str, tuple[float, ...]] = {}
    missing: dict[str, tuple[int, ...]] = {}
    fork = next(iter(groups.values()))[0].config.fork
    store = fork is not None and fork.lifetimes is not None
    value = "recall_index" if store else "memory_index"
    for arm, runs in groups.items():
        found = [latest(run, run.recalls if store else run.forks, "test", AGENT) for run in runs]
        values = [None if one is None else one[value][0] for one in found]
        arms[arm], missing[arm] = _known(values), _unknown(runs, values)
    measure = "share of what a store can gain" if store else "memory index"
    return Benchmark(name, measure, 0.0, 1.0, _with_values(arms), missing)


def of_stream(name: str, groups: Mapping[str, Sequence[StreamRun]]) -> Benchmark:
    """A stream of FORK trials by its memory index at the end, another by success at the end."""
    forks = of_forks(groups)
    metric = "memory index" if forks else "performance"
    arms = {}
    for arm, runs in _lived_through(groups).items():
        values = metric_values(metric, runs)
        arms[arm] = _known(float(nanmean(values[:, [i]])) for i in range(values.shape[1]))
    measure = "memory index at the end" if forks else "success at the end, last episode"
    return Benchmark(
        name, measure, 0.0 if forks else nan, 1.0 if forks else nan, _with_values(arms)
    )


def of_extinction(name: str, groups: Mapping[str, Sequence[StreamRun]]) -> Benchmark:
    """The order in which sites are tried when none counts, beside the recency of their eras."""
    arms: dict[str, tuple[float, ...]] = {}
    missing: dict[str, tuple[int, ...]] = {}
    for arm, runs in _lived_through(groups).items():
        probes = [newest_probe(run.run).get("1") for run in runs]
        values = [None if one is None else one["tau"] for one in probes]
        arms[arm], missing[arm] = _known(values), _unknown([run.run for run in runs], values)
    name, measure = f"{name}, extinction", "τ-c with the recency of eras, θ1"
    return Benchmark(name, measure, 0.0, 1.0, _with_values(arms), missing)


def _lived_through(groups: Mapping[str, Sequence[StreamRun]]) -> dict[str, Sequence[StreamRun]]:
    """The arms whose agents live through the stream: `single` begins anew in each phase."""
    return {arm: runs for arm, runs in groups.items() if arm != "single"}


def benchmarks_of(name: str, runs: Sequence[Run]) -> list[Benchmark]:
    """What the runs of one suite or stream say. Raises InputError, which lists every problem."""
    if runs[0].record is not None:
        streams = stream_groups(runs)
        found = [of_stream(name, streams), of_extinction(name, streams)]
    else:
        groups, problems = group_runs(runs)
        if problems:
            stop([f"{name}: {problem}" for problem in problems])
        one = of_suite if next(iter(groups.values()))[0].config.fork is None else of_memory_test
        found = [one(name, groups)]
    return [benchmark for benchmark in found if benchmark.arms]


def of_suite(name: str, groups: Mapping[str, Sequence[Run]]) -> Benchmark:
    """A suite by success in the last episode on held-out goals or tasks."""
    measures = {measure.policy: measure for measure in suite_tables.MEASURES[::-1]
                if measure.field == "success" and measure.episode == -1}  # fmt: skip

    def seeds(runs: Sequence[Run], policy: str) -> tuple[float, ...]:
        values = suite_tables.by_task(runs, "test", measures[policy])
        return () if values is None else _known(values.mean(axis=0).tolist())

    def bound(policy: str) -> float:
        found = [seeds([run], policy) for group in groups.values() for run in group]
        known = [value for values in found for value in values]
        return float(np.mean(known)) if known else nan

    agent = measures["stochastic"]
    has = {
        arm: [run for run in runs if suite_tables.newest(run, "test", agent) is not None]
        for arm, runs in groups.items()
    }
    arms = {arm: seeds(runs, "stochastic") for arm, runs in has.items()}
    missing = {
        arm: tuple(run.seed for run in runs if run not in has[arm]) for arm, runs in groups.items()
    }
    measure = "held-out success, last episode"
    floor, ceiling = bound("untrained"), bound("scripted")
    return Benchmark(name, measure, floor, ceiling, _with_values(arms), missing)


def left_out(benchmarks: Sequence[Benchmark]) -> list[str]:
    """A sentence for each arm of which some seeds were not evaluated."""
    return [
        f"{arm} on {one.name}: seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))} left out, "
        "not evaluated"
        for one in benchmarks
        for arm, seeds in one.missing.items()
        if seeds
    ]


def _known(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values if value is not None and isfinite(value))


def _unknown(runs: Sequence[Run], values: Sequence[float | None]) -> tuple[int, ...]:
    return tuple(run.seed for run, value in zip(runs, values, strict=True) if not _known([value]))


def _with_values(arms: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    return {arm: values for arm, values in arms.items() if values}


def answer_table(benchmarks: Sequence[Benchmark]) -> Table:
    """Benchmarks × arms: mean, interval and number of seeds, beside floor and ceiling."""
    columns: dict[str, Sequence[str]] = {
        "benchmark": [one.name for one in benchmarks],
        "measure": [one.measure for one in benchmarks],
        "floor": [number(one.floor) for one in benchmarks],
        "ceiling": [number(one.ceiling) for one in benchmarks],
    }
    for arm in _arms(benchmarks):
        columns[arm] = [_cell(one, arm) for one in benchmarks]
    return Table(columns)


def _arms(benchmarks: Sequence[Benchmark]) -> list[str]:
    return ordered(list(dict.fromkeys(arm for one in benchmarks for arm in one.arms)))


def _cell(benchmark: Benchmark, arm: str) -> str:
    if arm not in benchmark.arms:
        return UNKNOWN
    seeds = len(benchmark.arms[arm])
    return f"{span(benchmark.interval(arm))} ({seeds} seed{'s' * (seeds > 1)})"


def answer_figure(benchmarks: Sequence[Benchmark]) -> Figure:
    """A panel for each benchmark: seeds as points, means with intervals, floor and ceiling."""
    arms = _arms(benchmarks)
    colour, across = colours(arms), min(3, len(benchmarks))
    rows = [benchmarks[first : first + across] for first in range(0, len(benchmarks), across)]
    heights = [0.9 + 0.3 * max(len(one.arms) for one in row) for row in rows]
    figure, panels = plt.subplots(
        len(rows), across, figsize=(4.2 * across, sum(heights)), height_ratios=heights,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for panel in panels.flat[len(benchmarks) :]:
        panel.axis("off")
    for panel, one in zip(panels.flat, benchmarks, strict=False):
        shown = [arm for arm in arms if arm in one.arms][::-1]
        for row, arm in enumerate(shown):
            interval = one.interval(arm)
            panel.plot(one.arms[arm], [row] * len(one.arms[arm]), "o", ms=4, alpha=0.4,
                       color=colour[arm])  # fmt: skip
            panel.plot(interval.value, row, "D", ms=6, color=colour[arm])
            if isfinite(interval.low):
                panel.plot((interval.low, interval.high), (row, row), color=colour[arm])
        for bound, style in ((one.floor, ":"), (one.ceiling, "--")):
            if isfinite(bound):
                panel.axvline(bound, color="grey", linestyle=style, linewidth=1)
        panel.set(yticks=range(len(shown)), yticklabels=shown, ylim=(-0.6, len(shown) - 0.4))
        panel.locator_params(axis="x", nbins=6)  # labels such as -0.50 must not touch
        panel.set_title(fill(one.name, 40), fontsize=10)
        panel.set_xlabel(one.measure, fontsize=9)
    return figure


def to_json(benchmarks: Sequence[Benchmark]) -> dict[str, Any]:
    """All numbers as JSON values."""

    def plain(one: Benchmark) -> dict[str, Any]:
        values = asdict(one)
        values |= {n: values[n] if isfinite(values[n]) else None for n in ("floor", "ceiling")}
        values["means"] = {arm: one.interval(arm).to_json() for arm in one.arms}
        return values

    return {"benchmarks": [plain(one) for one in benchmarks]}
