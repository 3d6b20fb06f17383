"""Probes on the page: accuracy over time, selectivity by level and variable, the leak test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from eval.reporting.report_writer import Lines, Part, Picture, Table
from eval.traces.probes import at_decisions
from eval.traces.seeds import Groups, having, known, over_seeds
from eval.traces.timescale_page import COLOURS

Results = Sequence[Mapping[str, Any]]


def probe_parts(groups: Groups) -> list[Part]:
    """The section; nothing where no run was probed."""
    groups = having(groups, "probes")
    if not groups:
        return []
    parts: list[Part] = ["# Memory traces: probes"]
    if leaks := leaks_of(result for results in groups.values() for result in results):
        parts.append(Lines(leaks))
    shown = {arm: _timed(results) for arm, results in groups.items()}
    if any(shown.values()):
        parts.append(Picture("probes", _time_caption(groups), over_time(groups)))
    parts += [
        Picture("selectivity", SELECTIVITY, selectivity(groups)),
        _table(groups),
    ]
    if (table := _leak_table(groups)) is not None:
        parts += [LEAK_NOTE, table]
    return parts


SELECTIVITY = (
    "What each level tells beyond learning by heart: accuracy minus that of the same probe on "
    "labels drawn at random by type of trial, at the last still steps. A cell counts where it "
    "stands above those of untrained and inputs in its row."
)
LEAK_NOTE = (
    "Leak test: in the first attempt nothing may tell the target. Accuracy is the mean over its "
    "steps; errors are standard errors over trials above 1/M; the page fails above 4."
)


def leaks_of(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each source of each run that tells the target before anything was tried."""
    return [
        f"LEAK: seed {result['seed']} of {result['label']} on {result['suite']}: {source} tells "
        f"the target in the first attempt ({leak['accuracy']:.2f}, {leak['errors']:.1f} standard "
        f"errors above 1/{result.get('counted', result['options'])})"
        for result in results
        for source, leak in (result.get("probes") or {}).get("leak", {}).items()
        if leak["leaks"]
    ]


def _timed(results: Results) -> list[str]:
    """Variables that were asked over time."""
    probes = results[0]["probes"]
    first = next(iter(probes["sources"].values()))
    return [
        name
        for name, curves in first.items()
        if len(curves["accuracy"]) == len(probes["steps"]) and known(curves["accuracy"])
    ]


def over_time(groups: Groups) -> Figure:
    """Accuracy over the trial, a row an arm, a column a variable; a thin line is a seed."""
    names = list(dict.fromkeys(name for results in groups.values() for name in _timed(results)))
    figure, axes = plt.subplots(
        len(groups), len(names), figsize=(3.3 * len(names) + 0.5, 2.7 * len(groups) + 0.6),
        squeeze=False, layout="constrained", sharey=True,
    )  # fmt: skip
    for row, (arm, results) in enumerate(groups.items()):
        for column, name in enumerate(names):
            axis = axes[row, column]
            if name not in _timed(results):
                axis.axis("off")
                continue
            for number, result in enumerate(results):
                _draw(axis, result, name, labelled=number == 0)
            for episode in range(1, results[0]["episodes"]):
                at = episode * results[0]["horizon"]
                axis.axvline(at, color="0.7", linewidth=0.8, linestyle=":")
            axis.set_title(f"{arm}: {name}", fontsize=9)
            axis.set(xlabel="step of the trial", ylim=(0, 1.03))
            axis.spines[["top", "right"]].set_visible(False)
        axes[row, 0].set_ylabel("accuracy")
    legends = [axis.get_legend_handles_labels() for axis in axes.flat]
    handles, labels = max(legends, key=lambda found: len(found[0]))
    columns = 2 * len(names)  # so that it is no wider than the panels
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )
    return figure


def _draw(axis: Any, result: Mapping[str, Any], name: str, *, labelled: bool) -> None:
    probes = result["probes"]
    for source, variables in probes["sources"].items():
        if name not in variables:
            continue
        colour = COLOURS.get(source, "0.7")
        values = _curve(variables[name]["accuracy"])
        label = source if labelled else None
        axis.plot(probes["steps"], values, color=colour, linewidth=1.0, label=label)
    if labelled:
        chance = _curve(next(iter(probes["sources"].values()))[name]["chance"])
        axis.plot(probes["steps"], chance, color="black", linewidth=0.8, linestyle="--",
                  label="always the most frequent")  # fmt: skip


