"""How soon runs on a FORK suite learnt it: steps and minutes until their memory index is high."""

from __future__ import annotations

import numpy as np

from envs.memory_tests.fork import ForkSettings
from eval.goals.metrics import t_interval
from eval.reporting.fork_tables import Groups, attempts_of, ceilings_of
from eval.reporting.report_writer import Table
from eval.reporting.runs import Run
from eval.reporting.tables import span

LEARNT = 0.85  # memory index
ITERATIONS = 3  # of which it is a mean


def steps_until_learnt(run: Run, fork: ForkSettings) -> float:
    """Environment steps until the index of ITERATIONS iterations in a row is LEARNT; NaN: never.

    Args:
        run: with training success by attempt.
        fork: its suite.
    """
    exact = ceilings_of(run, fork)
    curves = [run.curve(f"train/success_by_episode/{e + 1}") for e in attempts_of(run, fork)]
    steps = curves[0][0]
    if any(len(curve[0]) != len(steps) for curve in curves) or len(steps) < ITERATIONS:
        return float("nan")
    found = np.array([exact.index(curve) for curve in zip(*(c[1] for c in curves), strict=True)])
    means = np.convolve(found, np.full(ITERATIONS, 1 / ITERATIONS), "valid")
    learnt = np.flatnonzero(means >= LEARNT)
    return float(steps[learnt[0] + ITERATIONS - 1]) if len(learnt) else float("nan")


def learning_table(groups: Groups, fork: ForkSettings) -> Table:
    """Arms × how soon; means and intervals are over the seeds that learnt it."""
    rows = []
    for arm, group in groups.items():
        until = [steps_until_learnt(run, fork) for run in group]
        rates = [_rate(run) for run in group]
        minutes = [steps / rate / 60 for steps, rate in zip(until, rates, strict=True)]
        rows.append({
            "arm": arm,
            "learnt": f"{np.isfinite(until).sum()} of {len(until)}",
            "thousand steps": span(t_interval([steps / 1000 for steps in until]), "{:.0f}"),
            "minutes": span(t_interval(minutes), "{:.1f}"),
            "steps/s": span(t_interval(rates), "{:.0f}"),
        })  # fmt: skip
    return Table({name: [row[name] for row in rows] for name in rows[0]})


def _rate(run: Run) -> float:
    """Environment steps per second; NaN where nothing tells."""
    return run.steps / run.seconds if run.steps and run.seconds else float("nan")
