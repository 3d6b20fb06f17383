"""Arms against each other: what is averaged, paired, bootstrapped and refused."""

import dataclasses
from math import isnan

import numpy as np
import pytest

from eval.goals.metrics import iqm, stratified_bootstrap
from eval.reporting.runs import load_run, load_stream_run, mixed_recipes
from eval.streams.compare import (
    METRICS,
    adaptation,
    adaptation_speed,
    by_arm,
    contrast,
    metric_values,
    nanmean,
    result,
    saved,
    transfer,
)
from tests.eval.made_up_runs import PHASE, TASKS, write_stream_run, write_training_run
from train.run.run_files import RunError


@pytest.fixture
def load(tmp_path):
    def make(arm: str = "short", seed: int = 1, **options):
        folder = tmp_path / f"{arm}-{seed}"
        write_stream_run(folder, arm, seed, **options)
        return load_stream_run(load_run(folder))

    return make


def test_a_run_is_read_as_it_was_written(load, tmp_path) -> None:
    run = load(seed=3)
    assert (run.run.arm, run.run.seed, run.cycles) == ("short", 3, 2)
    assert run.matrix.success.shape == (7, 3, 3)
    assert run.matrix.phases == (0, 1, 2, 0, 1, 2)
    assert run.run.record["matrix"]["R"][-1][2][2] == run.matrix.success[-1, 2, 2]
    assert run.run.complete
    per_phase = len(run.run.rows) // 6
    assert run.run.seconds == 3 * len(run.run.rows)
    steps, success = run.phase_curve(4)
    assert len(steps) == per_phase
    assert steps[-1] == run.phase_steps >= PHASE
    assert run.areas[4] == pytest.approx(success.mean())


def test_savings_see_the_second_cycle_start_higher(load) -> None:
    kept, lost = load("hierarchical", keeps=0.9), load("short", keeps=0.05)
    level = dict.fromkeys(TASKS, 0.5)
    times = kept.times_to(level)
    assert (times[1] < times[0]).all()
    assert saved([kept], []).interval.value > saved([lost], []).interval.value
    assert saved([load("short", 2, cycles=1)], []) is None


def test_forward_transfer_leaves_the_first_phase_out(load) -> None:
    alone, run = load("single", cycles=1), load("short")
    found = transfer([run], [alone])
    expected = (run.areas[1:3] - alone.areas[1:3]).mean()
    assert found["forward transfer, raw"].seeds == pytest.approx([expected])
    normal = (run.areas[1:3] - alone.areas[1:3]) / (1 - alone.areas[1:3])
    assert found["forward transfer, normalised"] == pytest.approx(normal.mean())


def test_the_reference_of_forward_transfer_is_uncertain_too(load) -> None:
    """Runs that agree exactly are as uncertain as what they are compared with."""
    alone = [load("single", seed, cycles=1) for seed in (1, 2, 3)]
    for run, level in zip(alone, (0.1, 0.2, 0.6), strict=True):
        run.areas[:] = level
    runs = [load("short", seed) for seed in (1, 2, 3)]
    for run in runs:
        run.areas[:] = 0.5
    found = transfer(runs, alone)["forward transfer, raw"]
    assert found.interval.value == pytest.approx(0.2)
    assert found.interval.high - found.interval.low > 0.2
    assert found.seeds == pytest.approx([0.2] * 3)
    assert isnan(transfer(runs, alone[:1])["forward transfer, raw"].interval.low)


def test_a_mean_skips_what_is_unknown() -> None:
    values = np.array([[0.2, np.nan], [0.4, 0.8]])
    assert nanmean(values) == pytest.approx(1.4 / 3)
    found = result(values)
    assert found.seeds == pytest.approx((0.3, 0.8))
    assert isnan(result(np.array([[np.nan]])).interval.value)


def test_contrasts_are_paired_by_seed(load) -> None:
    one = [load("hierarchical", seed, keeps=0.9) for seed in (1, 2, 3)]
    other = [load("short", seed, keeps=0.05) for seed in (3, 2)]
    found = contrast("performance", one, other)
    values = {run.run.seed: metric_values("performance", [run]).mean() for run in one}
    expected = [
        values[seed] - metric_values("performance", [run]).mean()
        for seed, run in ((2, other[1]), (3, other[0]))
    ]
    assert found.seeds == pytest.approx(expected)
    assert found.interval.low <= found.interval.value <= found.interval.high
    assert contrast("performance", one, [load("short", 9)]) is None


def test_adaptation_is_of_the_end(load) -> None:
    runs = [load("short", seed) for seed in (1, 2)]
    curve = [r.interval.value for r in adaptation(runs)]
    expected = np.mean([run.matrix.success[-1] for run in runs], axis=(0, 1))
    assert curve == pytest.approx(expected)
    assert adaptation_speed(runs, threshold=0.0) == 1
    assert isnan(adaptation_speed(runs, threshold=1.1))


