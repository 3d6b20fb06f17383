"""Geometry, drift and plasticity on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from eval.reporting.figures import PALETTE
from eval.reporting.report_writer import Part, Picture, Table
from eval.traces.seeds import Groups, having, known, over_seeds

Results = Sequence[Mapping[str, Any]]
MEASURES = (
    ("dormant", "share of dormant units"),
    ("rank", "effective rank of L0"),
    ("weight", "root mean square weight"),
)


def geometry_parts(groups: Groups) -> list[Part]:
    """The section; nothing where no run has it."""
    groups = having(groups, "geometry")
    if not groups:
        return []
    parts: list[Part] = [
        "# Memory traces: geometry and drift",
        Picture("geometry", LIKENESS, matrices(groups)),
        Picture("plasticity", PLASTICITY, along_training(groups)),
        _drift_table(groups),
    ]
    for table in (_lag_table(groups), _key_table(groups)):
        if table is not None:
            parts.append(table)
    return parts


LIKENESS = (
    "Likeness of states on the same inputs, mean over seeds: debiased linear CKA below the "
    "diagonal, Procrustes above it. 1: the same up to rotation and scale. A level that is as like "
    "the untrained net, or the inputs, as its own kind has learnt no shape of its own. Shuffled is "
    "L0 with its samples in another order: the floor of both measures."
)
PLASTICITY = (
    "Along training, on the same inputs; a line is a seed. Units that fall silent, a rank that "
    "falls or weights that grow go with learning less later on. Where a run kept one checkpoint "
    "there is one point."
)


def matrices(groups: Groups) -> Figure:
    """Levels × levels, a panel an arm."""
    figure, axes = plt.subplots(
        1, len(groups), figsize=(4.2 * len(groups) + 0.8, 3.6), squeeze=False, layout="constrained"
    )
    images = []
    for axis, (arm, results) in zip(axes[0], groups.items(), strict=True):
        names = results[0]["geometry"]["levels"]["names"]
        table = _mean(results, names, "cka")
        turned = _mean(results, names, "procrustes")
        above = np.triu_indices(len(names), 1)
        table[above] = turned[above]
        images.append(axis.imshow(table, vmin=0, vmax=1, cmap="viridis"))
        for (row, column), value in np.ndenumerate(table):
            shade = "white" if not value >= 0.6 else "black"
            text = f"{value:.2f}".replace("-0.00", "0.00")
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color=shade)
        axis.set_xticks(range(len(names)), names, fontsize=8, rotation=30, ha="right")
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_title(arm, fontsize=10)
    figure.colorbar(images[-1], ax=axes, shrink=0.8, label="likeness")
    return figure


def _mean(results: Results, names: Sequence[str], measure: str) -> np.ndarray:
    found = [
        np.array(r["geometry"]["levels"][measure], dtype=float)
        for r in results
        if r["geometry"]["levels"]["names"] == names
    ]
    return np.mean(found, axis=0)


def along_training(groups: Groups) -> Figure:
    """Plasticity and likeness to the last checkpoint over steps; a colour an arm."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 2.9), layout="constrained")
    for number, (arm, results) in enumerate(groups.items()):
        colour = PALETTE[number % len(PALETTE)]
        for seed, result in enumerate(results):
            rows = result["geometry"]["plasticity"]
            steps = np.array([row["step"] for row in rows]) / 1e6
            label = arm if seed == 0 else None
            for axis, (name, _) in zip(axes, MEASURES, strict=False):
                values = [row[name] for row in rows]
                axis.plot(steps, values, ".-", color=colour, linewidth=1.0, label=label)
            last = np.array(result["geometry"]["training"]["cka"], dtype=float)[-1]
            axes[3].plot(steps, last, ".-", color=colour, linewidth=1.0)
    for axis, title in zip(axes, [*(t for _, t in MEASURES), "CKA with the last"], strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("environment steps (millions)", fontsize=8)
        axis.set_ylim(0, 1.05 * max(axis.get_ylim()[1], 1e-6))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _drift_table(groups: Groups) -> Table:
    """A probe of the target that was trained on one checkpoint, tested on itself and on others."""
    names = (
        "arm", "seeds", "checkpoints", "decoder on its own", "one checkpoint later",
        "half-life (checkpoints)", "CKA, neighbours",
    )  # fmt: skip
    columns: dict[str, list[str]] = {name: [] for name in names}
    for arm, results in groups.items():
        decoders = [r["geometry"]["decoder"] for r in results if r["geometry"].get("decoder")]
        along = [np.array(r["geometry"]["training"]["cka"], dtype=float) for r in results]
        counts = sorted({len(matrix) for matrix in along})
        lives = [d["half_life"] for d in decoders if len(d["by_distance"]) > 1]
        reached = known(lives)
        cells = [
            arm,
            str(len(results)),
            ", ".join(map(str, counts)),
            over_seeds([d["by_distance"][0] for d in decoders]),
            over_seeds([d["by_distance"][1] for d in decoders if len(d["by_distance"]) > 1]),
            over_seeds(reached, "{:.1f}") if reached else "longer" if lives else "–",
            over_seeds([float(np.diagonal(m, 1).mean()) for m in along if len(m) > 1]),
        ]
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
    return Table({name: cells for name, cells in columns.items()})


def _lag_table(groups: Groups) -> Table | None:
    """How far slow policies lie behind; None where there are none."""
    columns: dict[str, list[str]] = {
        name: [] for name in ("arm", "level", "seeds", "effective lag (steps)", "KL at it (nats)")
    }
    for arm, results in groups.items():
        for level in ("L2", "L3"):
            lags = [r["geometry"]["lag"][level] for r in results if level in r["geometry"]["lag"]]
            if not lags:
                continue
            cells = [arm, level, str(len(lags)), over_seeds([x["lag"] for x in lags], "{:,.0f}")]
            cells.append(over_seeds([min(x["kl"]) for x in lags], "{:.3f}"))
            for column, cell in zip(columns.values(), cells, strict=True):
                column.append(cell)
    return Table({n: c for n, c in columns.items()}) if columns["arm"] else None


def _key_table(groups: Groups) -> Table | None:
    """Keys of the last store: how many, how alike, and how like their former selves."""
    names = (
        "arm",
        "entries",
        "mean cosine of keys",
        "effective rank",
        "CKA with the last checkpoint",
    )
    columns: dict[str, list[str]] = {name: [] for name in names}
    for arm, results in groups.items():
        last = [r["geometry"]["keys"][-1] for r in results if r["geometry"]["keys"]]
        if not last:
            continue
        cells = [arm, over_seeds([x["entries"] for x in last], "{:.0f}")]
        cells += [
            over_seeds([x[name] for x in last]) for name in ("likeness", "rank", "like_before")
        ]
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
    return Table({n: c for n, c in columns.items()}) if columns["arm"] else None
