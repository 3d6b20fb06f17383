"""Lesions on the page: loss by lesion, the matrix of lesions × benchmarks, and what may be said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from eval.reporting.report_writer import Lines, Part, Picture, Table
from eval.reporting.tables import number
from eval.traces.dissociation import (
    COLUMNS,
    MARGIN,
    OWN,
    ROWS,
    Estimate,
    double_dissociation,
    equivalent,
    loss_of,
)
from eval.traces.lesions import INTACT, SHAM
from eval.traces.seeds import Groups, having, over_seeds

Results = Sequence[Mapping[str, Any]]
SLOW_ARMS = ("hierarchical", "cascade+replay", "cascade", "long")
TWINS = ("short+replay", "short", "none")
"""Arms without slow levels, the nearest first, that stand for one that lost them."""
EMPTY = "–"


def lesion_parts(groups: Groups) -> list[Part]:
    """The section; nothing where nothing was taken away."""
    groups = having(groups, "lesions")
    if not groups:
        return []
    cells, shams, reasons = matrix_of(groups)
    return [
        "# Memory traces: lesions",
        Picture("lesions", _caption(groups), losses(groups)),
        _table(groups),
        "# Lesion × benchmark",
        Picture("dissociation", MATRIX, matrix(cells, shams)),
        Lines([*said(cells, shams), *reasons]),
    ]


MATRIX = (
    "Loss of score under a lesion, mean over seeds; the sham's stands below each column. Memories "
    "are told apart where the diagonal alone is dark. An empty cell was not measured."
)


def score_losses(result: Mapping[str, Any], lesion: str) -> np.ndarray | None:
    """(N,) of each trial, its score intact minus its score under the lesion; None: not measured."""
    found = result["lesions"]["found"]
    if lesion not in found:
        return None
    return np.array(found[INTACT]["scores"]) - np.array(found[lesion]["scores"])


def _by_seed(results: Results, lesion: str) -> list[np.ndarray]:
    found = [score_losses(result, lesion) for result in results]
    return [values for values in found if values is not None]


def _lesions(results: Results) -> list[str]:
    names = list(dict.fromkeys(name for r in results for name in r["lesions"]["found"]))
    return [name for name in names if name != INTACT]


def losses(groups: Groups) -> Figure:
    """Loss of score by lesion, a panel an arm; a dot is a seed."""
    across = min(3, len(groups))
    down = -(-len(groups) // across)
    figure, axes = plt.subplots(
        down, across, figsize=(4.4 * across + 0.6, 3.2 * down), squeeze=False,
        layout="constrained", sharey=True,
    )  # fmt: skip
    for axis in axes.flat[len(groups) :]:
        axis.axis("off")
    for axis, (arm, results) in zip(axes.flat, groups.items(), strict=False):
        names = _lesions(results)
        for place, name in enumerate(names):
            found = _by_seed(results, name)
            values = [x.mean() for x in found]
            bounds = loss_of(found)
            axis.bar(place, bounds.value, color="#0072B2" if name != SHAM else "0.7", width=0.6)
            axis.plot([place, place], [bounds.low, bounds.high], color="black", linewidth=1.2)
            axis.plot([place] * len(values), values, "o", color="#D55E00", markersize=4)
        axis.axhspan(-MARGIN, MARGIN, color="0.9", zorder=0)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_xticks(range(len(names)), names, fontsize=8, rotation=25, ha="right")
        axis.set_title(arm, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("loss of score")
    return figure


def _caption(groups: Groups) -> str:
    told = []
    for arm, results in groups.items():
        for name in _lesions(results):
            if name == SHAM:
                continue
            found, sham = _by_seed(results, name), _by_seed(results, SHAM)
            same = "equivalent to the sham" if equivalent(found, sham) else "not the sham's"
            told.append(f"{arm}, {name}: {_shown(loss_of(found))}, {same}.")
    return (
        "Loss of score when a memory is taken away while acting, on the same trials with the same "
        "noise. The score is the memory index; on RECALL it is the share of what a store can gain, "
        "and success is that of first attempts by exposure. Grey: the sham, other noise with "
        "nothing taken away, and the margin within which a loss counts as none. Dots are seeds, "
        "lines 95 % of a bootstrap over seeds and trials. " + " ".join(told)
    )


def _shown(found: Estimate) -> str:
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def _table(groups: Groups) -> Table:
    names = ("arm", "lesion", "seeds", "score", "loss", "success", "committed")
    columns: dict[str, list[str]] = {name: [] for name in names}
    for arm, results in groups.items():
        for lesion in [INTACT, *_lesions(results)]:
            kept = [
                r["lesions"]["found"][lesion] for r in results if lesion in r["lesions"]["found"]
            ]
            loss = EMPTY if lesion == INTACT else _shown(loss_of(_by_seed(results, lesion)))
            curve = np.mean([found["success"] for found in kept], axis=0)
            cells = [arm, lesion, str(len(kept)), over_seeds([np.mean(f["scores"]) for f in kept])]
            cells += [loss, "  ".join(f"{rate:.2f}" for rate in curve)]
            cells.append(over_seeds([float(np.mean(found["committed"])) for found in kept]))
            for column, cell in zip(columns.values(), cells, strict=True):
                column.append(cell)
    return Table({name: cells for name, cells in columns.items()})


Cells = dict[tuple[str, str], list[np.ndarray]]


def matrix_of(groups: Groups) -> tuple[Cells, dict[str, list[np.ndarray]], list[str]]:
    """Losses by (level, benchmark), the sham's by benchmark, and notes: whose they are, what lacks.

    All lesions of one benchmark are of one arm (`_subjects`), and so is their sham.
    """
    cells: Cells = {}
    shams: dict[str, list[np.ndarray]] = {}
    subjects = _subjects(groups)
    for column, arm in subjects.items():
        shams[column] = _by_seed(groups[arm], SHAM)
        for level, lesion in ROWS.items():
            if found := _by_seed(groups[arm], lesion):
                cells[level, column] = found
    cells |= {cell: found for cell, found in _without_slow(groups).items() if found}
    reasons = [f"{column}: lesions of {arm}" for column, arm in subjects.items()]
    reasons += [
        f"{ROWS[level]} on {column} is empty: {_why(groups, level, column)}"
        for level in ROWS
        for column in COLUMNS
        if (level, column) not in cells
    ]
    return cells, shams, reasons


def _subjects(groups: Groups) -> dict[str, str]:
    """By benchmark the arm whose lesions are shown: that with most of ROWS, of equals the first."""
    best: dict[str, tuple[int, str]] = {}
    for arm, results in groups.items():
        column = results[0]["lesions"]["benchmark"]
        count = sum(bool(_by_seed(results, lesion)) for lesion in ROWS.values())
        if count > best.get(column, (0, ""))[0]:
            best[column] = count, arm
    return {column: arm for column, (_, arm) in best.items()}


def _why(groups: Groups, level: str, column: str) -> str:
    if all(results[0]["lesions"]["benchmark"] != column for results in groups.values()):
        return f"no run of {column} was given, or its lesions cannot be measured here"
    if level == "L2/L3":
        return (
            "it needs an arm with slow policies and one without them, of the same suite, seeds and "
            "probe trials"
        )
    return f"no run on {column} has {level}"


def _without_slow(groups: Groups) -> Cells:
    """What an arm with slow levels has over its twin that never had any, paired by seed.

    Both have the same suite and the same probe trials; of several suites the first one counts.
    """
    found: Cells = {}
    every = [result for results in groups.values() for result in results]
    kinds = dict.fromkeys((r["lesions"]["benchmark"], _probed(r)) for r in every)
    for column, probed in kinds:
        here = [r for r in every if _probed(r) == probed]
        arms = {arm: {r["seed"]: r for r in here if r["arm"] == arm} for arm in SLOW_ARMS + TWINS}
        slow = next((arms[arm] for arm in SLOW_ARMS if arms[arm]), {})
        twin = next((arms[arm] for arm in TWINS if arms[arm].keys() >= slow.keys() > set()), {})
        if twin and ("L2/L3", column) not in found:
            found["L2/L3", column] = [_intact(slow[seed]) - _intact(twin[seed]) for seed in slow]
    return found


def _probed(result: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two results must share, so that the scores of one trial can be subtracted."""
    agent = result["label"].removeprefix(result["arm"])  # its core and how it acts
    return (agent, *(result[name] for name in ("suite", "probe_seed", "trials")))


