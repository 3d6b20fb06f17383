"""What we want to be: a ratio of two contenders each, and whether this run reached it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Aim(NamedTuple):
    """At least `least` times the steps per second of another contender."""

    what: str
    name: str
    other: str
    least: float


AIMS = (
    Aim("one process, of official stepping", "ours-single", "official", 2.6),
    Aim("collection with the policy, of gym-async", "ours-policy", "gym-async", 6.0),
    Aim("collection with the policy, of bare physics", "ours-policy", "physics", 0.8),
    Aim("collection with the policy, of EnvPool", "ours-policy", "envpool", 1.25),
    Aim("training, of RecurrentPPO tuned", "train-5", "rppo-tuned", 6.5),
    Aim("training, of RecurrentPPO at its defaults", "train-10", "rppo", 13.0),
    Aim("training with a learner a core, of RecurrentPPO tuned",
        "train-5-learners", "rppo-tuned", 6.5),
    Aim("training with an LSTM, of RecurrentPPO tuned", "train-5-lstm", "rppo-tuned", 6.5),
)  # fmt: skip


def paired_ratio(own: Sequence[float], other: Sequence[float]) -> float:
    """Median over repeats of the ratio within each."""
    return statistics.median(a / b for a, b in zip(own, other, strict=True))


def reached(rates: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median over repeats of each aim's ratio, by what it is of; only where both were measured."""
    return {
        aim.what: paired_ratio(rates[aim.name], rates[aim.other])
        for aim in AIMS
        if aim.name in rates and aim.other in rates
    }


def aims_table(rates: Mapping[str, Sequence[float]]) -> str:
    """A Markdown table of the aims that this run can tell; empty where there is none."""
    found = reached(rates)
    if not found:
        return ""
    rows = ["| aim | at least | reached | |", "|---|---:|---:|---|"]
    for aim in AIMS:
        if aim.what in found:
            met = "met" if found[aim.what] >= aim.least else "not met"
            rows.append(f"| {aim.what} | {aim.least:g} | {found[aim.what]:.2f} | {met} |")
    return "\n".join(rows)
