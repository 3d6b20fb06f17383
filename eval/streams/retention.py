"""What a stream of tasks leaves behind: retention, forgetting, transfer, savings, adaptation.

All metrics are pure functions of R[row, task, episode]: any-step success on held-out goals of
every task, by episode of the trial. Row 0 is the untrained agent, row j the agent after phase j,
so R has P + 1 rows for P phases. Definitions are those of Continual World (Wołczyk et al. 2021,
arXiv 2105.10919, as coded in awarelab/continual_world, `results_processing/tables.py`) and, where
they have none, of the papers named. Like there, a task that comes in two cycles counts once for
each phase in what is averaged over phases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from jaxtyping import Float

LEARNED = 0.3  # success after its own phase from which on a task counts as acquired


@dataclass(frozen=True)
class Matrix:
    """R of one run.

    Attributes:
        tasks: the N distinct tasks, in order of first appearance.
        phases: index among `tasks` of the task of each of the P phases.
        success: R, in [0, 1]; row 0 is untrained, row j is after phase j (from 1).
    """

    tasks: tuple[str, ...]
    phases: tuple[int, ...]
    success: Float[np.ndarray, "row task episode"]

    def __post_init__(self) -> None:
        """Raises ValueError where the shapes do not fit each other."""
        rows, tasks = len(self.phases) + 1, len(self.tasks)
        if self.success.ndim != 3 or self.success.shape[:2] != (rows, tasks):
            raise ValueError(
                f"R of {len(self.phases)} phases and {tasks} tasks is ({rows}, {tasks}, K), "
                f"not {self.success.shape}"
            )

    def at(self, episode: int = -1) -> Float[np.ndarray, "row task"]:
        """R at one episode of the trial; by default the last, after all adaptation."""
        return self.success[..., episode]


def final_performance(matrix: Matrix, episode: int = -1) -> Float[np.ndarray, " task"]:
    """p_i(T): success on each task at the end; its mean is Continual World's performance P."""
    return matrix.at(episode)[-1]


def learned_performance(matrix: Matrix, episode: int = -1) -> Float[np.ndarray, " phase"]:
    """p_i(iΔ): success on each phase's task just after that phase."""
    return matrix.at(episode)[np.arange(1, len(matrix.phases) + 1), list(matrix.phases)]


def incremental_performance(matrix: Matrix, episode: int = -1) -> Float[np.ndarray, " phase"]:
    """After each phase, mean success on all tasks met so far: what is kept on the way.

    Its mean is the average incremental accuracy of Rebuffi et al. 2017 (arXiv 1611.07725). Where
    tasks come again, `forgetting` compares with an end at which all have just been relearnt; this
    counts what was lost in between.
    """
    rows = matrix.at(episode)[1:]
    met = [sorted(set(matrix.phases[: j + 1])) for j in range(len(rows))]
    return np.array([row[tasks].mean() for row, tasks in zip(rows, met, strict=True)])


def forgetting(matrix: Matrix, episode: int = -1) -> Float[np.ndarray, " phase"]:
    """F_i = p_i(iΔ) - p_i(T) of each phase; its mean is Continual World's forgetting F.

    The last phase's is 0 by definition and averaged in, as there. Negative: improved later.
    """
    return (
        learned_performance(matrix, episode)
        - final_performance(matrix, episode)[list(matrix.phases)]
    )


def learned_forgetting(
    matrix: Matrix, episode: int = -1, level: float = LEARNED
) -> Float[np.ndarray, " phase"]:
    """Forgetting of phases whose task was acquired (success ≥ `level` after it), NaN elsewhere.

    F of a task that was never learned is 0, which reads as retention; this leaves it out.
    """
    lost = forgetting(matrix, episode)
    return np.where(learned_performance(matrix, episode) >= level, lost, nan)


def backward_transfer(matrix: Matrix, episode: int = -1) -> Float[np.ndarray, " earlier_phase"]:
    """R[P, i] - R[i, i] of all phases but the last (Lopez-Paz & Ranzato 2017, arXiv 1706.08840).

    BWT is its mean. It is -F without the last phase, so BWT = -F · P / (P - 1).
    """
    return -forgetting(matrix, episode)[:-1]