def test_what_cannot_be_compared_is_refused(load) -> None:
    with pytest.raises(ValueError, match="same seed"):
        by_arm([load(), load()])
    with pytest.raises(ValueError, match="different streams"):
        by_arm([load(), load("none", cycles=1)])
    with pytest.raises(ValueError, match="different streams"):  # its areas are of other tasks
        by_arm([load(), load("single", cycles=1, tasks=TASKS[::-1])])
    with pytest.raises(ValueError, match="evaluated on different"):
        by_arm([load(), load("none", eval_goals=5)])
    with pytest.raises(ValueError, match=r"recipes, ppo.gamma \(0.5, 0.99\)"):
        by_arm([load(), load(seed=2, gamma=0.5)])
    # A constant rate has nothing to anneal, and memory is free to be different between arms.
    groups = by_arm([load("short", 2, anneal=0.5), load("short", 1), load("single", cycles=1)])
    assert [run.run.seed for run in groups["short"]] == [1, 2]


@pytest.mark.parametrize(("arm", "same"), [("short", True), ("ewc", True), ("cascade", False)])
def test_settings_that_an_arm_does_not_use_may_differ_between_its_seeds(load, arm, same) -> None:
    run = load(arm).run
    memory = dataclasses.replace(run.config.memory, replay_from="all")
    agent = dataclasses.replace(run.config.agent, relevance_rate=3.0)
    config = dataclasses.replace(run.config, memory=memory, agent=agent)
    found = mixed_recipes({arm: [run, dataclasses.replace(run, config=config)]})
    assert (found == []) == same
    assert same or "memory.replay_from" in found[0]
    assert not any("relevance_rate" in problem for problem in found)


@pytest.mark.parametrize(
    ("parents", "same"),
    [
        (("runs/a-seed1", "runs/a-seed2"), True),
        (("runs/a-seed1", "runs/a-seed1"), True),
        (("runs/a-seed1", "runs/b-seed2"), False),
        (("runs/a-seed1", "runs/a-seed3"), False),
        (("runs/a-seed1", "runs/a-seed21"), False),
        (("runs/a-seed1", None), False),
    ],
)
def test_seeds_may_begin_as_the_same_seed_of_one_run(load, parents, same) -> None:
    runs = [load(seed=seed).run for seed in (1, 2)]
    begun = [
        dataclasses.replace(run, config=dataclasses.replace(run.config, init_from=parent))
        for run, parent in zip(runs, parents, strict=True)
    ]
    assert (mixed_recipes({"short": begun}) == []) == same


def test_folders_that_are_no_stream_say_what_to_do(load, tmp_path) -> None:
    with pytest.raises(RunError, match="is no run folder"):
        load_run(tmp_path / "nowhere")
    write_training_run(tmp_path / "plain")
    with pytest.raises(RunError, match="is of no stream"):
        load_stream_run(load_run(tmp_path / "plain"))
    with pytest.raises(RunError, match=r"train\.continual --resume"):
        load("short", 5, complete=False)
    (tmp_path / "plain" / "results").mkdir()
    (tmp_path / "plain" / "results" / "x.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        load_run(tmp_path / "plain")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_stratum_and_a_seed(load, name) -> None:
    values = metric_values(name, [load("short", 1), load("short", 2)])
    assert values.ndim == 2
    assert values.shape[1] == 2


@pytest.mark.parametrize("name", ["mean", "iqm"])
def test_intervals_agree_with_rliable(name) -> None:
    """Agarwal et al.'s own library on the same scores (runs × tasks)."""
    try:
        from rliable import library, metrics
    except Exception as error:  # its plotting import breaks with pandas 3
        pytest.skip(f"rliable cannot be imported here: {error!r}")
    scores = np.random.default_rng(0).beta(2, 1, size=(5, 10))  # 5 runs of 10 tasks
    ours, theirs = {
        "mean": (nanmean, metrics.aggregate_mean),
        "iqm": (iqm, metrics.aggregate_iqm),
    }[name]
    aggregate = lambda x: np.array([theirs(x)])  # noqa: E731
    values, intervals = library.get_interval_estimates(
        {"arm": scores}, aggregate, reps=5000, random_state=np.random.RandomState(0)
    )
    found = stratified_bootstrap(scores.T, ours)
    assert found.value == pytest.approx(values["arm"][0])
    low, high = intervals["arm"][:, 0]
    width = high - low
    assert found.low == pytest.approx(low, abs=0.06 * width)
    assert found.high == pytest.approx(high, abs=0.06 * width)
