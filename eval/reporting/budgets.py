"""Whether arms are comparable: a page names those that trained longer, or began with more."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from eval.reporting.runs import Run
from train.run.printable import printable

TOLERANCE = 1.05
"""Most steps over fewest: a run ends with a whole iteration, so equal budgets differ a little."""


def unlike_budgets(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """A sentence for each way in which the training of arms differs; none: it is alike.

    Agents of other people's are left out: nothing tells how they were trained.
    """
    trained = {
        arm: [run for run in group if run.agent is None and run.steps]
        for arm, group in groups.items()
    }
    trained = {arm: group for arm, group in trained.items() if group}
    return [*_steps(trained), *_beginnings(trained)]


def _steps(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    steps = [run.steps for group in groups.values() for run in group]
    if not steps or max(steps) <= TOLERANCE * min(steps):
        return []
    shown = "; ".join(f"{arm} {_range(group)}" for arm, group in groups.items())
    return [f"Runs had unlike numbers of steps, so they are not at equal budgets: {shown}."]


def _range(group: Sequence[Run]) -> str:
    low, high = min(run.steps for run in group), max(run.steps for run in group)
    return f"{high:,}" if high <= TOLERANCE * low else f"{low:,} to {high:,}"


def _beginnings(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    sources = {arm: _sources(group) for arm, group in groups.items()}
    begun = {arm: " and ".join(sorted(found)) for arm, found in sources.items() if found}
    if begun and len(begun) < len(groups):
        return [
            "Some arms began with the weights of another run (--init-from), whose steps are not "
            f"counted: {', '.join(sorted(begun))}."
        ]
    if len({frozenset(found) for found in sources.values()}) > 1:
        shown = "; ".join(f"{arm} {printable(begun[arm])}" for arm in sorted(begun))
        return [f"Arms began with the weights of different runs (--init-from): {shown}."]
    return []


def _sources(group: Sequence[Run]) -> set[str]:
    """Runs that an arm's seeds began with, whose own seeds do not tell them apart."""
    begun = {str(run.config.init_from) for run in group if run.config.init_from}
    return {re.sub(r"seed\d+", "seed?", source) for source in begun}
