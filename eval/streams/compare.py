"""Arms of one stream against each other: every metric with its interval and every seed.

The unit is the training seed. Intervals are the stratified bootstrap of Agarwal et al. 2021 (arXiv
2108.13264): strata are tasks or phases, and runs are resampled within each. With three to five
seeds they are too narrow, so every seed is given beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float

from eval.goals.metrics import Interval, bootstrap_draws, stratified_bootstrap
from eval.reporting.runs import StreamRun, mixed_recipes
from eval.streams.fork_retention import AT_THE_END, FORK_METRICS, LeakCheck, leak_check
from eval.streams.retention import (
    LEARNED,
    Matrix,
    adaptation_gain,
    backward_transfer,
    episodes_to,
    final_performance,
    forgetting,
    incremental_performance,
    learned_forgetting,
    learned_performance,
    meta_forgetting,
    normalised_transfer,
    raw_transfer,
    savings,
    zero_shot_transfer,
)

CONTRASTS = (
    ("hierarchical", "short"),
    ("hierarchical", "short+replay"),
    ("hierarchical", "cascade+replay"),
    ("cascade", "short"),
    ("long", "short"),
)
"""Declared before any run: the claim, hierarchy beyond replay, the value of the episodic read, the
value of slow weights, and which memory matters."""
WITHOUT_PHASES = {
    "performance", "first-episode performance", "adaptation gain", *AT_THE_END,
}  # fmt: skip
"""Metrics of an arm that learns all tasks at once: nothing comes before or after anything."""
REACHED = 0.8  # of single-task final success; without single-task runs, of 1

METRICS: dict[str, tuple[str, Callable[[Matrix], np.ndarray]]] = {
    "performance": ("success at the end, last episode", final_performance),
    "first-episode performance": (
        "success at the end, first episode",
        lambda m: final_performance(m, 0),
    ),
    "learned": ("success just after the own phase", learned_performance),
    "incremental performance": (
        "success on all tasks met so far, after each phase",
        incremental_performance,
    ),
    "forgetting": ("success after the own phase minus at the end (less is better)", forgetting),
    "forgetting, learned only": (
        f"the same for tasks that reached {LEARNED:g} in their phase",
        learned_forgetting,
    ),
    "backward transfer": ("the end minus after the own phase, without the last", backward_transfer),
    "zero-shot transfer": ("before its first phase minus untrained", zero_shot_transfer),
    "adaptation gain": ("last minus first episode, at the end", lambda m: adaptation_gain(m)[-1]),
    "meta-forgetting": ("adaptation gain lost since the own phase", meta_forgetting),
}


@dataclass(frozen=True)
class Result:
    """One metric of one arm or contrast.

    Attributes:
        interval: its mean and 95 % interval.
        seeds: the value of each seed, in the order of the arm's seeds.
    """

    interval: Interval
    seeds: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Interval as [value, low, high]; unknown numbers as None."""
        seeds = [value if isfinite(value) else None for value in self.seeds]
        return {"interval": self.interval.to_json(), "seeds": seeds}


def nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last two axes of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=(-2, -1))
    total = np.where(known, values, 0.0).sum(axis=(-2, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def result(values: Float[np.ndarray, "stratum seed"]) -> Result:
    """A metric's mean with its interval, and of each seed."""
    seeds = tuple(float(nanmean(values[:, [i]])) for i in range(values.shape[1]))
    if not np.isfinite(values).any():
        return Result(Interval(float("nan")), seeds)
    return Result(stratified_bootstrap(values, nanmean), seeds)


def by_arm(runs: Sequence[StreamRun]) -> dict[str, list[StreamRun]]:
    """Runs grouped by arm in order of appearance, each group ordered by seed.

    Raises:
        ValueError: runs of one arm share a seed or differ in more, or streams or evaluations
            differ, so nothing can be compared.
    """
    groups: dict[str, list[StreamRun]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    problems = mixed_recipes({arm: [r.run for r in group] for arm, group in groups.items()})
    budgets = {(r.matrix.tasks, r.phase_steps) for r in runs}
    # Alone, tasks come once; what is compared with it are the areas of the phases.
    orders = {r.matrix.phases for r in runs if r.run.arm != "single"}
    if len(budgets) > 1 or len(orders) > 1:
        problems.append("the runs are of different streams or budgets: compare equal ones")
    if len({r.evaluated for r in runs}) > 1:
        problems.append(
            "the runs were evaluated on different numbers of goals, episodes or steps: compare "
            "runs of equal --eval-goals, --eval-episodes and --horizon"
        )
    for arm, group in groups.items():
        seeds = [run.run.seed for run in group]
        if len(set(seeds)) < len(seeds):
            problems.append(f"two runs of {arm} have the same seed: give each once")
    if problems:
        raise ValueError("; ".join(problems))
    return {arm: sorted(group, key=lambda r: r.run.seed) for arm, group in groups.items()}


def metric_values(name: str, runs: Sequence[StreamRun]) -> Float[np.ndarray, "stratum seed"]:
    """One of METRICS, or of FORK_METRICS, for each task or phase and seed."""
    if name in METRICS:
        return np.stack([METRICS[name][1](run.matrix) for run in runs], axis=1)
    forks = [run.forks for run in runs if run.forks is not None]
    return np.stack([FORK_METRICS[name][1](points) for points in forks], axis=1)


def described(groups: Mapping[str, Sequence[StreamRun]]) -> dict[str, str]:
    """What there is to measure in runs of one stream: names, and what they mean."""
    found = {name: told for name, (told, _) in METRICS.items()}
    if of_forks(groups):
        found |= {name: told for name, (told, _) in FORK_METRICS.items()}
    return found


def of_forks(groups: Mapping[str, Sequence[StreamRun]]) -> bool:
    """Whether the stream is one of FORK trials."""
    return all(run.forks is not None for group in groups.values() for run in group)


def leaks(runs: Sequence[StreamRun]) -> LeakCheck:
    """First attempts of an arm's runs in a stream of FORK trials."""
    fork = runs[0].run.config.fork
    assert fork is not None
    return leak_check([run.forks for run in runs if run.forks is not None], len(fork.counted))


def transfer(runs: Sequence[StreamRun], alone: Sequence[StreamRun]) -> dict[str, Result | float]:
    """Forward transfer against single-task runs: raw, and Continual World's normalised one.

    The first phase, which cannot transfer, and later cycles, which meet nothing new, are left out.
    Both sides have seeds: the interval of the raw one resamples both, and those of the normalised
    one are averaged before the ratio, as Continual World does, so it has no value per seed.
    """
    first = slice(1, len(runs[0].matrix.tasks))
    areas, reference = (np.stack([run.areas[first] for run in part], 1) for part in (runs, alone))
    mean = reference.mean(axis=1)
    raw = np.stack([raw_transfer(column, mean) for column in areas.T], axis=1)
    interval = difference_of_means(areas, reference)
    seeds = tuple(float(value) for value in raw.mean(axis=0))
    normalised = normalised_transfer(areas.mean(axis=1), mean)
    known = normalised[np.isfinite(normalised)]
    return {
        "forward transfer, raw": Result(interval, seeds),
        "forward transfer, normalised": float(known.mean()) if len(known) else float("nan"),
    }


def difference_of_means(
    one: Float[np.ndarray, "stratum seed"], other: Float[np.ndarray, "stratum seed2"]
) -> Interval:
    """The mean of `one` minus that of `other`: the seeds of both are resampled, unpaired."""
    value = float(one.mean() - other.mean())
    if min(one.shape[1], other.shape[1]) < 2 or not isfinite(value):
        return Interval(value)
    draws = bootstrap_draws(one, seed=0) - bootstrap_draws(other, seed=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def saved(runs: Sequence[StreamRun], alone: Sequence[StreamRun]) -> Result | None:
    """Savings of the second cycle; None where tasks come once.

    A task's level is `REACHED` of what it reaches alone, or `REACHED` itself without such runs.
    """
    if runs[0].cycles < 2 or runs[0].run.arm == "joint":
        return None
    tasks = runs[0].matrix.tasks
    level = dict.fromkeys(tasks, REACHED)
    if alone:
        final = np.mean([learned_performance(run.matrix)[: len(tasks)] for run in alone], axis=0)
        # What is not learned alone either has no level to reach, and counts as no saving.
        level = {
            task: float(REACHED * p) if p >= LEARNED else float("inf")
            for task, p in zip(tasks, final, strict=True)
        }
    times = np.stack([run.times_to(level)[:2] for run in runs])  # (seed, cycle, task)
    limit = runs[0].phase_steps
    seeds = tuple(savings(list(t[0]), list(t[1]), limit) for t in times)
    pooled = savings(list(times[:, 0].ravel()), list(times[:, 1].ravel()), limit)
    if len(runs) < 2:
        return Result(Interval(pooled), seeds)
    rng = np.random.default_rng(0)
    picks = rng.integers(len(runs), size=(2000, len(runs), len(tasks)))
    capped = np.minimum(times, limit)
    first, again = (
        np.take_along_axis(capped[None, :, cycle], picks, axis=1).mean(axis=(1, 2))
        for cycle in (0, 1)
    )
    low, high = np.quantile(1 - again / first, (0.025, 0.975))
    return Result(Interval(pooled, float(low), float(high)), seeds)


def adaptation(runs: Sequence[StreamRun]) -> list[Result]:
    """Success at the end by episode of the trial, mean over tasks."""
    values = np.stack([run.matrix.success[-1] for run in runs], axis=1)  # (task, seed, episode)
    return [result(values[..., episode]) for episode in range(values.shape[-1])]


def speed(runs: Sequence[StreamRun], name: str) -> list[Result] | None:
    """A measure of the record's last evaluation by episode of the trial, then its gain.

    The gain is the last minus the first episode, paired by task and seed; an agent without memory
    gains nothing but by chance.

    Args:
        runs: of one arm.
        name: ``steps_to_success`` or ``share_in_success``.

    Returns:
        K + 1 results; None where a run is older than the measure.
    """
    ends = [run.run.record["evaluations"][-1].get(name) for run in runs if run.run.record]
    if any(end is None for end in ends):
        return None
    values = np.stack([np.array(end).mean(axis=1) for end in ends], axis=1)  # (task, seed, episode)
    curve = [result(values[..., episode]) for episode in range(values.shape[-1])]
    return [*curve, result(values[..., -1] - values[..., 0])]


def adaptation_speed(runs: Sequence[StreamRun], threshold: float = 0.5) -> float:
    """Episodes until mean success at the end reaches `threshold`; NaN: not within the trial."""
    curve = np.mean([run.matrix.success[-1].mean(axis=0) for run in runs], axis=0)
    return episodes_to(curve, threshold)


def contrast(name: str, one: Sequence[StreamRun], other: Sequence[StreamRun]) -> Result | None:
    """`one` minus `other` in one metric, paired by seed; None where no seed is in both."""
    pairs = [(a, b) for a in one for b in other if a.run.seed == b.run.seed]
    if not pairs:
        return None
    values = [metric_values(name, [pair[side] for pair in pairs]) for side in (0, 1)]
    return result(values[0] - values[1])
