"""The one evaluation of a run that a table takes, where there are several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eval.goals.config import PROTOCOL, defaults, half_of
from eval.reporting.runs import Run

Values = dict[str, Any]
"""A result of `eval.evaluate`, as its file has it."""
HOW = ("episodes", "horizon", "lifetime", "seed")


def chosen(
    run: Run, evaluations: Mapping[str, Values], split: str, has: Callable[[Values], bool]
) -> Values | None:
    """The newest checkpoint's evaluation, the most usual of these, and of these the largest.

    Slow policies that act by themselves are another agent, so they never stand for the run.

    Args:
        run: whose evaluations these are.
        evaluations: by file name.
        split: test or train.
        has: whether an evaluation holds the sought number.
    """
    found = [
        values
        for values in evaluations.values()
        if values["settings"]["split"] == split
        and values["settings"].get("level", 1) == 1
        and has(values)
    ]
    return max(found, key=lambda values: _rank(run, values), default=None)


def _rank(run: Run, values: Values) -> tuple[int, int, int]:
    how = values["settings"]
    usual = PROTOCOL | defaults("full", run.config.fork, adapts=run.config.adapts)
    unlike = sum(how.get(name, usual[name]) != usual[name] for name in HOW)
    attempts = how.get("attempts")  # older files say how many these are, or 0 without repeating
    unlike += attempts not in (None, 0, half_of(how.get("episodes", usual["episodes"])))
    return values["checkpoint"]["step"], -unlike, how["goals"] * how.get("episodes", 1)


def protocol(values: Values) -> str:
    """How an evaluation measured, in words."""
    how = values["settings"]
    steps = f" of {how['horizon']} steps" if "horizon" in how else ""
    return (
        f"{how['goals']} goals × {how['episodes']} episodes{steps} at step "
        f"{values['checkpoint']['step']:,}"
    )
