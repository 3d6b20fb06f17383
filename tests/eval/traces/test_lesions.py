"""Lesions take away what they say, and the verdict is as strict as it was declared."""

import dataclasses

import numpy as np
import pytest

from agents.acting.numpy_actor import NumpyActor
from envs.memory_tests.fork_streams import stream_settings
from envs.metaworld.suites import fork_suite, make_suite
from eval.memory_tests.fork_measure import ForkOutcomes
from eval.memory_tests.fork_metrics import summarise_fork
from eval.traces.dissociation import double_dissociation, equivalent, hierarchical, loss_of
from eval.traces.lesion_page import matrix_of, said
from eval.traces.lesions import (
    other_noise,
    scores,
    shuffled_store,
    target_directions,
    with_projection,
)
from tests.eval.traces.made_up import HORIZON, STILL, make_agent, make_recording
from train.collect import acting_policy


def actor_of(policy) -> NumpyActor:
    return NumpyActor(policy.core, policy.weights, 4)


def test_a_removed_direction_is_gone_from_the_state_and_nothing_else_is() -> None:
    policy, rng = acting_policy(make_agent()), np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((8, 2)))[0]
    centre = rng.standard_normal(8) * 0.1
    whole, cut = actor_of(policy), actor_of(with_projection(policy, basis, centre))
    inputs = rng.standard_normal((4, 46)).astype(np.float32)
    whole.mean(inputs.copy())
    cut.mean(inputs.copy())
    np.testing.assert_allclose(cut.state @ basis, np.tile(centre @ basis, (4, 1)), atol=1e-6)
    others = np.linalg.qr(np.concatenate((basis, np.eye(8)), axis=1))[0][:, 2:]
    np.testing.assert_allclose(cut.state @ others, whole.state @ others, atol=1e-6)


def test_the_directions_that_tell_the_target_are_found() -> None:
    recording = make_recording(trials=200)
    states = recording.states["L0"].copy()
    states[..., 3] += 5.0 * recording.targets[:, 0]
    recording = dataclasses.replace(recording, states={"L0": states})
    basis, centre = target_directions(recording)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-9)
    assert np.linalg.norm(basis[3]) > 0.99
    assert centre[3] == pytest.approx(states[HORIZON + STILL - 1 :: HORIZON, :, 3].mean())


def test_a_shuffled_store_holds_the_same_values_under_other_keys() -> None:
    policy = acting_policy(make_agent(entries=6))
    values = np.arange(48, dtype=np.float32).reshape(6, 8)
    filled = np.array([1, 1, 1, 1, 0, 0], np.float32)
    weights = {**policy.weights, "recall.values": values, "recall.all": filled}
    policy = dataclasses.replace(policy, weights=weights)
    found = shuffled_store(policy, np.random.default_rng(1)).weights["recall.values"]
    assert (found[:4] != values[:4]).all()
    np.testing.assert_array_equal(np.sort(found[:4], axis=0), values[:4])
    np.testing.assert_array_equal(found[4:], values[4:])


def test_the_sham_has_the_same_targets_and_other_noise() -> None:
    suite = make_suite("FORK-reach-2", train_goals=50)
    trials = suite.evaluation_trials("test", goals=2, episodes=3, horizon=8, seed=1)
    shams = other_noise(trials)
    assert [t.fork for t in shams] == [t.fork for t in trials]
    assert not np.array_equal(shams[0].noise(), trials[0].noise())


def test_scores_average_to_the_memory_index() -> None:
    suite = make_suite("FORK-reach-2", train_goals=50)
    targets = np.zeros((4, 3), int)
    choices = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    outcomes = ForkOutcomes(("a",) * 4, choices, targets, np.zeros(4, bool))
    np.testing.assert_allclose(scores(outcomes, suite), [1, 1, -1, 0])


def test_scores_in_a_stream_of_sites_know_that_six_of_eight_count() -> None:
    """As the memory index of `eval.evaluate` does."""
    settings = stream_settings("ERAS")
    assert settings is not None
    suite = fork_suite("ERAS", settings, 1, train_goals=10)
    rng = np.random.default_rng(0)
    targets = np.repeat(rng.integers(6, size=(50, 1)), 7, axis=1)
    choices = np.where(rng.random((50, 7)) < 0.4, targets, rng.integers(8, size=(50, 7)))
    outcomes = ForkOutcomes(("a",) * 50, choices, targets, np.zeros(50, bool))
    index = summarise_fork(choices, targets, 8, counted=6).memory_index.value
    assert scores(outcomes, suite).mean() == pytest.approx(index)


def seeds(mean: float, count: int = 6, spread: float = 0.01) -> list[np.ndarray]:
    rng = np.random.default_rng(int(abs(mean) * 1000) + count)
    return [mean + spread * rng.standard_normal(40) for _ in range(count)]


def cells(own: float, other: float, count: int = 6) -> dict:
    return {
        ("L0", "FORK"): seeds(own, count), ("L1", "FORK"): seeds(other, count),
        ("L0", "RECALL"): seeds(other, count), ("L1", "RECALL"): seeds(own, count),
    }  # fmt: skip


SHAMS = {"FORK": seeds(0.0), "RECALL": seeds(0.0)}


