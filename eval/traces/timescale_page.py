"""Timescales on the page: figures, a table, and what they say in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from eval.reporting.report_writer import Part, Picture, Table
from eval.traces.seeds import Groups, having, known, over_seeds

Results = Sequence[Mapping[str, Any]]
COLOURS = {
    "L0": "#0072B2", "L1": "#CC79A7", "L2": "#009E73", "L3": "#56B4E9",
    "untrained": "0.45", "inputs": "#E69F00", "trained": "#0072B2",
}  # fmt: skip
COURSES = {
    "other past": "#0072B2", "same past": "#009E73", "other past, untrained": "0.45",
    "other past, shuffled time": "#E69F00", "outcome": "#D55E00", "observation": "#CC79A7",
    "previous action": "#56B4E9", "random direction": "#000000",
}  # fmt: skip


def timescale_parts(groups: Groups) -> list[Part]:
    """The section; nothing where no run was looked into."""
    groups = having(groups, "timescales")
    if not groups:
        return []
    return [
        "# Memory traces: timescales",
        Picture("timescales", _distribution_caption(groups), distributions(groups)),
        _table(groups),
        Picture("courses", _course_caption(groups), courses(groups)),
        _course_table(groups),
    ]


def distributions(groups: Groups) -> Figure:
    """Share of units below each τ, of autocorrelation and of gates; a thin line is a seed."""
    figure, axes = plt.subplots(
        2, len(groups), figsize=(4.6 * len(groups) + 1.6, 5.6), squeeze=False, layout="constrained"
    )
    for column, (arm, results) in enumerate(groups.items()):
        for row, (title, found) in enumerate(
            (("autocorrelation", _taus(results)), ("gates", _gates(results)))
        ):
            axis = axes[row, column]
            for source, seeds in found.items():
                _shares(axis, source, seeds)
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:g}")
            axis.set(xlabel="τ (steps)", ylabel="share of units below", ylim=(0, 1.02))
            axis.set_title(f"{arm}: {title}", fontsize=10)
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
            if found:
                axis.legend(fontsize=7, frameon=False, loc="lower right")
    return figure


def _shares(axis: Any, source: str, seeds: Sequence[np.ndarray]) -> None:
    for number, taus in enumerate(seeds):
        heights = np.arange(1, len(taus) + 1) / max(len(taus), 1)
        label = source if number == 0 else None
        colour = COLOURS.get(source, "0.7")
        axis.step(np.sort(taus), heights, where="post", color=colour, linewidth=1.0, label=label)


def _taus(results: Results) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for result in results:
        for source, values in result["timescales"]["autocorrelation"].items():
            taus = np.array(known(values["tau"]))
            if source != "shuffled time" and len(taus):
                found.setdefault(source, []).append(taus)
    return found


def _gates(results: Results) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for result in results:
        for source, values in result["timescales"]["gates"].items():
            found.setdefault(source, []).append(np.array(values))
    return found


def _distribution_caption(groups: Groups) -> str:
    told = []
    for arm, results in groups.items():
        medians = {
            source: over_seeds(_medians(results, source), "{:.1f}")
            for source in ("L0", "untrained", "inputs")
        }
        told.append(
            f"{arm}: the median unit of L0 resembles itself for {medians['L0']} steps, that of an "
            f"untrained net on the same inputs for {medians['untrained']}, the inputs themselves "
            f"for {medians['inputs']}."
        )
    return (
        "How long activity goes on resembling itself (above), and how long gates would let a unit "
        "hold something (below). Only what goes beyond the untrained net was learnt; what the "
        "inputs do as well is theirs. " + " ".join(told)
    )


def _medians(results: Results, source: str) -> list[float | None]:
    found = (r["timescales"]["autocorrelation"].get(source) for r in results)
    return [None if values is None else values["median"] for values in found]


def _table(groups: Groups) -> Table:
    """Arms × sources: median τ over seeds, shares of rejected fits and of those that are long."""
    columns: dict[str, list[str]] = {
        name: [] for name in ("arm", "of", "seeds", "median τ (steps)", "rejected", "too long")
    }
    for arm, results in groups.items():
        sources = {s for r in results for s in r["timescales"]["autocorrelation"]}
        for source in sorted(sources):
            found = [r["timescales"]["autocorrelation"].get(source) for r in results]
            kept = [values for values in found if values is not None]
            rejected, long = (
                over_seeds([v[why] / max(len(v["tau"]), 1) for v in kept])
                for why in ("rejected", "long")
            )
            cells = [
                arm,
                source,
                str(len(kept)),
                over_seeds([v["median"] for v in kept], "{:.1f}"),
                rejected,
                long,
            ]
            _append(columns, cells)
        for source, seeds in _gates(results).items():
            medians = over_seeds([float(np.median(taus)) for taus in seeds], "{:.1f}")
            _append(columns, [arm, f"gates, {source}", str(len(seeds)), medians, "–", "–"])
    return Table({name: cells for name, cells in columns.items()})


def _append(columns: dict[str, list[str]], cells: Sequence[str]) -> None:
    for column, cell in zip(columns.values(), cells, strict=True):
        column.append(cell)


def courses(groups: Groups) -> Figure:
    """What becomes of a difference of states (left) and of the policy (right), by step."""
    figure, axes = plt.subplots(
        len(groups), 2, figsize=(11, 3.0 * len(groups) + 0.5), squeeze=False, layout="constrained"
    )
    for row, (arm, results) in enumerate(groups.items()):
        for column, (measure, label) in enumerate(
            (("state", "difference of states (1 at the start)"), ("kl", "KL of the policy (nats)"))
        ):
            axis = axes[row, column]
            for name, colour in COURSES.items():
                for number, result in enumerate(results):
                    course = result["timescales"]["courses"].get(name)
                    if course is not None:
                        steps = course["first"] + np.arange(len(course[measure]))
                        label_ = name if number == 0 else None
                        axis.plot(steps, course[measure], color=colour, linewidth=1.0, label=label_)
            _mark_attempts(axis, results[0])
            axis.set(xlabel="step of the trial", ylabel=label)
            axis.set_ylim(bottom=0)
            axis.set_title(arm, fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _mark_attempts(axis: Any, result: Mapping[str, Any]) -> None:
    for episode in range(1, result["episodes"]):
        axis.axvline(episode * result["horizon"], color="0.7", linewidth=0.8, linestyle=":")


def _course_caption(groups: Groups) -> str:
    told = []
    for arm, results in groups.items():
        state, kl = (_half_lives(results, "other past", n) for n in ("state", "kl"))
        told.append(
            f"{arm}: steps until half of what the past has made is gone: {state} in the state, "
            f"{kl} in the policy."
        )
    return (
        "Two pasts, then the same inputs, which tell no outcome: what still differs is held by the "
        "memory. Dotted lines are borders between episodes. A memory that works keeps the policies "
        "apart beyond them; same past and untrained show what is no knowledge of the target. "
        + " ".join(told)
    )


def _half_lives(results: Results, name: str, measure: str) -> str:
    """Over seeds; it says how many seeds never came to half, and where nothing was changed."""
    found = [r["timescales"]["courses"][name] for r in results if name in _courses(r)]
    moved = [course for course in found if course[measure][0] > 0]
    lives = [course[f"{measure}_half_life"] for course in moved]
    reached = known(lives)
    if not moved:
        return "no difference" if found else "–"
    if not reached:
        return "never in the trial"
    never = len(lives) - len(reached)
    told = f" ({never} of {len(lives)} seeds: never in the trial)" if never else ""
    return over_seeds(reached, "{:.0f}") + told


def _courses(result: Mapping[str, Any]) -> Mapping[str, Any]:
    return result["timescales"]["courses"]


def _course_table(groups: Groups) -> Table:
    columns: dict[str, list[str]] = {
        name: []
        for name in ("arm", "difference", "seeds", "half-life of the state", "of the policy")
    }
    columns["KL 10 steps on (nats)"] = []
    for arm, results in groups.items():
        for name in COURSES:
            kept = [r for r in results if name in r["timescales"]["courses"]]
            if not kept:
                continue
            curves = [r["timescales"]["courses"][name]["kl"] for r in kept]
            later = [curve[min(10, len(curve) - 1)] for curve in curves]
            cells = [arm, name, str(len(kept)), _half_lives(kept, name, "state")]
            _append(columns, [*cells, _half_lives(kept, name, "kl"), over_seeds(later)])
    return Table({name: cells for name, cells in columns.items()})
