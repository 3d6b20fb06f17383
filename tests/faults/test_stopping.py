"""SIGTERM and Ctrl-C at any moment: saved, resumable, nothing left, the documented exit code."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs.pool.pool import WorkerPool
from eval import evaluate
from tests.faults.runs import (
    PER_ITERATION,
    TINY,
    assert_same_run,
    children,
    committed,
    lines,
    nothing_left,
    plan,
    session,
    start,
    wait_for_lines,
)
from train import loop, rl2
from train.algorithms.ppo import PPO
from train.rl2 import main
from train.run import checkpoint, config, log, verified_folder

pytestmark = pytest.mark.usefixtures("lent")
TOTAL = ["--total-steps", str(4 * PER_ITERATION)]
MOMENTS = {
    "start": (config, "make_suite"),
    "collection": (loop, "collect"),
    "update": (PPO, "_step"),
    "evaluation": (rl2, "quick_evaluation"),
    "saving": (verified_folder, "sync_folder"),
    "logging": (log, "_append"),
}


@pytest.fixture
def signal_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Sends this process real signals from within a function, at its first call after `skip`."""

    def arrange(moment: str, *numbers: int, skip: int = 0) -> list[int]:
        owner, name = MOMENTS[moment]
        original, calls = getattr(owner, name), []

        def wrapper(*args: Any, **options: Any) -> Any:
            calls.append(1)
            if len(calls) == skip + 1:
                for number in numbers:
                    os.kill(os.getpid(), number)
            return original(*args, **options)

        monkeypatch.setattr(owner, name, wrapper)
        return calls

    return arrange


@pytest.mark.usefixtures("few_goals")
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        *((moment, signal.SIGTERM) for moment in MOMENTS),
        *((moment, signal.SIGINT) for moment in ("start", "update")),  # by the same handler
    ],
)
def test_a_signal_at_any_moment(
    signal_in, unfaulted, monkeypatch, capfd, moment: str, number: int
) -> None:
    """The iteration is finished and saved, code 75, and what is resumed is the unfaulted run."""
    if moment == "evaluation":  # in the middle of training; its figures are not compared
        monkeypatch.setattr(rl2, "crossed", lambda steps, per, every: steps == 2 * PER_ITERATION)
        monkeypatch.setattr(rl2, "quick_evaluation", lambda *_: {})
    with monkeypatch.context() as patch:
        calls = signal_in(moment, number, skip=0 if moment in ("start", "evaluation") else 2)
        assert main([*TINY, *TOTAL, "--run", "mine", "--workers", "1"]) == 75
        assert calls
        patch.undo()
    said = capfd.readouterr()
    assert "resume: python -m train.rl2 --resume mine" in said.out
    assert "Traceback" not in said.out + said.err
    saved = checkpoint.load(Path("mine"))
    assert saved.step < 4 * PER_ITERATION
    assert saved.step == saved.state["iteration"] * PER_ITERATION
    assert main(["--resume", "mine"]) == 0
    assert_same_run("mine", unfaulted)


@pytest.mark.usefixtures("few_goals")
@pytest.mark.parametrize("moment", ["start", "collection", "update", "saving"])
def test_a_second_ctrl_c(signal_in, monkeypatch, unfaulted, capfd, moment: str) -> None:
    """Not even the iteration is finished; the last good checkpoint, if any, is what remains."""
    with monkeypatch.context() as patch:
        skip = {"start": 0, "collection": 2, "update": 9, "saving": 6}[moment]  # past the claim
        signal_in(moment, signal.SIGINT, signal.SIGINT, skip=skip)
        assert main([*TINY, *TOTAL, "--run", "mine", "--workers", "1"]) == 75
        patch.undo()
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err
    if moment == "start":
        assert "nothing was saved yet: run the same command again" in said.out
        again = [*TINY, *TOTAL, "--run", "mine", "--workers", "1"]
    else:
        assert checkpoint.load(Path("mine")).step in (PER_ITERATION, 2 * PER_ITERATION)
        again = ["--resume", "mine"]
    assert main(again) == 0
    assert_same_run("mine", unfaulted)


