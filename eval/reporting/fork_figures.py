"""The figure of runs on a FORK suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from envs.memory_tests.fork import ForkSettings
from envs.memory_tests.recall import ceiling
from eval.reporting.figures import BY_EPISODE, PALETTE, draw_curves, make_panels, ordered
from eval.reporting.fork_tables import attempts_of, ceilings
from eval.reporting.runs import Run


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