def _intact(result: Mapping[str, Any]) -> np.ndarray:
    return np.array(result["lesions"]["found"][INTACT]["scores"])


def matrix(cells: Cells, shams: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Lesion × benchmark; dark is a loss."""
    figure, axis = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    table = np.full((len(ROWS), len(COLUMNS)), np.nan)
    for (level, column), found in cells.items():
        place = list(ROWS).index(level), COLUMNS.index(column)
        estimate = loss_of(found)
        table[place] = estimate.value
        text = f"{number(estimate.value)}\n[{number(estimate.low)}, {number(estimate.high)}]"
        shade = "white" if estimate.value > 0.5 else "black"
        axis.text(place[1], place[0], text, ha="center", va="center", fontsize=9, color=shade)
    image = axis.imshow(np.ma.masked_invalid(table), vmin=0, vmax=1, cmap="Greys", aspect="auto")
    for level, column in ((OWN[column], column) for column in COLUMNS):
        corner = COLUMNS.index(column) - 0.5, list(ROWS).index(level) - 0.5
        frame = plt.Rectangle(corner, 1, 1, fill=False, edgecolor="#D55E00", linewidth=1.8)
        axis.add_patch(frame)
    names = [_column(column, shams) for column in COLUMNS]
    axis.set_xticks(range(len(COLUMNS)), names, fontsize=8)
    axis.set_yticks(range(len(ROWS)), list(ROWS.values()), fontsize=8)
    figure.colorbar(image, ax=axis, label="loss of score", shrink=0.8)
    return figure


def _column(column: str, shams: Mapping[str, Sequence[np.ndarray]]) -> str:
    return f"{column}\nsham {number(loss_of(shams[column]).value)}" if column in shams else column


def said(cells: Cells, shams: Mapping[str, Sequence[np.ndarray]]) -> list[str]:
    """The verdict on L0 and L1, which FORK and RECALL tell apart."""
    verdict = double_dissociation(cells, shams)
    if verdict.dissociated:
        assert verdict.interaction is not None
        return [f"L0 and L1 are dissociated: interaction {_shown(verdict.interaction)}."]
    return [
        "It cannot be said that L0 and L1 are dissociated. Missing: "
        + "; ".join(verdict.missing)
        + "."
    ]
