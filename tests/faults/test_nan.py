"""Not a number, wherever it comes from: named, counted, and never in a weight that is kept.

Actions, rewards, observations and physics are in `test_worker_faults.py`.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.runs import PER_ITERATION, TINY, assert_finite, assert_same_run, lines
from train.algorithms import ppo
from train.algorithms.ppo import PPO
from train.rl2 import main
from train.run import checkpoint

pytestmark = pytest.mark.usefixtures("few_goals", "lent")
TOTAL = ["--total-steps", str(4 * PER_ITERATION)]


def train(*argv: str) -> tuple[int, list[str]]:
    """Exit code, and the warnings of the run."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code = main([*TINY, *TOTAL, "--run", "mine", "--workers", "1", *argv])
    return code, [str(warning.message) for warning in caught]


@pytest.fixture
def after_update(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[PPO, int], None]], None]:
    """Calls a function after every update, with the learner and the number of updates before."""

    def arrange(spoil: Callable[[PPO, int], None]) -> None:
        original, calls = PPO.update, []

        def update(self: PPO, *args: Any, **options: Any) -> dict[str, float]:
            metrics = original(self, *args, **options)
            spoil(self, len(calls))
            calls.append(1)
            return metrics

        monkeypatch.setattr(PPO, "update", update)

    return arrange


def spoil_weight(learner: PPO) -> None:
    learner.agent.memory.net.weight_hh_l0.data[0, 0] = float("nan")


def spoil_log_std(learner: PPO) -> None:
    learner.agent.head.raw_log_std.data[1] = float("nan")


def spoil_adam(learner: PPO) -> None:
    learner.optimiser.state_dict()["state"][0]["exp_avg"][0] = float("inf")


def spoil_targets(learner: PPO) -> None:
    learner.critic.target_std[0] = float("inf")


def spoil_normaliser(learner: PPO) -> None:
    learner.agent.encoder.normaliser.mean[3] = float("nan")


SPOILERS = {
    "agent.memory.net.weight_hh_l0": spoil_weight,
    "agent.head.raw_log_std": spoil_log_std,
    "optimiser.0.exp_avg": spoil_adam,
    "critic.target_std": spoil_targets,
    "agent.encoder.normaliser.mean": spoil_normaliser,
}


@pytest.mark.parametrize("name", SPOILERS)
def test_an_update_that_leaves_a_nan_is_undone(after_update, name: str) -> None:
    """Named and counted; the run goes on from the state before it and ends healthy."""

    def spoil(learner: PPO, number: int) -> None:
        if number == 1:
            SPOILERS[name](learner)

    after_update(spoil)
    code, warned = train()
    assert code == 0
    (text,) = [text for text in warned if "rolled back" in text]
    assert text.startswith(f"not finite after the update: {name}")
    assert [line["ppo/rolled_back"] for line in lines("mine")] == [0, 1, 0, 0]
    assert_finite("mine")
    moments = checkpoint.load(Path("mine")).tensors["agent"]["encoder.normaliser.count"].item()
    assert moments == 3 * PER_ITERATION


def learnt_nothing_between(first: int, later: int) -> checkpoint.Checkpoint:
    """Assert that all tensors of two iterations' checkpoints are equal; returns the later one."""
    before, after = (
        checkpoint.load(Path("mine/checkpoints") / f"{n * PER_ITERATION:012d}")
        for n in (first, later)
    )
    for group, tensors in before.tensors.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, after.tensors[group][key]), f"{group}.{key}"
    return after


def test_the_state_after_a_roll_back_is_the_state_before(after_update) -> None:
    """To the last bit, Adam's moments included: the second checkpoint is the first."""
    after_update(lambda learner, number: spoil_log_std(learner) if number == 1 else None)
    assert train("--total-steps", str(2 * PER_ITERATION), "--keep", "9")[0] == 0
    second = learnt_nothing_between(1, 2)
    assert (second.state["iteration"], second.state["steps"]) == (2, 2 * PER_ITERATION)


def test_one_bad_update_after_another_ends_the_run(after_update, capsys) -> None:
    """Three in a row are no accident. The last good checkpoint is kept and can be gone on from."""
    after_update(lambda learner, number: spoil_weight(learner) if number >= 1 else None)
    code, warned = train()
    assert code == 1
    assert sum("rolled back" in text for text in warned) == 2
    said = capsys.readouterr().err
    assert "error: not finite after the update: agent.memory.net.weight_hh_l0" in said
    assert "3 times in a row" in said
    assert "--resume mine" in said
    assert checkpoint.load(Path("mine")).step == 3 * PER_ITERATION
    assert_finite("mine")


@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_a_single_bad_minibatch_is_left_out(monkeypatch, part: str) -> None:
    """Counted in the log and named in a warning; the rest of the update is learnt from."""
    original, calls = ppo.policy_loss, []

    def policy_loss(*args: Any) -> Any:
        loss, found = original(*args)
        calls.append(1)
        if len(calls) == 6:
            if part == "loss":
                return loss * float("nan"), found
            args[0].register_hook(lambda gradient: gradient * float("inf"))
        return loss, found

    monkeypatch.setattr(ppo, "policy_loss", policy_loss)
    code, warned = train()
    assert code == 0
    (text,) = [text for text in warned if "left out" in text]
    assert text.startswith("1 optimiser steps left out, not finite: ")
    assert ("finite: loss" in text) == (part == "loss")
    assert "gradient of RL2Agent." in text
    assert [line["ppo/skipped_steps"] for line in lines("mine")] == [0, 1, 0, 0]
    assert all(value is not None for line in lines("mine") for value in line.values())
    assert_finite("mine")


def test_a_policy_of_nan_stops_before_the_physics(monkeypatch, capsys, unfaulted) -> None:
    """A NaN action is an error that names trial and weight; the checkpoint before it is kept."""
    original, calls = ppo.acting_policy, []

    def acting_policy(agent: Any, **options: Any) -> Any:
        policy = original(agent, **options)
        calls.append(1)
        if len(calls) == 3:
            policy.weights["head.log_std"][2] = float("nan")
        return policy

    with monkeypatch.context() as patch:
        patch.setattr(ppo, "acting_policy", acting_policy)
        assert train()[0] == 1
    said = capsys.readouterr().err
    for part in ("non-finite action", "not finite: head.log_std", "task reach-v3", "step 0"):
        assert part in said
    assert checkpoint.load(Path("mine")).step == 2 * PER_ITERATION
    assert main(["--resume", "mine"]) == 0
    assert_same_run("mine", unfaulted)
    assert json.loads(Path("mine/config.json").read_text())["seed"] == 1


def test_two_bad_updates_in_a_row_leave_nothing_behind(after_update) -> None:
    """The second is not learnt into what is kept: the third checkpoint is the first, to the bit."""
    after_update(lambda learner, number: spoil_adam(learner) if number in (1, 2) else None)
    assert train("--keep", "9")[0] == 0
    assert [line["ppo/rolled_back"] for line in lines("mine")] == [0, 1, 1, 0]
    assert_finite("mine")
    learnt_nothing_between(1, 3)
