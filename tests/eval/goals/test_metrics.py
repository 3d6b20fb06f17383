"""Statistics against numbers worked out by hand, and against rliable."""

import functools
import itertools
import json

import numpy as np
import pytest

from eval.goals.metrics import (
    Interval,
    Outcomes,
    averaged,
    bootstrap_means,
    iqm,
    mean,
    stratified_bootstrap,
    summarise,
    wilson,
)
from tests.eval.others import rliable

HORIZON = 10


def outcomes(success: np.ndarray, **others: np.ndarray) -> Outcomes:
    tasks = tuple(f"task-{i}" for i in range(len(success)))
    parts = {
        "success": success,
        "last_step_success": success,
        "steps_to_success": np.where(success, 1.0, HORIZON),
        "share_in_success": success.astype(float),
        "returns": success.astype(float),
        "faults": np.zeros_like(success),
    }
    return Outcomes(tasks, HORIZON, **{**parts, **others})


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17:857, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_agrees_with_published_intervals(
    successes: int, count: int, low: float, high: float
) -> None:
    interval = wilson(successes, count)
    assert interval.value == successes / count
    assert interval.low == pytest.approx(low, abs=6e-5)
    assert interval.high == pytest.approx(high, abs=6e-5)


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (-1, 5), (6, 5)])
def test_what_is_no_proportion_is_refused(successes: int, count: int) -> None:
    with pytest.raises(ValueError, match=r"^[kn] "):
        wilson(successes, count)


def test_interquartile_mean_by_hand() -> None:
    # of 8 numbers the middle four: (2 + 3 + 4 + 5) / 4
    assert iqm(np.array([[100.0, 2, 3, 4], [5, -100, 0, 9]])) == 3.5


def test_iqm_reduces_the_last_two_axes_only() -> None:
    values = np.random.default_rng(0).normal(size=(3, 5, 7))
    np.testing.assert_allclose(iqm(values), [iqm(part) for part in values])
    np.testing.assert_allclose(mean(values), [part.mean() for part in values])


@pytest.mark.parametrize(("ours", "theirs"), [(mean, "aggregate_mean"), (iqm, "aggregate_iqm")])
@pytest.mark.filterwarnings("ignore:random_state is deprecated")
def test_intervals_agree_with_rliable(ours, theirs) -> None:
    library, metrics = rliable()
    theirs = getattr(metrics, theirs)
    rng = np.random.default_rng(1)
    scores = rng.normal(loc=np.arange(4)[:, None], scale=[[1], [2], [0.5], [1]], size=(4, 12))
    points, intervals = library.get_interval_estimates(
        {"agent": scores.T},  # rliable: runs × tasks
        lambda x: np.array([theirs(x)]),
        reps=1000,
        random_state=np.random.RandomState(0),
    )
    interval = stratified_bootstrap(scores, ours)
    assert interval.value == pytest.approx(points["agent"][0])
    spread = interval.high - interval.low
    theirs_low, theirs_high = intervals["agent"][:, 0]
    assert interval.low == pytest.approx(theirs_low, abs=0.1 * spread)
    assert interval.high == pytest.approx(theirs_high, abs=0.1 * spread)


def test_bootstrap_reaches_the_exact_distribution() -> None:
    """With 4 goals and one task all 4⁴ resamples can be written down."""
    values = np.array([1.0, 2.0, 4.0, 8.0])
    every = [np.mean(draw) for draw in itertools.product(values, repeat=4)]
    low, high = np.quantile(every, [0.025, 0.975])
    for interval in (
        stratified_bootstrap(values[None], samples=20_000),
        Interval(*bootstrap_means(values[None, :, None], samples=20_000)[0, 0]),
    ):
        assert interval.value == 3.75
        assert interval.low == pytest.approx(low, abs=0.13)  # its neighbours are 0.25 away
        assert interval.high == pytest.approx(high, abs=0.26)


def test_goals_are_resampled_within_tasks_only() -> None:
    """Two tasks of constant, different returns: resampling goals cannot change any mean."""
    values = np.stack([np.zeros(9), np.full(9, 10.0)])
    interval = stratified_bootstrap(values)
    assert (interval.low, interval.value, interval.high) == (5.0, 5.0, 5.0)
    bounds = bootstrap_means(values[..., None])[:, 0, 1:]
    np.testing.assert_array_equal(bounds, [[0, 0], [10, 10], [5, 5]])