def test_a_second_ctrl_c_from_outside(tmp_path: Path) -> None:
    """The whole session gets it, as in a terminal, in an iteration that would last for minutes.

    Workers get it as well, while they start up.
    The wait is bounded generously; unloaded it takes some tenths of a second.
    """
    long = ["--trials", "400", "--episodes", "20", "--horizon", "500"]
    with nothing_left() as programs:
        programs.append(start(*TINY, *long, "--run", "mine", "--workers", "2", cwd=tmp_path))
        output = programs[0].stdout
        assert output is not None
        assert any(line.startswith("  run") for line in output)
        while len(session(programs[0].pid)) < 3:
            time.sleep(0.05)
        os.killpg(programs[0].pid, signal.SIGINT)
        assert any(line.startswith("stopping") for line in output)
        os.killpg(programs[0].pid, signal.SIGINT)
        rest, _ = programs[0].communicate(timeout=20)
    assert programs[0].returncode == 75
    assert "Traceback" not in rest
    assert lines(tmp_path / "mine") == []


def test_killed_between_log_and_checkpoint(tmp_path: Path, unfaulted: Path) -> None:
    """SIGKILL of the program itself: no worker is left, each step is logged once after resuming."""
    seldom = ["--checkpoint-every", str(3 * PER_ITERATION)]
    more = ["--total-steps", "1000000"]
    with nothing_left() as programs:
        programs.append(
            start(*TINY, *more, *seldom, "--run", "mine", "--workers", "1", cwd=tmp_path)
        )
        wait_for_lines(tmp_path / "mine", 4, programs[0])
        os.kill(programs[0].pid, signal.SIGKILL)
        programs[0].communicate(timeout=60)
    run = tmp_path / "mine"
    saved = checkpoint.load(run).step
    goal = saved + 2 * PER_ITERATION
    assert main(["--resume", str(run), "--total-steps", str(goal)]) == 0
    steps = [line["step"] for line in lines(run)]
    assert steps == list(range(PER_ITERATION, goal + 1, PER_ITERATION))


def test_killed_while_a_worker_hangs(tmp_path: Path) -> None:
    """It never came to look at whether its owner was there, and stayed for ever."""
    hang = plan(tmp_path / "tokens", {"kind": "hang", "at": 3})
    options = [*TINY, "--total-steps", "1000000", "--workers", "1", "--run", "run"]
    with nothing_left() as programs:
        programs.append(start(*options, cwd=tmp_path, **hang))
        deadline = time.monotonic() + 120
        while not committed(tmp_path / "tokens"):
            assert time.monotonic() < deadline, "no worker hung"
            time.sleep(0.1)
        os.kill(programs[0].pid, signal.SIGKILL)


def test_a_signal_during_evaluation(unfaulted: Path, tmp_path: Path) -> None:
    """Code 75, no worker left, nothing written."""
    out = tmp_path / "result.json"
    long = ["--goals", "40", "--no-official", "--out", str(out)]
    with nothing_left() as programs:
        programs.append(start(str(unfaulted), *long, cwd=tmp_path, module="eval.evaluate"))
        output = programs[0].stdout
        assert output is not None
        assert any("ML1 test" in line for line in output)
        os.killpg(programs[0].pid, signal.SIGTERM)
        rest, _ = programs[0].communicate(timeout=60)
    assert programs[0].returncode == 75, rest
    assert "interrupted: nothing was written" in rest
    assert "Traceback" not in rest
    assert not out.exists()


def test_ctrl_c_during_evaluation(unfaulted: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """The same of the other signal, which this process sends itself."""
    before, original, out = children(), WorkerPool.run, tmp_path / "result.json"

    def run(self: WorkerPool, *args: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args, **options)

    monkeypatch.setattr(WorkerPool, "run", run)
    few = ["--goals", "2", "--no-official", "--workers", "1", "--out", str(out)]
    # A shell that starts the tests in the background has them ignore it.
    before_this = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert evaluate.main([str(unfaulted), *few]) == 75
    finally:
        signal.signal(signal.SIGINT, before_this)
    assert "interrupted: nothing was written" in capsys.readouterr().err
    assert children() <= before
    assert not out.exists()


def test_a_resume_elsewhere_is_told(unfaulted: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    """Other versions or CPU features void bit-exactness; nothing else is the matter."""
    run = tmp_path / "mine"
    subprocess.run(["cp", "-r", str(unfaulted), str(run)], check=True)
    here = {**verified_folder.environment(), "cpu": "riscv64", "torch": "9.9"}
    monkeypatch.setattr(verified_folder, "environment", lambda: here)
    with pytest.warns(UserWarning, match="not be bit-exact: (cpu|torch)") as warned:
        assert main(["--resume", str(run)]) == 0
    told = [str(w.message) for w in warned if "bit-exact" in str(w.message)]
    assert any("riscv64 here" in text for text in told)
    assert any("9.9 here" in text for text in told)