def zero_shot_transfer(matrix: Matrix, episode: int = -1) -> Float[np.ndarray, " later_task"]:
    """R[before its first phase, i] - R[untrained, i] of all tasks but the first.

    Lopez-Paz & Ranzato's forward transfer FWT is its mean.
    """
    values = matrix.at(episode)
    first = [matrix.phases.index(task) for task in range(len(matrix.tasks))]
    return np.array([values[first[task], task] - values[0, task] for task in range(len(first))])[1:]


def adaptation_gain(matrix: Matrix) -> Float[np.ndarray, "row task"]:
    """G = R[·, ·, K] - R[·, ·, 1]: what the trial's own experience adds."""
    return matrix.success[..., -1] - matrix.success[..., 0]


def meta_forgetting(matrix: Matrix) -> Float[np.ndarray, " phase"]:
    """Loss of adaptation gain from just after each phase to the end.

    Together with `forgetting(matrix, 0)` it splits forgetting: was the skill itself lost, or the
    ability to find it again within a trial?  F at episode K = F at episode 1 + meta-forgetting.
    """
    gain = adaptation_gain(matrix)
    tasks = list(matrix.phases)
    return gain[np.arange(1, len(tasks) + 1), tasks] - gain[-1, tasks]


def episodes_to(curve: Float[np.ndarray, " episode"], threshold: float) -> float:
    """First episode (from 1) at which success reaches `threshold`; NaN if none of them does."""
    reached = np.flatnonzero(curve >= threshold - 1e-9)
    return float(reached[0] + 1) if len(reached) else nan


def raw_transfer(
    areas: Float[np.ndarray, " phase"], alone: Float[np.ndarray, " phase"]
) -> Float[np.ndarray, " phase"]:
    """AUC_i - AUC_i^b: mean success while task i is trained, in the stream and alone.

    Args:
        areas: mean success over each phase's own steps, in [0, 1].
        alone: the same of single-task training with the same budget.
    """
    return areas - alone


def normalised_transfer(
    areas: Float[np.ndarray, " phase"], alone: Float[np.ndarray, " phase"]
) -> Float[np.ndarray, " phase"]:
    """FT_i = (AUC_i - AUC_i^b) / (1 - AUC_i^b), Continual World's forward transfer.

    It explodes as AUC^b → 1 (a deficit of .1 reads as -.12 at .2 and as -2 at .95): a number beside
    `raw_transfer`, not instead of it. NaN where AUC^b = 1. With several seeds pass their means, as
    Continual World does, not the mean of ratios. The first phase cannot transfer; leave it out.
    """
    room = 1 - np.asarray(alone, dtype=float)
    possible = room > 1e-12
    return np.where(possible, (areas - alone) / np.where(possible, room, 1.0), nan)


def steps_to(
    steps: Float[np.ndarray, " n"], success: Float[np.ndarray, " n"], level: float, window: int = 5
) -> float:
    """Steps until the mean success of the last `window` iterations reaches `level`.

    Args:
        steps: steps of the phase gone after each iteration.
        success: training success of each iteration.
        level: what must be reached.
        window: iterations averaged, since one iteration's success is noisy; fewer at the start.

    Returns:
        The steps; infinity where `level` is not reached (the observation is right-censored).
    """
    sums = np.cumsum(np.concatenate(([0.0], success)))
    ends = np.arange(1, len(success) + 1)
    starts = np.maximum(ends - window, 0)
    reached = np.flatnonzero((sums[ends] - sums[starts]) / (ends - starts) >= level - 1e-9)
    return float(steps[reached[0]]) if len(reached) else float("inf")


def savings(first: Sequence[float], again: Sequence[float], limit: float) -> float:
    """1 - T²/T¹: the part of the relearning time that is saved when tasks come again.

    T are restricted means, mean(min(T_i, limit)): a task that did not reach its level within the
    phase counts with the phase's length, because a mean of only the tasks that did would flatter
    (Royston & Parmar 2013 on restricted mean survival time).

    Args:
        first: steps to the level in the first cycle, one number per (task, seed); inf: censored.
        again: the same in a later cycle.
        limit: steps of a phase.

    Returns:
        1: known at once; 0: no faster than the first time; negative: slower. NaN where nothing was
        given.
    """
    if not len(first) or len(first) != len(again):
        return nan
    means = [float(np.minimum(times, limit).mean()) for times in (first, again)]
    return 1 - means[1] / means[0]