def test_both_bootstraps_are_the_same_and_repeatable() -> None:
    values = np.random.default_rng(2).random((3, 10))
    one = stratified_bootstrap(values, samples=20_000)
    many = Interval(*bootstrap_means(values[..., None], samples=20_000)[-1, 0])
    assert (many.low, many.high) == pytest.approx((one.low, one.high), abs=0.004)
    assert stratified_bootstrap(values, seed=3) == stratified_bootstrap(values, seed=3)
    assert stratified_bootstrap(values, seed=3) != stratified_bootstrap(values, seed=4)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, hits = np.random.default_rng(5), 0
    for seed in range(200):
        interval = stratified_bootstrap(rng.normal(size=(3, 20)), samples=300, seed=seed)
        hits += interval.low <= 0 <= interval.high
    assert 0.90 <= hits / 200 <= 0.98


def test_summary_by_hand() -> None:
    """Two tasks, four goals, two episodes."""
    success = np.array(
        [
            [[0, 1], [0, 1], [1, 1], [0, 0]],  # 25% → 75%
            [[0, 0], [0, 0], [0, 0], [1, 0]],  # 25% → 0%
        ],
        dtype=bool,
    )
    last_step = np.zeros_like(success)
    last_step[0, 0, 1] = True
    returns = np.arange(16.0).reshape(2, 4, 2)
    found = summarise(outcomes(success, last_step_success=last_step, returns=returns))
    first, second = found.tasks.values()
    assert [i.value for i in first.success] == [0.25, 0.75]
    assert [i.value for i in second.success] == [0.25, 0.0]
    assert [i.value for i in found.mean.success] == [0.25, 0.375]
    assert (first.gain.value, second.gain.value, found.mean.gain.value) == (0.5, -0.25, 0.125)
    assert [i.value for i in first.last_step_success] == [0.0, 0.25]
    assert found.mean.last_step_gain.value == 0.125
    assert [i.value for i in first.returns] == [3.0, 4.0]
    assert [i.value for i in found.mean.returns] == [7.0, 8.0]
    assert found.return_iqm.value == 8.0  # of 1, 3 … 15 the middle four: 5, 7, 9, 11
    assert first.success[1] == wilson(3, 4)
    assert found.mean.success[1].low < 0.375 < found.mean.success[1].high
    assert found.faulted == 0


def test_gain_is_paired_by_goal() -> None:
    """Every goal that is solved at first is solved at last: the gain cannot be below zero."""
    rng = np.random.default_rng(0)
    first = rng.random((1, 40)) < 0.5
    success = np.stack([first, first | (rng.random((1, 40)) < 0.2)], axis=-1)
    gain = summarise(outcomes(success)).mean.gain
    assert 0 <= gain.low <= gain.value <= gain.high < 0.35


def speeds(episodes: np.ndarray) -> Outcomes:
    """Trials of which only the steps to success (N, G, K) are known."""
    return outcomes(episodes < HORIZON, steps_to_success=np.minimum(episodes, HORIZON))


def test_steps_to_success_by_hand() -> None:
    """Success at any step is 100 % throughout: only the time shows that memory helps."""
    steps = np.array([[[8, 3], [6, 3], [7, 3]], [[9, 4], [5, 5], [4, 6]]], dtype=float)
    found = summarise(speeds(steps))
    assert [i.value for i in found.mean.success] == [1, 1]
    assert [i.value for i in found.mean.steps_to_success] == [6.5, 4]
    first, second = found.tasks.values()
    assert (first.steps_gain.value, second.steps_gain.value) == (-4, -1)
    assert found.mean.steps_gain.value == -2.5
    assert found.mean.steps_gain.low < -2.5 < found.mean.steps_gain.high
    slack = wilson(0, 3).high  # three equal times: one not yet seen may be 1 or the horizon
    assert first.steps_to_success[1] == Interval(3, 3 - 2 * slack, 3 + 7 * slack)


def test_times_that_are_equal_do_not_claim_certainty() -> None:
    found = summarise(speeds(np.full((2, 8, 2), float(HORIZON)))).mean
    slack = 9 * wilson(0, 16).high
    assert found.steps_to_success[0] == Interval(HORIZON, HORIZON - slack, HORIZON)
    assert found.steps_gain == Interval(0, -slack, slack)


