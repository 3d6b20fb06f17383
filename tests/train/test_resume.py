"""Stopping and going on: a resumed run is the uninterrupted run, to the last bit."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import metaworld
import pytest
import torch

from tests.faults.runs import nothing_left, start, wait_for_lines
from train import loop
from train.algorithms.ppo import PPO
from train.algorithms.rollout import Rollout
from train.rl2 import main
from train.run import checkpoint
from train.run import program as programs
from train.run.signals import INTERRUPTED, StopSignal

PER_ITERATION = 20  # 2 trials × 2 episodes × 5 steps
TINY = [
    *("--suite", "ML1", "--task", "reach-v3", "--train-goals", "6", "--trials", "2"),
    *("--lanes", "1", "--episodes", "2", "--horizon", "5", "--hidden", "8", "--encoder", "8"),
    *("--critic", "8", "--bptt", "4", "--minibatches", "2", "--epochs", "2", "--device", "cpu"),
    *("--evaluate-every", "0", "--video-every", "0", "--checkpoint-every", "40"),
    *("--belief", "0.5", "--final-learning-rate", "1e-4"),  # so that they are part of it
]


@pytest.fixture(autouse=True)
def _few_goals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(metaworld, "_N_GOALS", 6)
    monkeypatch.setattr("train.run.board._await_new_second", lambda _: None)  # TensorBoard's affair
    monkeypatch.chdir(tmp_path)


def lines(run: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(one: str, other: str) -> None:
    """Tensors, counters and metrics alike; only the number of workers may differ."""
    first, second = checkpoint.load(Path(one)), checkpoint.load(Path(other))
    assert first.state == second.state
    assert first.tensors.keys() == second.tensors.keys()
    for group, tensors in first.tensors.items():
        assert tensors.keys() == second.tensors[group].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, second.tensors[group][name]), f"{group}.{name}"
    metrics = [(Path(run) / "metrics.jsonl").read_bytes() for run in (one, other)]
    assert metrics[0] == metrics[1]
    differing = {k for k in first.config if first.config[k] != second.config[k]}
    assert differing <= {"workers"}


ALL_LEVELS = [
    *("--arm", "hierarchical", "--reservoir", "3", "--recent", "2", "--reencode-every", "2"),
    *("--read-every", "2", "--recent-iterations", "1", "--replay-share", "1"),
    *("--replay-from", "all", "--levels", "3"),
]


CORES = [
    pytest.param(["--core", core, "--missing", "0.3"], marks=pytest.mark.slow, id=core)
    for core in ("event", "hmt", "hrnn")
]


@pytest.mark.parametrize(
    "arm",
    [
        pytest.param([], id="short"),
        pytest.param(["--act", "posterior"], id="posterior"),
        pytest.param(ALL_LEVELS, id="hierarchical"),
        pytest.param([*ALL_LEVELS, "--core", "attention"], id="hierarchical-attention"),
        *CORES,
    ],
)
def test_six_iterations_are_three_and_three(stop_after, capfd, arm: list[str]) -> None:
    """Interrupted in the third iteration by SIGTERM, resumed with another number of workers.

    The learning rate falls towards total_steps, so both runs have the same total. Saving at the
    interruption, in between the regular saves, must leave no trace. With all levels of memory
    there are slow policies, their optimisers, the reservoir and the store to be restored as well.
    """
    total = [*arm, "--total-steps", str(6 * PER_ITERATION)]
    assert main([*TINY, *total, "--run", "whole", "--workers", "1"]) == 0
    stop_after(3)
    assert main([*TINY, *total, "--run", "parts", "--workers", "2"]) == INTERRUPTED == 75
    assert "--resume parts" in capfd.readouterr().out
    half = checkpoint.load(Path("parts"))
    assert (half.step, half.state["iteration"]) == (3 * PER_ITERATION, 3)
    assert [line["step"] for line in lines("parts")] == [20, 40, 60]
    assert main(["--resume", "parts", "--workers", "1"]) == 0
    assert [line["step"] for line in lines("whole")] == [20, 40, 60, 80, 100, 120]
    assert lines("whole")[5]["ppo/learning_rate"] < lines("whole")[0]["ppo/learning_rate"]
    assert_same_run("whole", "parts")


def test_a_roll_back_keeps_what_was_consolidated(
    stop_after, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consolidation writes into the agent after its update; undoing the next one is not its end."""
    original, updates = PPO.update, []

    def update(self: PPO, *args: Any, **options: Any) -> dict[str, float]:
        metrics = original(self, *args, **options)
        updates.append(1)
        if len(updates) in (2, 5):  # the second iteration of either run
            self.agent.head.raw_log_std.data[0] = float("nan")
        return metrics

    monkeypatch.setattr(PPO, "update", update)
    total = [*ALL_LEVELS, "--total-steps", str(3 * PER_ITERATION), "--workers", "1"]
    with pytest.warns(RuntimeWarning, match="rolled back"):
        assert main([*TINY, *total, "--run", "whole"]) == 0
    stop_after(1)
    assert main([*TINY, *total, "--run", "parts"]) == INTERRUPTED
    with pytest.warns(RuntimeWarning, match="rolled back"):
        assert main(["--resume", "parts"]) == 0
    assert [line["ppo/rolled_back"] for line in lines("whole")] == [0, 1, 0]
    assert_same_run("whole", "parts")


