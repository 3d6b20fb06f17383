"""What a stream of FORK trials leaves behind: what was lost, the skill or the finding out.

All measures are functions of the choices of unseen trials at each evaluation. Success in a later
attempt takes three things: to move where one wants to, to commit, and to have found out what
counts. Each has its own measure, so forgetting can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from envs.memory_tests.fork import UNCOMMITTED

OPTIONS = 2  # targets that may count in a part: the two ends of a joint, a pair of sites


@dataclass(frozen=True)
class ForkPoints:
    """The evaluations of one run, P in number, each of N parts × G trials × K attempts.

    Attributes:
        steps: environment steps trained before each.
        ends: bool, whether it is a row of R: before training, or at the end of a phase.
        phases: index among the parts of the part of each phase.
        choices: target touched, UNCOMMITTED for none.
        targets: target that counted.
        told: success in the first attempt when the true target is shown; None: not measured.
    """

    steps: Int[np.ndarray, " point"]
    ends: np.ndarray
    phases: tuple[int, ...]
    choices: Int[np.ndarray, "point part trial attempt"]
    targets: Int[np.ndarray, "point part trial attempt"]
    told: Float[np.ndarray, "point part trial"] | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ForkPoints | None:
        """From the record of a stream; None where it is of no FORK trials."""
        points = record["evaluations"]
        if any(point.get("choices") is None for point in points):
            return None
        facts, told = record["stream"], [point.get("told") for point in points]
        return cls(
            np.array([point["step"] for point in points]),
            np.array([point["when"] != "middle" for point in points]),
            tuple(facts["tasks"].index(task) for task in facts["phases"]),
            np.array([point["choices"] for point in points]),
            np.array([point["targets"] for point in points]),
            None if None in told else np.array(told, dtype=float),
        )

    @property
    def right(self) -> np.ndarray:
        """Whether the target that counted was touched, by attempt."""
        return self.choices == self.targets


Measure = Callable[[ForkPoints], np.ndarray]


def committed(points: ForkPoints) -> Float[np.ndarray, "point part"]:
    """P(committed): share of attempts that touched any target."""
    return (points.choices != UNCOMMITTED).mean(axis=(2, 3))


def skill(points: ForkPoints) -> Float[np.ndarray, "point part"]:
    """Success when the true target is shown: the motion without the finding out; NaN: unknown."""
    if points.told is None:
        return np.full(points.choices.shape[:2], math.nan)
    return points.told.mean(axis=2)


def finding_out(points: ForkPoints) -> Float[np.ndarray, "point part"]:
    """P(right | committed) in the attempts after the first; NaN where none committed."""
    right = points.right[..., 1:].sum(axis=(2, 3))
    made = (points.choices[..., 1:] != UNCOMMITTED).sum(axis=(2, 3))
    return np.where(made > 0, right / np.maximum(made, 1), math.nan)


def memory_index(points: ForkPoints) -> Float[np.ndarray, "point part"]:
    """Mean success after the first attempt, from chance between two (0) to certainty (1)."""
    chance = 1 / OPTIONS
    return (points.right[..., 1:].mean(axis=(2, 3)) - chance) / (1 - chance)


def at_the_end(measure: Measure) -> Measure:
    """`measure` of each part at the end of the stream."""
    return lambda points: measure(points)[points.ends][-1]


def after_its_phase(measure: Measure) -> Measure:
    """`measure` of each phase's part just after the phase."""

    def learned(points: ForkPoints) -> np.ndarray:
        rows = measure(points)[points.ends]
        return rows[np.arange(1, len(points.phases) + 1), list(points.phases)]

    return learned


def lost(measure: Measure) -> Measure:
    """`measure` after each phase minus that at the end of the stream, of the phase's part."""

    def forgotten(points: ForkPoints) -> np.ndarray:
        end = at_the_end(measure)(points)[list(points.phases)]
        return after_its_phase(measure)(points) - end

    return forgotten


FORK_METRICS: dict[str, tuple[str, Measure]] = {
    "memory index": ("mean success after the first attempt, 0: chance, 1: Bayes; at the end",
                     at_the_end(memory_index)),
    "memory index, learned": ("the same just after the own phase", after_its_phase(memory_index)),
    "skill": ("success when shown the true target, at the end", at_the_end(skill)),
    "skill forgotten": ("the same after the own phase minus at the end", lost(skill)),
    "committed": ("P(committed) at the end", at_the_end(committed)),
    "committed forgotten": ("the same after the own phase minus at the end", lost(committed)),
    "finding out": ("P(right | committed) after the first attempt, at the end",
                    at_the_end(finding_out)),
    "finding out, learned": ("the same just after the own phase", after_its_phase(finding_out)),
    "finding out forgotten": ("the same after the own phase minus at the end", lost(finding_out)),
}  # fmt: skip
AT_THE_END = ("memory index", "skill", "committed", "finding out")
"""Those that an arm has which learns all parts at once."""


@dataclass(frozen=True)
class LeakCheck:
    """First attempts of some runs against what is possible without a leak.

    Attributes:
        share: of first attempts that committed, the right ones, over all evaluations of all runs.
        trials: different trials among them; evaluations of one run share theirs.
        bound: chance, 1 / the number of targets that ever count where one is.
    """

    share: float
    trials: int
    bound: float

    @property
    def most(self) -> float:
        """Three standard errors above chance."""
        return self.bound + 3 * math.sqrt(self.bound * (1 - self.bound) / max(self.trials, 1))

    @property
    def leaks(self) -> bool:
        """Whether first attempts are better than can be without knowing the target."""
        return self.share > self.most


def leak_check(runs: Sequence[ForkPoints], counted: int) -> LeakCheck:
    """First attempts of `runs` that committed; whether one does cannot hang on what counts.

    Args:
        runs: of one arm.
        counted: targets that can count where nothing tells them apart.
    """
    made = [run.choices[..., 0] != UNCOMMITTED for run in runs]
    right = sum(int(run.right[..., 0].sum()) for run in runs)
    commits = sum(int(found.sum()) for found in made)
    trials = sum(int(found.any(axis=0).sum()) for found in made)
    return LeakCheck(right / commits if commits else 0.0, trials, 1 / counted)
