"""Numbers over training seeds, the unit of every inference here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eval.goals.metrics import t_interval
from eval.reporting.tables import number, span

Groups = Mapping[str, Sequence[Mapping[str, Any]]]
"""Checked results of `eval.traces.results` by suite and arm, a seed each."""


def known(values: Iterable[float | None]) -> list[float]:
    """Those that are known."""
    return [value for value in values if value is not None and value == value]


def over_seeds(values: Sequence[float | None], form: str = "{:.2f}") -> str:
    """Mean and Student's 95 % interval over seeds; a value that is never reached is named."""
    kept = known(values)
    text = span(t_interval(kept), form) if kept else number(float("nan"))
    missing = len(values) - len(kept)
    return f"{text} ({missing} of {len(values)} unknown)" if missing and kept else text


def having(groups: Groups, part: str) -> dict[str, list[Mapping[str, Any]]]:
    """Results that have a part, by arm; arms without any are left out."""
    found = {arm: [r for r in results if r.get(part)] for arm, results in groups.items()}
    return {arm: results for arm, results in found.items() if results}