def _curve(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def _time_caption(groups: Groups) -> str:
    told = []
    for arm, results in groups.items():
        if "target" not in _timed(results):
            continue
        found = {source: _late(results, source, "target") for source in ("L0", "inputs")}
        found["untrained"] = _late(results, "untrained", "target")
        told.append(
            f"{arm}: at the last still step of later attempts the target is read from L0 with "
            f"accuracy {found['L0']}, from an untrained net with {found['untrained']}, from the "
            f"last inputs with {found['inputs']}."
        )
    return (
        "How well a linear probe reads what counts from each level, by step of the trial; it was "
        "trained on other trials and other layouts. Dotted lines are borders between attempts. "
        + " ".join(told)
    )


def _late(results: Results, source: str, variable: str, measure: str = "accuracy") -> str:
    return over_seeds(_means(results, source, variable, measure))


def _means(results: Results, source: str, variable: str, measure: str) -> list[float | None]:
    """Of each seed, the mean over last still steps at which it could be known."""
    found: list[float | None] = []
    for result in results:
        probes = result["probes"]
        if variable not in probes["sources"].get(source, {}):
            found.append(None)
            continue
        values = at_decisions(probes, source, variable, measure)
        if variable == "target" and len(values) > 1:
            values = values[1:]  # in the first attempt there is nothing to know
        found.append(float(np.mean(values)) if values else None)
    return found


def _names(results: Results) -> tuple[list[str], list[str]]:
    """Sources and variables of an arm."""
    sources = list(results[0]["probes"]["sources"])
    return sources, list(results[0]["probes"]["sources"][sources[0]])


def selectivity(groups: Groups) -> Figure:
    """Variable × source, mean over seeds of accuracy minus control accuracy; a panel an arm."""
    figure, axes = plt.subplots(
        1, len(groups), figsize=(4.4 * len(groups) + 0.8, 3.4), squeeze=False, layout="constrained"
    )
    images = []
    for axis, (arm, results) in zip(axes[0], groups.items(), strict=True):
        sources, variables = _names(results)
        table = np.array(
            [[_selectivity(results, source, name) for source in sources] for name in variables]
        )
        images.append(axis.imshow(table, vmin=0, vmax=1, cmap="viridis", aspect="auto"))
        for (row, column), value in np.ndenumerate(table):
            if value == value:
                shade = "white" if value < 0.6 else "black"
                axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8,
                          color=shade)  # fmt: skip
        axis.set_xticks(range(len(sources)), sources, fontsize=8)
        axis.set_yticks(range(len(variables)), variables, fontsize=8)
        axis.set_title(arm, fontsize=10)
    figure.colorbar(images[-1], ax=axes, shrink=0.8, label="selectivity")
    return figure


def _selectivity(results: Results, source: str, name: str) -> float:
    pairs = zip(
        _means(results, source, name, "accuracy"),
        _means(results, source, name, "control"),
        strict=True,
    )
    found = [a - c for a, c in pairs if a is not None and c is not None]
    return float(np.mean(found)) if found else float("nan")


def _table(groups: Groups) -> Table:
    """Accuracies at the last still steps of later attempts, by arm, variable and source."""
    names = ("arm", "variable", "most frequent", "L0", "L1", "L2", "L3", "untrained", "inputs")
    columns: dict[str, list[str]] = {name: [] for name in names}
    for arm, results in groups.items():
        for variable in _names(results)[1]:
            cells = [arm, variable, _late(results, "L0", variable, "chance")]
            cells += [_late(results, source, variable) for source in names[3:]]
            for column, cell in zip(columns.values(), cells, strict=True):
                column.append(cell)
    kept = {n: c for n, c in columns.items() if any(cell != "–" for cell in c)}
    return Table({name: cells for name, cells in kept.items()})


def _leak_table(groups: Groups) -> Table | None:
    columns: dict[str, list[str]] = {
        name: [] for name in ("arm", "from", "accuracy", "errors, highest", "leaks")
    }
    for arm, results in groups.items():
        for source in results[0]["probes"]["leak"]:
            found = [r["probes"]["leak"][source] for r in results if source in r["probes"]["leak"]]
            cells = [arm, source, over_seeds([leak["accuracy"] for leak in found])]
            cells.append(f"{max(leak['errors'] for leak in found):.1f}")
            cells.append("LEAK" if any(leak["leaks"] for leak in found) else "no")
            for column, cell in zip(columns.values(), cells, strict=True):
                column.append(cell)
    return Table({n: c for n, c in columns.items()}) if columns["arm"] else None
