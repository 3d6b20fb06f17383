"""The numbers of a comparison as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from math import isfinite
from typing import Any

import numpy as np

from eval.goals.metrics import Interval, t_interval
from eval.memory_tests.extinction import MEASURES as EXTINCTION
from eval.reporting.chosen import chosen
from eval.reporting.figures import ordered, short_name
from eval.reporting.report_writer import Table
from eval.reporting.runs import Run, StreamRun
from eval.streams.compare import (
    CONTRASTS,
    WITHOUT_PHASES,
    Result,
    adaptation,
    adaptation_speed,
    contrast,
    described,
    leaks,
    metric_values,
    of_forks,
    result,
    saved,
    speed,
    transfer,
)
from train.long_term.sizes import slow_policy_bytes, trial_bytes

CONTRASTED = (
    "performance",
    "first-episode performance",
    "incremental performance",
    "forgetting",
    "meta-forgetting",
)
CONTRASTED_FORKS = ("memory index", "skill", "finding out", "finding out forgotten")
SPEED = {"steps_to_success": ("{:.0f}", "{:+.0f}"), "share_in_success": ("{:.2f}", "{:+.2f}")}
"""Measures of how soon and for how long; formats of a value and of a gain."""
UNKNOWN = "–"

Groups = Mapping[str, Sequence[StreamRun]]
Contrasts = Sequence[tuple[str, str]]


def number(value: float, form: str = "{:.2f}") -> str:
    """A number, or a dash where it is unknown; never a negative zero."""
    if not isfinite(value):
        return UNKNOWN
    text = form.format(value)
    return text if text.strip("-0.,") or not text.startswith("-") else form.format(0.0)


def span(interval: Interval, form: str = "{:.2f}") -> str:
    """Value [low, high]."""
    value = number(interval.value, form)
    if not isfinite(interval.low):
        return value
    return f"{value} [{number(interval.low, form)}, {number(interval.high, form)}]"


def every_seed(values: Sequence[float], form: str = "{:.2f}") -> str:
    """All seeds' values."""
    return "  ".join(number(value, form) for value in values)


