"""Runs that train on all their tasks at once, as the seeds of arms: one table for a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from eval.goals.metrics import Interval, t_interval
from eval.reporting.chosen import chosen, protocol
from eval.reporting.figures import ordered
from eval.reporting.profiles import improvements
from eval.reporting.report_writer import Table
from eval.reporting.runs import Run
from eval.reporting.tables import UNKNOWN, Contrasts, every_seed, span
from eval.streams.compare import Result, result

Groups = Mapping[str, Sequence[Run]]


@dataclass(frozen=True)
class Measure:
    """One line of the table.

    Attributes:
        name: as it is shown.
        policy: who acted, as `eval.evaluate` calls it.
        field: of a row of a summary (`eval.goals.metrics.Row`).
        episode: 0 the first of the trial, -1 the last; None: the field is a gain.
        scale: factor of the values as they are shown.
        form: format of a value.
    """

    name: str
    policy: str
    field: str
    episode: int | None
    scale: float = 100
    form: str = "{:.0f}"


MEASURES = (
    Measure("success, first episode, %", "stochastic", "success", 0),
    Measure("success, last episode, %", "stochastic", "success", -1),
    Measure("gain, points", "stochastic", "gain", None, form="{:+.0f}"),
    Measure("last-step success, last episode, %", "stochastic", "last_step_success", -1),
    Measure("repeating: success, last episode, %", "repeating", "success", -1),
    Measure("deterministic: success, last episode, %", "deterministic", "success", -1),
    Measure("steps to success, first episode", "stochastic", "steps_to_success", 0, 1),
    Measure("steps to success, last episode", "stochastic", "steps_to_success", -1, 1),
    Measure("gain, steps", "stochastic", "steps_gain", None, 1, "{:+.0f}"),
    Measure("steps in success, first episode, %", "stochastic", "share_in_success", 0),
    Measure("steps in success, last episode, %", "stochastic", "share_in_success", -1),
    Measure("floor, untrained: success, last episode, %", "untrained", "success", -1),
    Measure("floor, random: success, last episode, %", "random", "success", -1),
    Measure("ceiling, scripted: success, last episode, %", "scripted", "success", -1),
)
LAST_SUCCESS = MEASURES[1]
HEADLINES = {
    "first episode, %": MEASURES[0],
    "last episode, %": LAST_SUCCESS,
    "last episode, repeating, %": MEASURES[4],
}


def newest(run: Run, split: str, measure: Measure) -> dict[str, Any] | None:
    """The run's `chosen` evaluation among those that have the measure; None without one."""

    def has(values: dict[str, Any]) -> bool:  # an evaluation may be older than the measure
        policy = values["policies"].get(measure.policy)
        return policy is not None and measure.field in policy["summary"]["mean"]

    return chosen(run, run.evaluations, split, has)


def by_task(
    runs: Sequence[Run], split: str, measure: Measure
) -> Float[np.ndarray, "task seed"] | None:
    """A measure of each task and seed; None where not all runs have it, of the same tasks."""
    results = [newest(run, split, measure) for run in runs]
    rows = [r["policies"][measure.policy]["summary"]["tasks"] for r in results if r is not None]
    if not rows or len(rows) < len(runs) or any(list(row) != list(rows[0]) for row in rows):
        return None
    return np.array([[_value(row[task], measure) for row in rows] for task in rows[0]])


def _value(row: dict[str, Any], measure: Measure) -> float:
    intervals = row[measure.field]
    return float((intervals if measure.episode is None else intervals[measure.episode])[0])


def suite_results(groups: Groups, split: str) -> dict[str, dict[str, Result]]:
    """Every measure that an arm has, as a mean over tasks, with its interval over seeds."""
    found: dict[str, dict[str, Result]] = {}
    for measure in MEASURES:
        for arm in ordered(list(groups)):
            values = by_task(groups[arm], split, measure)
            if values is not None:
                found.setdefault(measure.name, {})[arm] = result(values)
    return found


def suite_table(groups: Groups, split: str) -> Table | None:
    """Measures × arms: mean, interval and every seed; None where nothing was evaluated."""
    found = suite_results(groups, split)
    shown = [measure for measure in MEASURES if measure.name in found]
    if not shown:
        return None
    columns = {"mean over tasks": [measure.name for measure in shown]}
    for arm in ordered(list(groups)):
        columns[arm] = [_cell(found[measure.name].get(arm), measure) for measure in shown]
    return Table({name: cells for name, cells in columns.items()})