def test_a_double_dissociation_is_said_only_where_all_of_it_holds() -> None:
    found = double_dissociation(cells(0.9, 0.0), SHAMS)
    assert found.dissociated
    assert found.interaction is not None
    assert found.interaction.value == pytest.approx(1.8, abs=0.02)
    weak = double_dissociation(cells(0.9, 0.2), SHAMS)
    assert not weak.dissociated
    assert weak.missing == (
        "clear L0 on RECALL within 0.05 of the sham", "hide L1 on FORK within 0.05 of the sham",
    )  # fmt: skip
    few = double_dissociation(cells(0.9, 0.0, count=3), SHAMS)
    assert "5 seeds of clear L0 on FORK: there are 3" in few.missing
    none = double_dissociation(cells(0.0, 0.0), SHAMS)
    assert any(text.startswith("an interaction above 0") for text in none.missing)
    half = {cell: found for cell, found in cells(0.9, 0.0).items() if cell[1] == "FORK"}
    assert "the loss of hide L1 on RECALL" in double_dissociation(half, SHAMS).missing


def test_equivalence_needs_a_narrow_interval_and_not_only_a_small_mean() -> None:
    assert equivalent(seeds(0.01), SHAMS["FORK"])
    wide = [x + shift for x, shift in zip(seeds(0.0), (-0.3, 0.3, -0.2, 0.2, 0, 0), strict=True)]
    assert not equivalent(wide, SHAMS["FORK"])


def test_the_bootstrap_draws_seeds_and_then_trials() -> None:
    """Trials that agree within seeds that differ: the interval is that of the seeds."""
    apart = [np.full(100, value) for value in (0.0, 1.0)]
    draws = hierarchical(apart)
    np.testing.assert_allclose(np.unique(draws), [0, 0.5, 1])
    assert (loss_of(apart).low, loss_of(apart).high) == (0, 1)


def test_a_seed_that_is_drawn_twice_has_other_trials_each_time() -> None:
    """Seeds that are alike: the mean of two has the variance of all their trials together."""
    rng = np.random.default_rng(0)
    alike = [rng.standard_normal(50) for _ in range(2)]
    alike = [x - x.mean() for x in alike]
    within = np.mean([x.var() / 50 for x in alike])
    np.testing.assert_allclose(hierarchical(alike).var(), within / 2, rtol=0.1)


def result(arm: str, seed: int, suite: str = "FORK-reach-2", trials: int = 20, **lesions: float):
    found = {name.replace("_", " "): {"scores": [x] * trials} for name, x in lesions.items()}
    how = {"label": arm, "suite": suite, "probe_seed": 1, "trials": trials}
    return {"arm": arm, "seed": seed, "lesions": {"benchmark": "FORK", "found": found}, **how}


def test_slow_policies_are_compared_with_a_twin_of_the_same_suite_and_trials() -> None:
    slow = [result("hierarchical", s, intact=0.9, sham=0.9) for s in (1, 2)]
    twin = [result("short", s, intact=0.7, sham=0.7) for s in (1, 2)]
    other = [result("short", s, "FORK-reach-4", intact=0.1, sham=0.1) for s in (1, 2)]
    longer = [result("short", s, trials=40, intact=0.1, sham=0.1) for s in (1, 2)]
    cells, _, _ = matrix_of({"a": slow, "b": twin, "c": other, "d": longer})
    np.testing.assert_allclose([x.mean() for x in cells["L2/L3", "FORK"]], [0.2, 0.2])
    cells, _, reasons = matrix_of({"a": slow, "c": other, "d": longer})
    assert ("L2/L3", "FORK") not in cells
    assert any("of the same suite, seeds and probe trials" in text for text in reasons)


def test_cells_are_of_runs_and_empty_ones_say_why() -> None:
    groups = {
        "short": [result("short", s, intact=1.0, sham=1.0, clear_L0=0.0) for s in (1, 2)],
        "cascade": [result("cascade", s, intact=0.9, sham=0.9, clear_L0=0.0) for s in (1, 2)],
    }
    cells, shams, reasons = matrix_of(groups)
    assert [x.mean() for x in cells["L0", "FORK"]] == [1.0, 1.0]
    np.testing.assert_allclose([x.mean() for x in cells["L2/L3", "FORK"]], [-0.1, -0.1])
    assert ("L1", "FORK") not in cells
    assert "hide L1 on FORK is empty: no run on FORK has L1" in reasons
    assert any(text.startswith("clear L0 on RECALL is empty: no run of RECALL") for text in reasons)
    assert "FORK: lesions of short" in reasons
    (line,) = said(cells, shams)
    assert line.startswith("It cannot be said")


def test_all_cells_of_a_benchmark_and_its_sham_are_of_one_arm() -> None:
    """The first arm lacks a level: that column is of the arm that has both."""
    short = [result("short", s, intact=1.0, sham=0.8, clear_L0=0.0) for s in (1, 2)]
    both = [result("episodic", s, intact=0.9, sham=0.9, clear_L0=0.0, hide_L1=0.9) for s in (1, 2)]
    for groups in ({"short": short, "episodic": both}, {"episodic": both, "short": short}):
        cells, shams, reasons = matrix_of(groups)
        np.testing.assert_allclose([x.mean() for x in cells["L0", "FORK"]], 0.9)
        np.testing.assert_allclose([x.mean() for x in shams["FORK"]], 0.0)
        assert ("L1", "FORK") in cells
        assert "FORK: lesions of episodic" in reasons
