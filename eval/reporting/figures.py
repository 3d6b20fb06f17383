"""The figures of a report. Each function draws one and returns it; nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float

from eval.reporting.profiles import profile, profile_band
from eval.reporting.runs import Run, StreamRun
from eval.streams.compare import adaptation

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

# Okabe & Ito's palette and three more, told apart by colour-blind readers too; one colour an arm.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31",
    "#332288", "#999999",
)  # fmt: skip
ORDER = (
    "short", "hierarchical", "short+replay", "cascade+replay", "cascade", "long", "none",
    "episodic", "short-wide", "ewc", "l2", "progress-compress", "joint", "single",
)  # fmt: skip
BY_EPISODE = "train/success_by_episode/"
GRID = 240  # points of a curve
SPARSE = 25  # points of a curve up to which each is marked, so that lines between are seen as such
DRAWS = 1000  # of the bootstrap behind a band


def ordered(arms: Sequence[str]) -> list[str]:
    """Arms in the order in which they are always shown."""
    known = [arm for arm in ORDER if arm in arms]
    return known + [arm for arm in arms if arm not in known]


def colours(arms: Sequence[str]) -> dict[str, str]:
    """A colour for each arm."""
    return {arm: PALETTE[i % len(PALETTE)] for i, arm in enumerate(ordered(arms))}


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over the last `window` values, over fewer at the start; (n,) -> (n,)."""
    sums = np.cumsum(np.concatenate(([0.0], values)))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def band(values: Float[np.ndarray, "seed point"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds and 95 % bootstrap interval of it at each point, NaN where no seed is."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    total = np.where(known, values, 0.0)
    mean = np.where(known.any(axis=0), total.sum(axis=0) / count, np.nan)
    if len(values) < 2:
        return mean, mean, mean
    picks = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    counts = np.maximum(known[picks].sum(axis=1), 1)
    draws = np.where(known[picks].any(axis=1), total[picks].sum(axis=1) / counts, np.nan)
    low, high = np.nanquantile(np.where(np.isfinite(draws), draws, mean), (0.025, 0.975), axis=0)
    return mean, low, high


def on_grid(
    curves: Sequence[tuple[np.ndarray, np.ndarray]], window: int
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "seed point"]]:
    """Smoothed curves of several seeds at common steps; NaN before and beyond what a seed has."""
    curves = [curve for curve in curves if len(curve[0])]
    if not curves:
        return np.zeros(0), np.zeros((0, 0))
    first = min(steps[0] for steps, _ in curves)
    grid = np.linspace(first, max(steps[-1] for steps, _ in curves), GRID)
    rows = [
        np.interp(grid, steps, smooth(values, window), left=np.nan, right=np.nan)
        for steps, values in curves
    ]
    return grid, np.array(rows)


def draw_curves(
    axis: Any,
    groups: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    palette: Mapping[str, str],
    window: int,
) -> None:
    """Mean, interval and every seed of each group, on one axis, steps in millions."""
    for name in groups:
        grid, rows = on_grid(groups[name], window)
        if not len(grid):
            continue
        mean, low, high = band(rows)
        for row in rows if len(rows) > 1 else ():
            axis.plot(grid / 1e6, row, color=palette[name], alpha=0.25, linewidth=0.6)
        axis.fill_between(grid / 1e6, low, high, color=palette[name], alpha=0.18, linewidth=0)
        axis.plot(grid / 1e6, mean, color=palette[name], linewidth=1.8, label=name)
        for steps, values in groups[name]:
            if window == 1 and len(steps) <= SPARSE:
                axis.plot(steps / 1e6, values, ".", color=palette[name], markersize=3, alpha=0.6)


def short_name(task: str) -> str:
    """A task without its version."""
    return task.removesuffix("-v3")


def make_panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure of `count` panels of success over steps, `columns` in a row; sizes in inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns + 0.5, height * rows + 0.6),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat[count:]:
        axis.axis("off")
    for axis in axes.flat[:count]:
        axis.set_ylim(-0.03, 1.03)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        # A panel with nothing below it carries the axis that `sharex` leaves to the last row.
        position = list(axes.flat).index(axis)
        if position + columns >= count:
            axis.tick_params(labelbottom=True)
            axis.set_xlabel("environment steps (millions)", fontsize=8)
    for row in axes:
        row[0].set_ylabel("success", fontsize=8)
    return figure, list(axes.flat[:count])