def headline_table(groups: Groups, split: str) -> Table:
    """Arms × success in the first and the last episode, as README has it.

    Intervals are Student's over seeds; that of a single seed is its evaluation's own, over goals.
    """
    arms = ordered(list(groups))
    columns: dict[str, list[str]] = {"arm": arms}
    columns["seeds"] = [str(len(groups[arm])) for arm in arms]
    for name, measure in HEADLINES.items():
        columns[name] = [_headline(groups[arm], split, measure) for arm in arms]
    return Table({name: cells for name, cells in columns.items()})


def _headline(runs: Sequence[Run], split: str, measure: Measure) -> str:
    values = by_task(runs, split, measure)
    if values is None or measure.episode is None:
        return UNKNOWN
    seeds = [100 * float(value) for value in values.mean(axis=0)]
    if len(seeds) > 1:
        return f"{span(t_interval(seeds), '{:.0f}')} ({every_seed(seeds, '{:.0f}')})"
    found = newest(runs[0], split, measure)
    assert found is not None
    own = found["policies"][measure.policy]["summary"]["mean"][measure.field][measure.episode]
    return span(Interval(*(float("nan") if n is None else 100 * n for n in own)), "{:.0f}")


def _cell(value: Result | None, measure: Measure) -> str:
    if value is None:
        return UNKNOWN
    whole, form = scaled(value, measure.scale), measure.form
    if len(value.seeds) == 1:
        return every_seed(whole.seeds, form)
    return f"{span(whole.interval, form)} ({every_seed(whole.seeds, form)})"


def scaled(value: Result, scale: float) -> Result:
    """The same in another unit."""
    interval = type(value.interval)(*(scale * number for number in vars(value.interval).values()))
    return Result(interval, tuple(scale * seed for seed in value.seeds))


def sources(groups: Groups, split: str) -> str:
    """One sentence: which evaluations the table is of."""
    facts: dict[str, None] = {}
    for group in groups.values():
        for run in group:
            for measure in MEASURES:
                if (values := newest(run, split, measure)) is not None:
                    facts[protocol(values)] = None
    return (
        "Each number is of the run's newest checkpoint and of its most usual evaluation, the "
        f"largest of these: {'; '.join(facts)}."
        + " Compare numbers of one kind of evaluation only."
        * (len(facts) > 1)
    )


def contrast_table(groups: Groups, split: str, contrasts: Contrasts) -> Table:
    """Arms against each other in every measure that both have, paired by seed."""
    rows: dict[str, list[str]] = {
        n: [] for n in ("contrast", "measure", "difference [95 %]", "every seed")
    }
    for one, other in contrasts:
        for measure in MEASURES:
            found = _difference(groups, split, measure, one, other)
            if found is not None:
                form = measure.form if "+" in measure.form else measure.form.replace(":", ":+")
                cells = (f"{one} − {other}", measure.name, span(found.interval, form))
                for name, cell in zip(rows, (*cells, every_seed(found.seeds, form)), strict=True):
                    rows[name].append(cell)
        if f"{one} − {other}" not in rows["contrast"]:
            missing = [arm for arm in (one, other) if arm not in groups]
            why = f"no run of {', '.join(missing)}" if missing else "no common seed or measure"
            for name, cell in zip(rows, (f"{one} − {other}", UNKNOWN, why, UNKNOWN), strict=True):
                rows[name].append(cell)
    return Table({name: cells for name, cells in rows.items()})


def _difference(
    groups: Groups, split: str, measure: Measure, one: str, other: str
) -> Result | None:
    seeds = {run.seed for run in groups.get(one, ())} & {run.seed for run in groups.get(other, ())}
    if not seeds:
        return None
    values = [
        by_task([run for run in groups[arm] if run.seed in seeds], split, measure)
        for arm in (one, other)
    ]
    if values[0] is None or values[1] is None or values[0].shape != values[1].shape:
        return None
    return scaled(result(values[0] - values[1]), measure.scale)


def improvement_table(scores: Mapping[str, np.ndarray]) -> Table:
    """The probability of improvement of every pair of arms."""
    found = improvements(scores)
    return Table(
        {
            "pair": [f"{one} above {other}" for one, other, _ in found],
            "probability [95 %]": [span(interval) for _, _, interval in found],
        }
    )


def to_json(groups: Groups) -> dict[str, Any]:
    """All measures of both splits as JSON values."""
    return {
        "seeds": {arm: [run.seed for run in group] for arm, group in groups.items()},
        "measures": {
            split: {
                name: {arm: value.to_json() for arm, value in arms.items()}
                for name, arms in suite_results(groups, split).items()
            }
            for split in ("test", "train")
        },
    }
