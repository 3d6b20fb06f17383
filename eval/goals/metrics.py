"""What is measured from trials, and how sure we may be of it.

All intervals say what other *goals* of the same tasks would do to a number. Tasks are strata, not
a sample: nothing here speaks of other tasks, nor of other training seeds of the same agent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt
from typing import Any

import numpy as np

LEVEL = 0.95
SAMPLES = 5000  # bootstrap draws: the bounds then move by less than a point between seeds


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval; bounds are NaN where there is nothing to resample.

    Attributes:
        value: the estimate.
        low, high: bounds at confidence `LEVEL`, in the unit of `value`.
    """

    value: float
    low: float = nan
    high: float = nan

    def to_json(self) -> list[float | None]:
        """[value, low, high], unknown bounds as None."""
        return [None if number != number else number for number in vars(self).values()]


@dataclass(frozen=True)
class Outcomes:
    """What happened in every episode of one trial per (task, goal).

    Attributes:
        tasks: the N tasks, in the order of the first axis.
        horizon: H, steps of each episode.
        success: success at any step of the episode (Meta-World's criterion), bool (N, G, K) for
            G goals and K episodes of the trial.
        last_step_success: success at the episode's last step, bool (N, G, K).
        steps_to_success: steps up to the first success, H where there is none, float64 (N, G, K).
        share_in_success: part of the steps at which the task is solved, float64 (N, G, K).
        returns: undiscounted sum of the task's own rewards, float64 (N, G, K).
        faults: the physics became unstable in this or an earlier episode of the trial, bool
            (N, G, K). Such an episode counts as failed, with the rewards until the fault, so that
            a fault never flatters an agent.
    """

    tasks: tuple[str, ...]
    horizon: int
    success: np.ndarray
    last_step_success: np.ndarray
    steps_to_success: np.ndarray
    share_in_success: np.ndarray
    returns: np.ndarray
    faults: np.ndarray

    @classmethod
    def empty(cls, tasks: tuple[str, ...], goals: int, episodes: int, horizon: int) -> Outcomes:
        """Zeros of the right shapes and types, to be filled."""
        shape = len(tasks), goals, episodes
        flags = {name: np.zeros(shape, dtype=bool) for name in _FLAGS}
        numbers = {name: np.zeros(shape) for name in _NUMBERS}
        return cls(tasks, horizon, **flags, **numbers)

    def to_json(self) -> dict[str, Any]:
        """JSON values; `Outcomes.from_json` restores them exactly."""
        flags = {name: getattr(self, name).astype(int).tolist() for name in _FLAGS}
        numbers = {name: getattr(self, name).tolist() for name in _NUMBERS}
        axes = ["task", "goal", "episode"]
        return {
            "tasks": list(self.tasks),
            "horizon": self.horizon,
            "axes": axes,
            **flags,
            **numbers,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Outcomes:
        """Inverse of `to_json`. Raises KeyError where a part is missing."""
        return cls(
            tuple(values["tasks"]),
            values["horizon"],
            **{name: np.array(values[name], dtype=bool) for name in _FLAGS},
            **{name: np.array(values[name], dtype=np.float64) for name in _NUMBERS},
        )


_FLAGS = ("success", "last_step_success", "faults")
_NUMBERS = ("steps_to_success", "share_in_success", "returns")


@dataclass(frozen=True)
class Row:
    """One line of a result: a task, or the mean over tasks.

    A gain is the last minus the first episode, paired by goal. The expected gain of an agent
    without memory is 0.

    Attributes:
        success: any-step success at episodes 1…K of the trial, the adaptation curve.
        last_step_success: likewise at the episodes' last steps.
        returns: likewise the return.
        steps_to_success: likewise steps to first success, restricted mean at the horizon.
        share_in_success: likewise the share of steps in success.
        gain: of any-step success.
        last_step_gain: of success at the last step.
        steps_gain: of steps to first success; negative where the agent becomes faster.
        share_gain: of the share of steps in success.
    """

    success: tuple[Interval, ...]
    last_step_success: tuple[Interval, ...]
    returns: tuple[Interval, ...]
    steps_to_success: tuple[Interval, ...]
    share_in_success: tuple[Interval, ...]
    gain: Interval
    last_step_gain: Interval
    steps_gain: Interval
    share_gain: Interval

    def to_json(self) -> dict[str, Any]:
        """Every interval as [value, low, high]."""
        return {
            name: value.to_json() if isinstance(value, Interval) else [i.to_json() for i in value]
            for name, value in vars(self).items()
        }


@dataclass(frozen=True)
class Summary:
    """Outcomes in numbers.

    Attributes:
        tasks: one row per task.
        mean: their unweighted mean.
        return_iqm: interquartile mean, over all (task, goal), of the last episode's return.
        faulted: trials in which the physics became unstable.
    """

    tasks: dict[str, Row]
    mean: Row
    return_iqm: Interval
    faulted: int

    def to_json(self) -> dict[str, Any]:
        """JSON values, for people and reports; outcomes are what is kept exactly."""
        return {
            "tasks": {task: row.to_json() for task, row in self.tasks.items()},
            "mean": self.mean.to_json(),
            "return_iqm": self.return_iqm.to_json(),
            "faulted": self.faulted,
        }


@dataclass(frozen=True)
class _Column:
    """One measure of all goals.

    Attributes:
        values: (N, G).
        lowest, highest: what a value can be.
        rate: values are 0 or 1.
    """

    values: np.ndarray
    lowest: float = -inf
    highest: float = inf
    rate: bool = False


def summarise(outcomes: Outcomes, *, seed: int = 0) -> Summary:
    """Rates, times, returns and adaptation gains with 95% intervals.

    A task's success rate is a binomial over its goals and gets Wilson's interval. All else gets
    the stratified bootstrap, except where all outcomes of each task are equal: resampling them
    would claim certainty. Where all tasks agree, the Wilson bound of a rate never seen takes its
    place, else what the tasks' own bounds make together.

    Args:
        outcomes: one trial per (task, goal).
        seed: seed of the bootstrap; equal outcomes give equal intervals.
    """
    curves, gains = _curves(outcomes), _gains(outcomes)
    columns = [*(column for curve in curves.values() for column in curve), *gains.values()]
    # One bootstrap for everything: the same goals are drawn for all columns, so pairs stay pairs.
    bounds = bootstrap_means(np.stack([c.values for c in columns], axis=-1), seed=seed)
    intervals = iter([_intervals(c, bounds[:, i]) for i, c in enumerate(columns)])
    by_episode = {name: [next(intervals) for _ in curve] for name, curve in curves.items()}
    paired = {name: next(intervals) for name in gains}
    rows = []
    for row in range(len(outcomes.tasks) + 1):
        parts: dict[str, Any] = {name: part[row] for name, part in paired.items()}
        parts |= {name: tuple(part[row] for part in curve) for name, curve in by_episode.items()}
        rows.append(Row(**parts))
    return Summary(
        tasks=dict(zip(outcomes.tasks, rows[:-1], strict=True)),
        mean=rows[-1] if len(outcomes.tasks) > 1 else rows[0],
        return_iqm=stratified_bootstrap(outcomes.returns[..., -1], iqm, samples=2000, seed=seed),
        faulted=int(outcomes.faults[..., -1].sum()),
    )


def _curves(outcomes: Outcomes) -> dict[str, list[_Column]]:
    """Every measure by episode of the trial."""

    def curve(values: np.ndarray, *limits: float, rate: bool = False) -> list[_Column]:
        numbers = np.moveaxis(values.astype(np.float64), -1, 0)
        return [_Column(episode, *limits, rate=rate) for episode in numbers]

    return {
        "success": curve(outcomes.success, 0, 1, rate=True),
        "last_step_success": curve(outcomes.last_step_success, 0, 1, rate=True),
        "returns": curve(outcomes.returns),
        "steps_to_success": curve(outcomes.steps_to_success, 1, outcomes.horizon),
        "share_in_success": curve(outcomes.share_in_success, 0, 1),
    }


def _gains(outcomes: Outcomes) -> dict[str, _Column]:
    """Last minus first episode of each goal."""

    def gain(values: np.ndarray, most: float) -> _Column:
        numbers = values.astype(np.float64)
        return _Column(numbers[..., -1] - numbers[..., 0], -most, most)

    return {
        "gain": gain(outcomes.success, 1),
        "last_step_gain": gain(outcomes.last_step_success, 1),
        "steps_gain": gain(outcomes.steps_to_success, outcomes.horizon - 1),
        "share_gain": gain(outcomes.share_in_success, 1),
    }


def _intervals(column: _Column, bounds: np.ndarray) -> list[Interval]:
    """The interval of each task and, last, of their mean.

    Args:
        column: N tasks.
        bounds: their bootstrap, (N + 1, 3).
    """
    drawn = [Interval(*map(float, numbers)) for numbers in bounds]
    if column.highest == inf:
        return drawn
    agreeing = [_all_equal(task) for task in column.values]
    tasks = [
        _exact(column, task) if column.rate or agrees else interval
        for task, agrees, interval in zip(column.values, agreeing, drawn, strict=False)
    ]
    if _all_equal(column.values.ravel()):
        return [*tasks, _exact(column, column.values.ravel())]
    # A bootstrap of tasks that agree shows no spread; together with others it shows too little.
    if (all(agreeing) or (column.rate and any(agreeing))) and column.values.shape[1] > 1:
        return [*tasks, averaged(tasks)]
    return [*tasks, drawn[-1]]


def _exact(column: _Column, values: np.ndarray) -> Interval:
    """Wilson's interval of a rate; of equal values, how far one not yet seen may pull the mean."""
    if column.rate:
        return wilson(int(values.sum()), len(values))
    value, unseen = float(values[0]), wilson(0, len(values)).high
    low, high = column.lowest - value, column.highest - value
    return Interval(value, value + unseen * low, value + unseen * high)


def wilson(successes: int, count: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a binomial proportion (Wilson 1927, JASA 22:209).

    Unlike the bootstrap it does not shrink to a point when all outcomes are equal: 0 of 8 is
    [0, 0.32].

    Raises:
        ValueError: `count` < 1 or `successes` outside 0…count.
    """
    from scipy.stats import binomtest  # here: programs that need none start a second sooner

    found = binomtest(successes, count).proportion_ci(level, method="wilson")
    return Interval(successes / count, float(found.low), float(found.high))


def share(hits: np.ndarray) -> Interval:
    """Share of bools of any shape with Wilson's interval; NaN where there are none."""
    return wilson(int(hits.sum()), hits.size) if hits.size else Interval(nan)


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean of seeds with Student's interval; NaN are left out, one value has no bounds."""
    known = np.array([value for value in values if value == value], dtype=float)
    if not len(known):
        return Interval(nan)
    value = float(known.mean())
    if len(known) == 1:
        return Interval(value)
    from scipy.stats import t as student

    quantile = float(student.ppf(0.5 + level / 2, len(known) - 1))
    half = quantile * float(known.std(ddof=1)) / sqrt(len(known))
    return Interval(value, value - half, value + half)


def averaged(intervals: Sequence[Interval]) -> Interval:
    """The mean of independent estimates, with bounds made of theirs.

    Distances to the bounds are added as squares (method 10 of Newcombe 1998, Statistics in Medicine
    17:873, there for a difference of two).
    """
    value = float(np.mean([i.value for i in intervals]))
    below = sqrt(sum((i.value - i.low) ** 2 for i in intervals)) / len(intervals)
    above = sqrt(sum((i.high - i.value) ** 2 for i in intervals)) / len(intervals)
    return Interval(value, value - below, value + above)


def iqm(values: np.ndarray) -> np.ndarray:
    """Interquartile mean over the last two axes: the mean of the middle half of all numbers.

    Agarwal et al. 2021 (arXiv 2108.13264), who advise it over the mean for runs × tasks.
    """
    from scipy.stats import trim_mean

    return trim_mean(values.reshape(*values.shape[:-2], -1), 0.25, axis=-1)


def mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last two axes."""
    return values.mean(axis=(-2, -1))


def stratified_bootstrap(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray] = mean,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Percentile bootstrap of any statistic, resampling within strata.

    As in Agarwal et al. 2021 (arXiv 2108.13264): strata are tasks, and what is resampled within
    each are its goals, or the runs of several training seeds.

    Args:
        values: (strata, n).
        statistic: maps (…, strata, n) to (…).
        samples: bootstrap draws.
        seed: seed of the draws.
        level: confidence.

    Returns:
        The statistic of `values` with its interval; bounds are NaN where n < 2.
    """
    value = float(statistic(values))
    if values.shape[1] < 2:
        return Interval(value)
    draws = bootstrap_draws(values, statistic, samples=samples, seed=seed)
    low, high = np.nanquantile(draws, _tails(level))  # a draw may hold nothing that is known
    return Interval(value, float(low), float(high))


def bootstrap_draws(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray] = mean,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """The statistic of each draw of `stratified_bootstrap`, (samples,)."""
    strata, count = values.shape
    picks = np.random.default_rng(seed).integers(count, size=(samples, strata, count))
    return statistic(np.take_along_axis(values[None], picks, axis=-1))


def bootstrap_means(
    values: np.ndarray, *, samples: int = SAMPLES, seed: int = 0, level: float = LEVEL
) -> np.ndarray:
    """`stratified_bootstrap` of the mean for many measures of the same goals at once.

    Args:
        values: (tasks N, goals G, measures M); all measures share the drawn goals.
        samples: bootstrap draws.
        seed: seed of the draws.
        level: confidence.

    Returns:
        Estimate, low, high: (N + 1, M, 3), a row per task and last their unweighted mean. Bounds
        are NaN where G < 2. With few goals the interval is too narrow by about √((G - 1) / G).
    """
    rng = np.random.default_rng(seed)
    goals = values.shape[1]
    even = np.full(goals, 1 / goals)
    # How often each goal is drawn is all that a mean needs: (samples, G) @ (G, M).
    draws = np.stack([rng.multinomial(goals, even, size=samples) @ v / goals for v in values])
    draws = np.concatenate([draws, draws.mean(axis=0, keepdims=True)])
    estimate = values.mean(axis=1)
    estimate = np.concatenate([estimate, estimate.mean(axis=0, keepdims=True)])
    low, high = np.quantile(draws, _tails(level), axis=1)
    if goals < 2:
        low = high = np.full_like(estimate, nan)
    return np.stack([estimate, low, high], axis=-1)


def _all_equal(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2