def measures_to_json(
    found: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Rows of measures, each a list of seeds' values, as JSON values with means; NaN is null."""

    def plain(seeds: Sequence[float]) -> dict[str, Any]:
        known = [None if value != value else value for value in seeds]
        return {"mean": t_interval(seeds).to_json(), "seeds": known}

    return {
        row: {name: [plain(seeds) for seeds in values] for name, values in measures.items()}
        for row, measures in found.items()
    }


def stream_results(groups: Groups) -> dict[str, dict[str, Result | float]]:
    """Metric by metric and arm by arm; transfer and savings need single-task runs for some."""
    alone = groups.get("single", ())
    arms = [arm for arm in ordered(list(groups)) if arm != "single"]
    found: dict[str, dict[str, Result | float]] = {
        name: {
            arm: result(metric_values(name, groups[arm]))
            for arm in arms
            if arm != "joint" or name in WITHOUT_PHASES
        }
        for name in described(groups)
    }
    for arm in arms:
        if arm == "joint":
            continue
        if alone and len(alone[0].areas) >= len(groups[arm][0].matrix.tasks):
            for name, value in transfer(groups[arm], alone).items():
                found.setdefault(name, {})[arm] = value
        if (savings := saved(groups[arm], alone)) is not None:
            found.setdefault("savings", {})[arm] = savings
    return found


def stream_tables(groups: Groups) -> list[tuple[str, Table]]:
    """Every metric: one row an arm, with interval and every seed."""
    descriptions = described(groups) | {
        "forward transfer, raw": "success while training minus alone (AUC), without phase 1",
        "forward transfer, normalised": "the same over the room above alone; unstable near 1",
        "savings": "part of the relearning time saved in cycle 2 (restricted means)",
    }
    tables = []
    for name, arms in stream_results(groups).items():
        rows: dict[str, list[str]] = {"arm": [], "mean [95 %]": [], "every seed": []}
        for arm, value in arms.items():
            known = isinstance(value, Result)
            rows["arm"].append(arm)
            rows["mean [95 %]"].append(span(value.interval) if known else number(value))
            rows["every seed"].append(every_seed(value.seeds) if known else UNKNOWN)
        tables.append((f"{name}: {descriptions[name]}", Table({k: v for k, v in rows.items()})))
    return tables


def adaptation_table(groups: Groups) -> Table:
    """Success at the end by episode of the trial, and episodes until half of them succeed."""
    arms = [arm for arm in ordered(list(groups)) if arm != "single"]
    curves = {arm: adaptation(groups[arm]) for arm in arms}
    columns: dict[str, list[str]] = {"arm": arms}
    for episode in range(len(curves[arms[0]])):
        columns[f"episode {episode + 1}"] = [span(curves[a][episode].interval) for a in arms]
    columns["episodes to 0.5"] = [number(adaptation_speed(groups[a]), "{:.0f}") for a in arms]
    return Table({name: cells for name, cells in columns.items()})


def metric_table(groups: Groups) -> Table:
    """All metrics in one table: a row a metric, a column an arm; mean, interval, every seed."""
    found = stream_results(groups)
    arms = [arm for arm in ordered(list(groups)) if arm != "single"]
    columns: dict[str, list[str]] = {"metric": list(found)}
    for arm in arms:
        columns[arm] = [_metric(found[name].get(arm)) for name in found]
    return Table({name: cells for name, cells in columns.items()})


def _metric(value: Result | float | None) -> str:
    if isinstance(value, Result):
        return f"{span(value.interval)} ({every_seed(value.seeds)})"
    return UNKNOWN if value is None else number(value)


def speed_results(groups: Groups) -> dict[str, dict[str, list[Result]]]:
    """Steps to first success and share of steps in success at the end, by episode and gain.

    Arms of which a run is older than these measures are left out.
    """
    found: dict[str, dict[str, list[Result]]] = {}
    for name in SPEED:
        for arm in ordered(list(groups)):
            curves = speed(groups[arm], name) if arm != "single" else None
            if curves is not None:
                found.setdefault(name, {})[arm] = curves
    return found


def speed_table(groups: Groups) -> Table | None:
    """`speed_results` as a table; None where no run has them."""
    rows: dict[str, list[str]] = {"measure": [], "arm": []}
    for name, arms in speed_results(groups).items():
        form, gain = SPEED[name]
        for arm, curve in arms.items():
            rows["measure"].append(name.replace("_", " "))
            rows["arm"].append(arm)
            for episode, value in enumerate(curve[:-1], start=1):
                rows.setdefault(f"episode {episode}", []).append(span(value.interval, form))
            rows.setdefault("last − first", []).append(span(curve[-1].interval, gain))
    return Table({name: cells for name, cells in rows.items()}) if rows["arm"] else None


def contrast_table(groups: Groups, contrasts: Contrasts = CONTRASTS) -> Table:
    """Contrasts, paired by seed; those whose arms are not there are named too."""
    rows: dict[str, list[str]] = {
        n: [] for n in ("contrast", "metric", "difference [95 %]", "every seed")
    }
    for one, other in contrasts:
        missing = [arm for arm in (one, other) if arm not in groups]
        for name in CONTRASTED[:1] if missing else contrasted(groups):
            found = None if missing else contrast(name, groups[one], groups[other])
            rows["contrast"].append(f"{one} − {other}")
            rows["metric"].append(name)
            what = f"no run of {', '.join(missing)}" if missing else "no common seed"
            rows["difference [95 %]"].append(
                span(found.interval, "{:+.2f}") if found is not None else what
            )
            rows["every seed"].append(
                every_seed(found.seeds, "{:+.2f}") if found is not None else UNKNOWN
            )
    return Table({name: cells for name, cells in rows.items()})


def contrasted(groups: Groups) -> tuple[str, ...]:
    """Metrics in which arms are contrasted."""
    return (*CONTRASTED, *(CONTRASTED_FORKS if of_forks(groups) else ()))


def leak_table(groups: Groups) -> Table:
    """First attempts of each arm of a stream of FORK trials, and the most that can be."""
    arms = ordered(list(groups))
    found = [leaks(groups[arm]) for arm in arms]
    return Table(
        {
            "arm": arms,
            "right if committed": [number(check.share, "{:.3f}") for check in found],
            "chance": [number(check.bound, "{:.3f}") for check in found],
            "chance + 3 standard errors": [number(check.most, "{:.3f}") for check in found],
            "trials": [f"{check.trials:,}" for check in found],
            "leak": ["YES" if check.leaks else "no" for check in found],
        }
    )


def extinction_table(groups: Groups) -> Table | None:
    """The newest extinction probe of each run by arm and policy; None where there is none."""
    rows: dict[str, list[str]] = {"arm": [], "policy": [], "seeds": []}
    rows |= {told: [] for told in EXTINCTION.values()}
    for arm in ordered(list(groups)):
        probes = [newest_probe(run.run) for run in groups[arm]]
        for level in sorted({level for probe in probes for level in probe}):
            found = [probe[level] for probe in probes if level in probe]
            rows["arm"].append(arm)
            rows["policy"].append(f"θ{level}")
            rows["seeds"].append(str(len(found)))
            for name, told in EXTINCTION.items():
                rows[told].append(span(t_interval([probe[name] for probe in found])))
    return Table({name: cells for name, cells in rows.items()}) if rows["arm"] else None


def newest_probe(run: Run) -> dict[str, dict[str, float]]:
    """What each policy did in the extinction probe of the latest checkpoint."""
    probes = sorted(run.extinctions.values(), key=lambda values: values["checkpoint"]["step"])
    return probes[-1]["levels"] if probes else {}


def sizes_line(groups: Groups) -> str:
    """Bytes of an old trial beside those of slow policies, in the shapes of these runs.

    Of the first arm that has slow policies, where there is one: others' networks may differ.
    """
    configs = [runs[0].run.config for runs in groups.values()]
    config = next((c for c in configs if c.without_own_parts().chosen_arm.cascade), configs[0])
    trial, (bare, moved) = trial_bytes(config), slow_policy_bytes(config)
    return (
        f"An old trial in the reservoir takes {trial:,} bytes. The slow policies of a cascade take "
        f"{bare:,}, as {bare / trial:.1f} trials do, and {moved:,} with their optimisers' moments, "
        f"as {moved / trial:.1f} trials do."
    )


def _forks_to_json(groups: Groups) -> dict[str, Any]:
    """First attempts and sizes of a stream of FORK trials; nothing of another."""
    if not of_forks(groups):
        return {}
    config = next(iter(groups.values()))[0].run.config
    bare, moved = slow_policy_bytes(config)
    sizes = {"trial": trial_bytes(config), "slow_policies": bare, "with_moments": moved}
    checks = {arm: leaks(group) for arm, group in groups.items()}
    first = {a: {**asdict(c), "most": c.most, "leaks": c.leaks} for a, c in checks.items()}
    return {"first_attempts": first, "bytes": sizes}


def task_table(groups: Groups) -> Table:
    """Success on unseen goals at the end, task by task; alone: after the task's own phase."""
    tasks = next(iter(groups.values()))[0].matrix.tasks
    columns: dict[str, list[str]] = {"task": [short_name(task) for task in tasks]}
    for arm in ordered(list(groups)):
        name = "learned" if arm == "single" else "performance"
        values = metric_values(name, groups[arm])[: len(tasks)]
        columns[arm] = [span(result(row[None]).interval) for row in values]
    return Table({name: cells for name, cells in columns.items()})


def cost_table(groups: Mapping[str, Sequence[Run]]) -> Table:
    """What each arm is and took."""
    arms = ordered(list(groups))
    columns: dict[str, list[str]] = {"arm": arms}
    columns["seeds"] = [" ".join(str(run.seed) for run in groups[arm]) for arm in arms]
    columns["policy parameters"] = [
        f"{groups[arm][0].parameters:,}" if groups[arm][0].parameters else UNKNOWN for arm in arms
    ]
    if any(run.record for group in groups.values() for run in group):
        columns["numbers in long-term memory"] = [
            f"{(groups[arm][0].record or {}).get('stored', 0):,}" for arm in arms
        ]
    columns["environment steps"] = [
        " ".join(dict.fromkeys(f"{run.steps:,}" if run.rows else UNKNOWN for run in groups[arm]))
        for arm in arms
    ]
    columns["wall-clock a run"] = [
        _duration(float(np.mean([run.seconds for run in groups[arm]]))) for arm in arms
    ]
    columns["complete"] = [
        "yes" if all(run.complete for run in groups[arm]) else "no" for arm in arms
    ]
    return Table({name: cells for name, cells in columns.items()})


def training_table(groups: Mapping[str, Sequence[Run]], last: int) -> Table:
    """Mean training success over each run's last `last` iterations, task by task."""
    names = sorted(
        {n for g in groups.values() for r in g for n in r.rows[-1] if n.startswith("train/success")}
        - {f"train/success_by_episode/{e}" for e in range(1, 1000)}
    )
    names.sort(key=lambda name: name == "train/success")
    columns: dict[str, list[str]] = {
        "task": [short_name(n.removeprefix("train/success").strip("/")) or "mean" for n in names]
    }
    for arm in ordered(list(groups)):
        cells = []
        for name in names:
            tails = [run.curve(name)[1][-last:] for run in groups[arm]]
            found = result(np.array([[tail.mean() if len(tail) else np.nan for tail in tails]]))
            cells.append(f"{span(found.interval)}  ({every_seed(found.seeds)})")
        columns[f"{arm} (every seed)"] = cells
    return Table({name: cells for name, cells in columns.items()})


def evaluation_table(groups: Mapping[str, Sequence[Run]]) -> Table | None:
    """Last-episode success in the `chosen` evaluation of each run and split."""
    columns = ("arm", "seed", "split", "step", "goals × episodes", "task", "success", "last step")
    rows: dict[str, list[str]] = {name: [] for name in columns}
    for arm in ordered(list(groups)):
        for run in groups[arm]:
            for split in ("test", "train"):
                if (values := chosen(run, run.evaluations, split, _has_agent)) is None:
                    continue
                how = values["settings"]
                size = f"{how['goals']} × {how['episodes']}"
                summary = values["policies"]["stochastic"]["summary"]
                for task, row in {**summary["tasks"], "mean": summary["mean"]}.items():
                    cells = (arm, str(run.seed), split, f"{values['checkpoint']['step']:,}", size)
                    shown = [
                        span(Interval(*(float("nan") if v is None else v for v in row[name][-1])))
                        for name in ("success", "last_step_success")
                    ]
                    for name, cell in zip(rows, (*cells, short_name(task), *shown), strict=True):
                        rows[name].append(cell)
    return Table({name: cells for name, cells in rows.items()}) if rows["arm"] else None


def _has_agent(values: dict[str, Any]) -> bool:
    return "stochastic" in values["policies"]


def to_json(groups: Groups, contrasts: Contrasts = CONTRASTS) -> dict[str, Any]:
    """All metrics and contrasts of a stream as JSON values."""

    def plain(value: Result | float | None) -> Any:
        if isinstance(value, Result):
            return value.to_json()
        return value if value is not None and isfinite(value) else None

    return {
        "seeds": {arm: [run.run.seed for run in group] for arm, group in groups.items()},
        "metrics": {
            name: {arm: plain(value) for arm, value in arms.items()}
            for name, arms in stream_results(groups).items()
        },
        "adaptation": {
            arm: [plain(value) for value in adaptation(group)]
            for arm, group in groups.items()
            if arm != "single"  # it ends on one task
        },
        "speed": {
            name: {arm: [plain(value) for value in curve] for arm, curve in arms.items()}
            for name, arms in speed_results(groups).items()
        },
        "contrasts": [
            {
                "contrast": [one, other],
                "metric": name,
                "difference": plain(contrast(name, groups[one], groups[other])),
            }
            for one, other in contrasts
            if one in groups and other in groups
            for name in contrasted(groups)
        ],
        **_forks_to_json(groups),
    }


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if isfinite(seconds) else UNKNOWN