def test_without_memory_the_gain_is_nothing_but_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes that do not know of each other: the interval holds 0 as often as it says."""
    fewer = functools.partial(bootstrap_means, samples=1000)
    monkeypatch.setattr("eval.goals.metrics.bootstrap_means", fewer)
    rng, means, held = np.random.default_rng(0), [], 0
    for seed in range(100):
        found = summarise(speeds(rng.geometric(0.15, (3, 20, 2)).astype(float)), seed=seed)
        means.append(found.mean.steps_gain.value)
        held += found.mean.steps_gain.low <= 0 <= found.mean.steps_gain.high
    assert abs(np.mean(means)) < 3 * np.std(means) / 10
    assert 88 <= held <= 99


def test_an_agent_that_remembers_where_it_was_is_seen() -> None:
    steps = np.random.default_rng(0).geometric(0.15, (3, 20, 4)).astype(float)
    steps[..., 1:] = np.minimum(steps[..., 1:], steps[..., :1])
    found = summarise(speeds(steps)).mean
    assert found.steps_gain.high < 0


@pytest.mark.parametrize("solved", [False, True])
def test_unanimous_outcomes_do_not_claim_certainty(solved: bool) -> None:
    found = summarise(outcomes(np.full((2, 8, 3), solved)))
    task, rate = wilson(8 * solved, 8), wilson(16 * solved, 16)
    assert all(interval == task for row in found.tasks.values() for interval in row.success)
    assert all(interval == rate for interval in found.mean.success)
    slack = wilson(0, 16).high
    assert found.mean.gain == Interval(0.0, -slack, slack)


def test_tasks_that_are_unanimous_but_differ_do_not_claim_certainty() -> None:
    """One task always solved and one never: no resampling within them moves their mean."""
    success = np.zeros((2, 8, 2), dtype=bool)
    success[0, :, 1] = True
    found = summarise(outcomes(success)).mean
    slack = wilson(0, 8).high / 2  # of one of the two tasks
    assert found.success[1].value == 0.5
    assert found.success[1].low == pytest.approx(0.5 - slack)
    assert found.success[1].high == pytest.approx(0.5 + slack)
    # The first task's gain may be below 1, by up to twice the bound, the second's be either way.
    assert found.gain.low == pytest.approx(0.5 - slack * 5**0.5)
    assert found.gain.high == pytest.approx(0.5 + slack)


def test_means_of_estimates_add_their_distances_as_squares() -> None:
    """Newcombe 1998 takes 56/70 - 48/80 to [.0524, .3339] from the Wilson intervals of both."""
    one, other = wilson(56, 70), wilson(48, 80)
    minus = Interval(-other.value, -other.high, -other.low)
    found = averaged([one, minus])  # half of the difference
    assert [2 * number for number in vars(found).values()] == pytest.approx(
        [0.2, 0.0524, 0.3339], abs=5e-5
    )


def test_unanimous_gain_stays_within_what_a_gain_can_be() -> None:
    success = np.zeros((1, 8, 2), dtype=bool)
    success[..., 1] = True
    gain = summarise(outcomes(success)).mean.gain
    assert gain == Interval(1.0, 1 - 2 * wilson(0, 8).high, 1.0)


def test_one_goal_gives_no_interval_but_a_binomial() -> None:
    found = summarise(outcomes(np.array([[[True, False]], [[False, False]]])))
    assert found.mean.success[0].value == 0.5
    assert np.isnan(found.mean.success[0].low)
    assert found.mean.returns[0].to_json() == [0.5, None, None]
    assert next(iter(found.tasks.values())).success[0] == wilson(1, 1)


def test_outcomes_survive_json_exactly() -> None:
    rng = np.random.default_rng(0)
    flags = rng.random((3, 2, 4, 5)) < 0.5
    returns = rng.normal(size=(2, 4, 5)) * 1e3
    before = outcomes(flags[0], last_step_success=flags[1], faults=flags[2], returns=returns)
    after = Outcomes.from_json(json.loads(json.dumps(before.to_json())))
    assert after.tasks == before.tasks
    assert after.horizon == HORIZON
    for name in set(vars(before)) - {"tasks", "horizon"}:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype
    json.dumps(summarise(before).to_json(), allow_nan=False)