def test_bad_updates_in_a_row_are_counted_on(
    stop_after, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two before the interruption and one after it are three in a row, as without one."""
    original = PPO.update

    def update(self: PPO, *args: Any, **options: Any) -> dict[str, float]:
        metrics = original(self, *args, **options)
        self.agent.head.raw_log_std.data[0] = float("nan")
        return metrics

    monkeypatch.setattr(PPO, "update", update)
    stop_after(2)
    total = ["--total-steps", str(6 * PER_ITERATION), "--workers", "1"]
    with pytest.warns(RuntimeWarning, match="rolled back"):
        assert main([*TINY, *total, "--run", "mine"]) == INTERRUPTED
    assert checkpoint.load(Path("mine")).state["bad_updates"] == 2
    assert main(["--resume", "mine"]) == 1
    assert "3 times in a row" in capsys.readouterr().err


def test_a_resumed_run_deals_trials_as_the_uninterrupted_one(
    stop_after, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of each task's success is part of the run: by it the next trials are dealt."""
    original, dealt = loop.success_metrics, []

    def one_task_succeeds(rollout: Rollout, tasks: Sequence[str], split: str) -> dict[str, float]:
        dealt.append(rollout.task_ids.bincount().tolist())
        found = original(rollout, tasks, split)
        return found | {f"{split}/success/{tasks[0]}": 1.0, f"{split}/success/{tasks[1]}": 0.0}

    monkeypatch.setattr(loop, "success_metrics", one_task_succeeds)
    two = ["--suite", "custom", "--tasks", "reach-v3", "push-v3", "--trials", "8", *TINY[4:6]]
    total = [*two, *TINY[8:], "--total-steps", str(6 * 4 * PER_ITERATION), "--workers", "1"]
    assert main([*total, "--run", "whole"]) == 0
    assert dealt[0] == [4, 4]
    assert all(first < second for first, second in dealt[1:])
    stop_after(3)
    assert main([*total, "--run", "parts"]) == INTERRUPTED
    assert main(["--resume", "parts"]) == 0
    assert dealt[6:] == dealt[:6]
    assert_same_run("whole", "parts")


def test_metrics_beyond_the_checkpoint_are_written_again(stop_after) -> None:
    """A run that was killed between two saves has logged what it then forgets: each step once."""
    total = ["--total-steps", str(4 * PER_ITERATION)]
    stop_after(2)
    assert main([*TINY, *total, "--run", "mine", "--workers", "1"]) == 75
    with (Path("mine") / "metrics.jsonl").open("a") as file:
        file.write('{"step": 60, "train/success": 9.0}\n{"step": 80, "train/su')
    assert main(["--resume", "mine"]) == 0
    assert [line["step"] for line in lines("mine")] == [20, 40, 60, 80]
    assert all(line["train/success"] <= 1 for line in lines("mine"))


def test_stopped_before_anything_was_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch system may preempt a job as it starts; `--resume` must work then too."""

    class Impatient(StopSignal):
        def __init__(self) -> None:
            self.requested = True

    total = ["--total-steps", str(PER_ITERATION)]
    with monkeypatch.context() as patch:
        patch.setattr(programs, "StopSignal", Impatient)
        assert main([*TINY, *total, "--run", "mine", "--workers", "1"]) == 75
    assert checkpoint.load(Path("mine")).step == 0
    assert main(["--resume", "mine"]) == 0
    assert main([*TINY, *total, "--run", "other", "--workers", "1"]) == 0
    assert_same_run("mine", "other")


# ------------------------------------------------------------------------------------ from outside


def test_sigterm_saves_at_the_end_of_the_iteration(tmp_path: Path) -> None:
    """The batch system's way: the whole session gets the signal, code 75 asks to be queued again.

    The checkpoint stands at the end of an iteration, and the run goes on from there.
    """
    more = ["--total-steps", "1000000", "--run", "mine", "--workers", "2"]
    with nothing_left() as programs:
        programs.append(start(*TINY, *more, cwd=tmp_path))
        wait_for_lines(tmp_path / "mine", 2, programs[0])
        os.killpg(programs[0].pid, signal.SIGTERM)
        output, _ = programs[0].communicate(timeout=60)
    assert programs[0].returncode == 75, output
    assert "Traceback" not in output
    assert "--resume mine" in output
    saved = checkpoint.load(tmp_path / "mine")
    assert saved.step == lines(tmp_path / "mine")[-1]["step"]
    assert saved.step == saved.state["iteration"] * PER_ITERATION
    more = str(saved.step + PER_ITERATION)
    assert main(["--resume", "mine", "--total-steps", more, "--workers", "1"]) == 0
    assert lines(tmp_path / "mine")[-1]["step"] == int(more)
