"""The figures of runs on a FORK suite, or on a stream of FORK trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from envs.memory_tests.fork import ForkSettings
from envs.memory_tests.recall import ceiling
from eval.reporting.figures import (
    BY_EPISODE,
    PALETTE,
    colours,
    draw_curves,
    make_panels,
    ordered,
)
from eval.reporting.fork_tables import attempts_of, ceilings
from eval.reporting.runs import Run, StreamRun
from eval.streams.fork_retention import OPTIONS, Measure, committed, finding_out, skill

FORGOTTEN: dict[str, Measure] = {
    "shown the true target": skill,
    "committed": committed,
    "right if committed, attempts ≥ 2": finding_out,
}


def by_exposure(groups: Mapping[str, Sequence[Run]], fork: ForkSettings, window: int) -> Figure:
    """First attempts by exposure while RECALL is trained, a panel an arm; dashed: ceilings."""
    assert fork.lifetimes is not None
    arms, rounds = ordered(list(groups)), range(fork.lifetimes.exposures)
    figure, axes = make_panels(len(arms), 3, 4.0, 2.8)
    names = [f"exposure {number + 1}" for number in rounds]
    palette = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    exact = ceiling(fork.options, len(rounds), 2)[:, 0]
    for axis, arm in zip(axes, arms, strict=True):
        curves = {
            name: [run.curve(f"exposure/{number + 1}") for run in groups[arm]]
            for number, name in enumerate(names)
        }
        draw_curves(axis, curves, palette, window)
        for name, rate in zip(names, exact, strict=True):
            axis.axhline(rate, color=palette[name], linestyle="--", linewidth=0.8)
        axis.set_title(arm, fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    return figure


def by_attempt(groups: Mapping[str, Sequence[Run]], fork: ForkSettings, window: int) -> Figure:
    """Training success of each attempt over steps, a panel an arm; dashed: Bayes' ceilings."""
    arms, exact = ordered(list(groups)), ceilings(groups, fork)
    figure, axes = make_panels(len(arms), 3, 4.0, 2.8)
    attempts = attempts_of(groups[arms[0]][0], fork)
    names = [f"attempt {number}" for number in range(1, len(attempts) + 1)]
    palette = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    for axis, arm in zip(axes, arms, strict=True):
        curves = {
            name: [run.curve(f"{BY_EPISODE}{episode + 1}") for run in groups[arm]]
            for name, episode in zip(names, attempts, strict=True)
        }
        draw_curves(axis, curves, palette, window)
        for name, rate in zip(names, exact.bayes, strict=True):
            axis.axhline(rate, color=palette[name], linestyle="--", linewidth=0.8)
        axis.axhline(exact.memoryless, color="0.4", linestyle=":", linewidth=1.0)
        axis.set_title(arm, fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    return figure


def forgotten(groups: Mapping[str, Sequence[StreamRun]]) -> Figure:
    """Skill, commitment and finding out along a stream, means over its parts, a curve an arm."""
    shown = {arm: group for arm, group in groups.items() if arm != "single"} or dict(groups)
    figure, axes = make_panels(len(FORGOTTEN), 3, 4.0, 2.8)
    palette = colours(list(groups))
    for axis, (title, measure) in zip(axes, FORGOTTEN.items(), strict=True):
        curves = {arm: [_curve(run, measure) for run in shown[arm]] for arm in ordered(list(shown))}
        draw_curves(axis, curves, palette, 1)
        if measure is finding_out:
            axis.axhline(1 / OPTIONS, color="0.4", linestyle=":", linewidth=1.0)
        axis.set_title(title, fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _curve(run: StreamRun, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """A measure at the evaluations that know it of any part, mean over those parts."""
    assert run.forks is not None
    values = measure(run.forks)
    points = np.isfinite(values).any(axis=1)
    return run.forks.steps[points].astype(float), np.nanmean(values[points], axis=1)
