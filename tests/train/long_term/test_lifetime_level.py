"""Training on RECALL: each slot's store, what is read and written, and resuming."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import train.rl2
from envs.metaworld.suites import Suite, make_suite
from envs.pool.pool import WorkerPool
from train.algorithms.rollout import Rollout
from train.collect import collect, exposure_metrics, practising
from train.long_term.lifetime import LifetimeLevel
from train.long_term.stack import Stack
from train.run.config import Config
from train.run.recipes import recipe
from train.run.state import TrainState, initialise

SUITE = "RECALL-code-4-contexts2"


def config_of(arm: str = "episodic", suite: str = SUITE, **options: object) -> Config:
    config = dataclasses.replace(
        recipe(Config, suite), suite=suite, arm=arm, trials=4, horizon=14, device="cpu",
        train_goals=50, **options,
    )  # fmt: skip
    tiny = dataclasses.replace(config.agent, hidden=8, encoder=8, critic=8)
    return dataclasses.replace(config, agent=tiny)


@pytest.fixture(scope="module")
def suite() -> Suite:
    return make_suite(SUITE, train_goals=50)


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(1) as pool:
        yield pool


def collected(pool: WorkerPool, suite: Suite, state: TrainState, iteration: int) -> Rollout:
    trials = suite.sample_trials(4, episodes=2, horizon=14, iteration=iteration, seed=1)
    stores = state.stores(trials)
    return collect(pool, state.learner.policy(), trials, tasks=suite.tasks, lanes=4, stores=stores)


def test_a_round_reads_what_earlier_ones_of_its_slot_wrote(suite: Suite, pool: WorkerPool) -> None:
    """Workers and learner agree while stores are read, and gradients reach the reader."""
    config = config_of()
    state = initialise(config, suite)
    assert isinstance(state.long_term, Stack)
    (level,) = state.long_term.levels
    assert isinstance(level, LifetimeLevel)
    reader = state.agent.reader
    assert reader is not None
    before = reader.relevance.detach().clone()
    for iteration in range(5):
        rollout = collected(pool, suite, state, iteration)
        assert rollout.stores is not None
        ages = rollout.stores[..., -1]
        expected = 2 * (iteration % 4)  # a lifetime has four rounds of two contexts
        assert ((ages > 0).sum(dim=1) == expected).all()
        assert ages.max() == iteration % 4
        metrics = state.learner.update(rollout, np.random.default_rng(iteration))
        assert metrics["acting_error"] < 1e-4
        state.consolidate(rollout, config.seed)
    cues = level.stores.entries[:, :2, 36:39]
    assert (cues[0] != cues[1]).any()
    assert not torch.equal(reader.relevance, before)


def test_without_a_store_nothing_is_read(suite: Suite, pool: WorkerPool) -> None:
    state = initialise(config_of("short"), suite)
    assert state.agent.reader is None
    assert state.stores(suite.sample_trials(4, episodes=2, horizon=14, iteration=0, seed=1)) is None


def test_practice_takes_whole_lifetimes_and_exposures_leave_it_out(
    suite: Suite, pool: WorkerPool
) -> None:
    state = initialise(config_of(), suite)
    sampled = [
        practising(suite.sample_trials(40, episodes=2, horizon=14, iteration=i, seed=1), 0.5)
        for i in range(4)
    ]
    practised = np.array([[trial.practise for trial in trials] for trials in sampled])
    assert (practised == practised[0]).all()
    assert (practised[0, ::2] == practised[0, 1::2]).all()
    assert 0.2 < practised.mean() < 0.8
    rollout = collected(pool, suite, state, 1)
    trials = suite.sample_trials(4, episodes=2, horizon=14, iteration=1, seed=1)
    assert list(exposure_metrics(rollout, trials)) == ["exposure/2"]
    shown = [dataclasses.replace(trial, practise=True) for trial in trials]
    assert exposure_metrics(rollout, shown) == {}


@pytest.mark.parametrize(
    ("arm", "suite", "options", "says"),
    [
        ("hierarchical", SUITE, {}, "--arm hierarchical is not for"),
        ("episodic", f"{SUITE}-flat", {}, "use --arm none or short"),
        ("short", "RECALL-code-4-contexts3", {}, "--trials must be a multiple of the 3 contexts"),
        ("short", f"{SUITE}-flat", {"episodes": 4}, "--episodes is 16 where a lifetime is one"),
        ("short", SUITE, {"horizon": 10}, "--horizon must be above 10"),
        ("short", "RECALL-scene-drawer", {"train_goals": 5}, "--train-goals must be at least 6"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(arm: str, suite: str, options: dict, says: str) -> None:
    config = dataclasses.replace(config_of(arm, suite), **options)
    assert any(says in problem for problem in config.validate(1))


def test_a_resumed_run_goes_on_in_the_middle_of_a_lifetime(tmp_path: Path) -> None:
    common = (
        f"--suite {SUITE} --arm episodic --trials 4 --horizon 12 --hidden 8 --encoder 8 --critic 8 "
        "--minibatches 2 --epochs 1 --workers 1 --threads 1 --train-goals 50"
    ).split()
    steps = 4 * 2 * 12
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    total = ["--total-steps", str(4 * steps)]
    assert train.rl2.main([*common, *total, "--run", str(whole)]) == 0
    half = ["--total-steps", str(2 * steps), "--final-learning-rate", "7e-4"]
    assert train.rl2.main([*common, *half, "--run", str(parts)]) == 0
    assert train.rl2.main(["--resume", str(parts), *total, "--final-learning-rate", "1e-4"]) == 0
    assert (whole / "metrics.jsonl").read_bytes() == (parts / "metrics.jsonl").read_bytes()


def test_an_agent_of_fork_begins_without_weights_of_cues(suite: Suite, tmp_path: Path) -> None:
    fork, source = make_suite("FORK-reach-4", train_goals=50), tmp_path / "fork"
    before = initialise(dataclasses.replace(config_of("short", "FORK-reach-4"), run=source), fork)
    before.agent.encoder.normaliser.var[36:39] = 0.0
    before.save(dataclasses.replace(config_of("short", "FORK-reach-4"), run=source))
    agent = initialise(config_of(init_from=str(source)), suite).agent
    assert not agent.encoder.layer.weight[:, 36:39].any()
    assert torch.equal(
        agent.encoder.layer.weight[:, :36], before.agent.encoder.layer.weight[:, :36]
    )
    assert agent.reader is not None


def test_flat_lifetimes_train(tmp_path: Path) -> None:
    arguments = (
        f"--suite {SUITE}-flat --trials 2 --horizon 12 --hidden 8 --encoder 8 --critic 8 "
        "--minibatches 2 --epochs 1 --workers 1 --threads 1 --train-goals 50 --total-steps 384 "
        "--practise 0"
    ).split()
    assert train.rl2.main([*arguments, "--run", str(tmp_path / "run")]) == 0
    assert '"exposure/4"' in (tmp_path / "run" / "metrics.jsonl").read_text()
