"""Three sentences on top of a report: what was run, what came out, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.reporting import suite_tables
from eval.reporting.runs import Run, StreamRun
from eval.reporting.tables import Contrasts, span
from eval.streams.compare import Result, contrast, metric_values, result


def of_suite(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """Of runs that train on all their tasks at once."""
    lines = [_runs(groups)]
    for split, where in (("test", "Held out"), ("train", "On training goals")):
        found = suite_tables.suite_results(groups, split)
        if not found:
            continue
        success = found.get(suite_tables.LAST_SUCCESS.name, {})
        if success:
            lines.append(
                f"{where}, success in the last episode: {_arms(success, 100, '{:.0f}', ' %')}."
            )
        steps = found.get("gain, steps", {})
        if steps:
            lines.append(
                f"{where}, steps to first success from the first to the last episode: "
                f"{_arms(steps, 1, '{:+.0f}', '')}."
            )
    if len(lines) == 1:
        lines.append("Nothing was evaluated yet: python -m eval.evaluate RUN.")
    return lines[:3]


def of_stream(groups: Mapping[str, Sequence[StreamRun]], contrasts: Contrasts) -> list[str]:
    """Of runs of a stream."""
    arms = [arm for arm in groups if arm != "single"] or list(groups)
    lines = [_runs({arm: [r.run for r in group] for arm, group in groups.items()})]
    success = {arm: result(metric_values("performance", groups[arm])) for arm in arms}
    lines.append(f"Success at the end, last episode: {_arms(success, 100, '{:.0f}', ' %')}.")
    for one, other in contrasts:
        if one in groups and other in groups:
            found = contrast("performance", groups[one], groups[other])
            if found is not None:
                difference = span(suite_tables.scaled(found, 100).interval, "{:+.0f}")
                lines.append(f"{one} − {other}, success at the end: {difference} points.")
                break
    return lines


def _runs(groups: Mapping[str, Sequence[Run]]) -> str:
    counts = ", ".join(
        f"{arm} ({len(group)} {'seed' if len(group) == 1 else 'seeds'})"
        for arm, group in groups.items()
    )
    unfinished = sum(not run.complete for group in groups.values() for run in group)
    return f"Arms: {counts}" + (f"; {unfinished} runs are not complete." if unfinished else ".")


def _arms(values: Mapping[str, Result], scale: float, form: str, unit: str) -> str:
    shown = {arm: suite_tables.scaled(value, scale).interval for arm, value in values.items()}
    return ", ".join(f"{arm} {span(interval, form)}{unit}" for arm, interval in shown.items())