def _legend(figure: Figure, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(
            handles, labels, loc="outside upper center", ncols=min(len(labels), 6), frameon=False
        )


def training(runs: Mapping[str, Sequence[Run]], window: int) -> Figure:
    """Training success of each task (last episode of the trial), every arm and seed."""
    logged = {name for group in runs.values() for run in group for row in run.rows for name in row}
    names = sorted(name for name in logged if name.startswith("train/success/"))
    panels = [("train/success", "mean over training tasks"), *((n, n[14:]) for n in names)]
    if "test/success" in logged:
        panels.insert(1, ("test/success", "held out (quick evaluation)"))
    figure, axes = make_panels(len(panels), 4, 2.9, 2.1)
    palette = colours(list(runs))
    for axis, (name, title) in zip(axes, panels, strict=True):
        groups = {arm: [run.curve(name) for run in runs[arm]] for arm in ordered(list(runs))}
        draw_curves(axis, groups, palette, window if name.startswith("train/") else 1)
        axis.set_title(short_name(title), fontsize=9)
    _legend(figure, axes[0])
    return figure


def one_run(run: Run, window: int) -> Figure:
    """One run: success by episode of the trial, then one panel a task, raw curves behind."""
    names = sorted({name for row in run.rows for name in row})
    shown = [(n, "episode " + n.rsplit("/", 1)[1]) for n in names if n.startswith(BY_EPISODE)]
    shown.append(("train/last_step_success", "last step, last episode"))
    if "test/success" in names:
        shown.append(("test/success", "held-out, last episode"))
    panels = [("all tasks", shown)]
    panels += [(n[14:], [(n, "")]) for n in names if n.startswith("train/success/")]
    figure, axes = make_panels(len(panels), 4, 3.6, 2.6)
    for axis, (title, lines) in zip(axes, panels, strict=True):
        for number, (name, label) in enumerate(lines):
            steps, values = run.curve(name)
            colour = PALETTE[number % len(PALETTE)]
            smoothed = smooth(values, window if name.startswith("train/") else 1)
            axis.plot(steps / 1e6, values, color=colour, alpha=0.15, linewidth=0.8)
            axis.plot(steps / 1e6, smoothed, color=colour, linewidth=1.6, label=label)
        axis.set_title(short_name(title), fontsize=10)
        if len(lines) > 1:
            axis.legend(fontsize=7, loc="lower right")
    return figure


def stream_learning(runs: Mapping[str, Sequence[StreamRun]], window: int) -> Figure:
    """Training success on the task of the moment, along the stream."""
    shown = {arm: group for arm, group in runs.items() if arm != "joint"} or dict(runs)
    reference = next(iter(shown.values()))[0]
    phases = max((g[0].matrix.phases for g in shown.values()), key=len)
    figure, axis = plt.subplots(figsize=(11, 3.4), layout="constrained")
    palette = colours(list(runs))
    length = reference.phase_steps
    for arm in ordered(list(shown)):
        for number in range(len(shown[arm][0].matrix.phases)):
            curves = []
            for run in shown[arm]:
                steps, values = run.phase_curve(number)
                curves.append((steps + number * length, values))
            draw_curves(axis, {arm: curves}, palette, window)
    for number, task in enumerate(phases):
        axis.axvline(number * length / 1e6, color="0.6", linewidth=0.6)
        axis.text(
            (number + 0.5) * length / 1e6, 1.05, short_name(reference.matrix.tasks[task]),
            ha="center" if len(phases) <= 5 else "left", va="bottom", fontsize=8,
            rotation=0 if len(phases) <= 5 else 28,
        )  # fmt: skip
    axis.set(xlabel="environment steps (millions)", ylabel="training success", ylim=(-0.03, 1.03))
    axis.set_xlim(0, len(phases) * length / 1e6)
    axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(
        list(unique.values()), list(unique), loc="outside lower center", ncols=6, frameon=False
    )
    return figure


def retention(runs: Mapping[str, Sequence[StreamRun]]) -> Figure:
    """Success on unseen goals of each task along the whole stream; its own phases are shaded."""
    groups = {arm: group for arm, group in runs.items() if arm != "single"} or dict(runs)
    first = next(iter(groups.values()))[0]
    tasks, length = first.matrix.tasks, first.phase_steps
    figure, axes = make_panels(len(tasks), 3, 3.5, 2.3)
    palette = colours(list(runs))
    for index, axis in enumerate(axes):
        for number, task in enumerate(first.matrix.phases):
            if task == index:
                axis.axvspan(
                    number * length / 1e6, (number + 1) * length / 1e6, color="0.88", linewidth=0
                )
        curves = {}
        for arm in ordered(list(groups)):
            curves[arm] = [_evaluated(run, index) for run in groups[arm]]
        draw_curves(axis, curves, palette, 1)
        axis.set_title(short_name(tasks[index]), fontsize=9)
    _legend(figure, axes[0])
    return figure


def _evaluated(run: StreamRun, task: int) -> tuple[np.ndarray, np.ndarray]:
    assert run.run.record is not None
    points = run.run.record["evaluations"]
    success = [np.mean(np.array(point["success"][task])[:, -1]) for point in points]
    return np.array([point["step"] for point in points], float), np.array(success)


def heat_maps(runs: Mapping[str, Sequence[StreamRun]]) -> Figure:
    """R at the last episode, mean over seeds; the cell of the phase's own task is framed."""
    arms = ordered(list(runs))
    tasks = next(iter(runs.values()))[0].matrix.tasks
    rows = max(len(group[0].matrix.phases) for group in runs.values()) + 1
    columns = min(3, len(arms))
    lines = -(-len(arms) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=((0.42 * len(tasks) + 1.9) * columns, (0.3 * rows + 1.5) * lines),
        squeeze=False,
        layout="constrained",
    )
    image = None
    for axis in axes.flat[len(arms) :]:
        axis.axis("off")
    for axis, arm in zip(axes.flat, arms, strict=False):
        matrix = runs[arm][0].matrix
        values = np.mean([run.matrix.at() for run in runs[arm]], axis=0)
        image = axis.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            shade = "white" if value < 0.6 else "black"
            text = f"{100 * value:.0f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=shade)
        for number, task in enumerate(matrix.phases if arm != "joint" else ()):  # all at once
            frame = plt.Rectangle((task - 0.5, number + 0.5), 1, 1, fill=False, edgecolor="#D55E00")
            frame.set_linewidth(1.6)
            axis.add_patch(frame)
        labels = [f"{n + 1} {short_name(tasks[t])}" for n, t in enumerate(matrix.phases)]
        axis.set_yticks(range(len(values)), ["untrained", *labels], fontsize=7)
        names = [short_name(task) for task in tasks]
        axis.set_xticks(range(len(tasks)), names, fontsize=7, rotation=35, ha="right")
        axis.set_title(arm, fontsize=10)
    if image is not None:
        figure.colorbar(image, ax=axes, shrink=0.6, label="success on unseen goals")
    return figure


def performance_profiles(scores: Mapping[str, np.ndarray]) -> Figure:
    """Part of runs × tasks above each score, with 95 % bands; scores in [0, 1]."""
    figure, axis = plt.subplots(figsize=(7.0, 3.3), layout="constrained")
    palette, thresholds = colours(list(scores)), np.linspace(0, 1, 101)
    for arm in ordered(list(scores)):
        low, high = profile_band(scores[arm], thresholds)
        axis.fill_between(thresholds, low, high, color=palette[arm], alpha=0.18, linewidth=0)
        curve = profile(scores[arm], thresholds)
        axis.plot(thresholds, curve, color=palette[arm], linewidth=1.8, label=arm)
    axis.set(xlabel="success τ", ylabel="part of runs × tasks above τ", ylim=(-0.03, 1.03))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure


def adaptation_curves(runs: Mapping[str, Sequence[StreamRun]]) -> Figure:
    """Success at the end of the stream by episode of the trial, mean over tasks."""
    figure, axis = plt.subplots(figsize=(7.0, 3.3), layout="constrained")
    palette = colours(list(runs))
    arms = [arm for arm in ordered(list(runs)) if arm != "single"]
    for number, arm in enumerate(arms):
        found = adaptation(runs[arm])
        value = np.array([r.interval.value for r in found])
        spread = np.array([[r.interval.low, r.interval.high] for r in found]).T
        errors = np.nan_to_num(np.abs(spread - value))
        offset = 0.05 * (number - (len(arms) - 1) / 2)
        axis.errorbar(
            np.arange(1, len(value) + 1) + offset, value, yerr=errors, color=palette[arm],
            marker="o", markersize=4, capsize=2.5, linewidth=1.6, label=arm,
        )  # fmt: skip
    axis.set(xlabel="episode of the trial", ylabel="success, mean over tasks", ylim=(-0.03, 1.03))
    axis.set_xticks(range(1, len(found) + 1))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    if len(arms) > 1:
        figure.legend(loc="outside right upper", frameon=False)
    return figure
