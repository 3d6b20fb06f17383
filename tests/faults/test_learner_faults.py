"""Learners that share a run: together they are one run, and none outlives another by much."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from tests.faults.runs import (
    PER_ITERATION,
    TINY,
    assert_same_run,
    lines,
    nothing_left,
    session,
    start,
    wait_for_lines,
)
from train.run import checkpoint

ENDLESS = str(PER_ITERATION * 10_000)


def train(folder: Path, *argv: str) -> str:
    """Run the program to its end; what it said."""
    with nothing_left() as programs:
        programs.append(start(*argv, cwd=folder))
        said = programs[0].communicate(timeout=240)[0]
        assert programs[0].returncode == 0, said
    return said


def begin(folder: Path) -> subprocess.Popen[str]:
    """Two learners in the middle of a long run."""
    options = ("--total-steps", ENDLESS, "--run", "run", "--learners", "2")
    program = start(*TINY, *options, cwd=folder)
    wait_for_lines(folder / "run", 2, program)
    return program


def other(program: subprocess.Popen[str]) -> int:
    """The process of the second learner."""
    found = [
        pid
        for pid in session(program.pid)
        if pid != program.pid and b"train.rl2" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(found) == 1
    return found[0]


def assert_one_message(said: str, *parts: str) -> None:
    assert said.count("error:") == 1, said
    assert "Traceback" not in said, said
    for part in (*parts, "resume: python -m train.rl2 --resume"):
        assert part in said, said


def test_two_learners_run_the_trials_of_one(tmp_path: Path) -> None:
    """The first iteration's trials alike to the bit, and what is learnt from them nearly so."""
    total = ["--total-steps", str(2 * PER_ITERATION), "--evaluate-every", str(PER_ITERATION)]
    assert "2 learners" in train(tmp_path, *TINY, *total, "--run", "two", "--learners", "2")
    train(tmp_path, *TINY, *total, "--run", "one")
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert [row["step"] for row in two] == [PER_ITERATION, 2 * PER_ITERATION]
    assert one[0].keys() == two[0].keys()
    collected = [name for name in one[0] if name.startswith("train/")]
    assert [two[0][name] for name in collected] == [one[0][name] for name in collected]
    first, second = checkpoint.load(tmp_path / "one"), checkpoint.load(tmp_path / "two")
    for name, weight in first.tensors["agent"].items():
        torch.testing.assert_close(second.tensors["agent"][name], weight, rtol=1e-4, atol=1e-5)
    timing = [json.loads(t) for t in (tmp_path / "two" / "timing.jsonl").read_text().splitlines()]
    assert all(row["shared_megabytes"] > 0 for row in timing)


def test_a_killed_learner_ends_the_run(tmp_path: Path) -> None:
    with nothing_left() as programs:
        programs.append(begin(tmp_path))
        victim = other(programs[0])
        os.kill(victim, signal.SIGKILL)
        said = programs[0].communicate(timeout=60)[0]
    assert programs[0].returncode == 1
    assert_one_message(said, f"learner 1 (process {victim} on ", "died (exit status -9)")


@pytest.mark.slow
def test_a_stopped_learner_ends_the_run(tmp_path: Path) -> None:
    with nothing_left() as programs:
        programs.append(begin(tmp_path))
        victim = other(programs[0])
        os.kill(victim, signal.SIGSTOP)
        said = programs[0].communicate(timeout=60)[0]
    assert programs[0].returncode == 1
    assert_one_message(said, f"learner 1 (process {victim} on ", "does not answer for 15 s")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_without_the_first_learner_the_others_end(tmp_path: Path, number: int) -> None:
    """The second tells, as the first cannot; it has no folder, so it names none."""
    program = begin(tmp_path)
    second = other(program)
    os.kill(program.pid, number)
    until = time.monotonic() + 60
    while second in session(program.pid):
        assert time.monotonic() < until, "the second learner is still there"
        time.sleep(0.2)
    with nothing_left() as programs:
        programs.append(program)
        os.kill(program.pid, signal.SIGKILL)
        said = program.communicate(timeout=30)[0]
    assert_one_message(said, f"learner 0 (process {program.pid} on ", "does not answer for 15 s")


@pytest.mark.slow
def test_a_worker_that_fails_for_good_ends_all_learners(tmp_path: Path) -> None:
    """The error of a learner that is not the first is told by the first."""
    with nothing_left() as programs:
        programs.append(begin(tmp_path))
        until = time.monotonic() + 60
        while programs[0].poll() is None:
            assert time.monotonic() < until
            for pid in session(programs[0].pid):
                path = Path(f"/proc/{pid}/stat")
                parent = int(path.read_text().rpartition(")")[2].split()[1]) if path.exists() else 0
                if parent == other_or_none(programs[0]):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        said = programs[0].communicate(timeout=30)[0]
    assert programs[0].returncode == 1
    assert_one_message(said.replace("RuntimeWarning", ""), "learner 1 (process ", " failed: worker")


def other_or_none(program: subprocess.Popen[str]) -> int:
    try:
        return other(program)
    except (AssertionError, OSError):
        return -1


@pytest.mark.slow
def test_a_run_goes_on_bit_for_bit_and_on_another_number(tmp_path: Path) -> None:
    """SIGTERM is passed on, saved and resumed; on one learner it goes on and says what differs."""
    total = ["--total-steps", str(4 * PER_ITERATION), "--learners", "2"]
    train(tmp_path, *TINY, *total, "--run", "whole")
    with nothing_left() as programs:
        programs.append(start(*TINY, *total, "--run", "parts", cwd=tmp_path))
        wait_for_lines(tmp_path / "parts", 1, programs[0])
        os.killpg(programs[0].pid, signal.SIGTERM)
        said = programs[0].communicate(timeout=60)[0]
    assert programs[0].returncode in (0, 75), said
    train(tmp_path, "--resume", "parts")
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    more = ["--total-steps", str(5 * PER_ITERATION), "--learners", "1"]
    said = train(tmp_path, "--resume", "parts", *more)
    assert "resuming will not be bit-exact: the run had 2 learner(s) and now has 1" in said
    assert lines(tmp_path / "parts")[-1]["step"] == 5 * PER_ITERATION


@pytest.mark.slow
def test_torchrun_starts_a_killed_run_anew_from_its_checkpoint(tmp_path: Path) -> None:
    run, total = tmp_path / "run", 40 * PER_ITERATION
    arguments = ["--nnodes", "1", "--nproc-per-node", "2", "--max-restarts", "2"]
    arguments += ["-m", "--", "train.rl2", *TINY, "--total-steps", str(total), "--run", "run"]
    module = "torch.distributed.run"
    program = start(*arguments, "--resume-or-start", cwd=tmp_path, module=module)
    wait_for_lines(run, 2, program)
    learners = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/environ")
        if b"\0RANK=1\0" in (b"\0" + _read(path))
        and str(tmp_path) in os.readlink(path.parent / "cwd")
        and b"train.rl2" in _read(path.parent / "cmdline").split(b"\0")
    ]
    os.kill(min(learners), signal.SIGKILL)
    said = program.communicate(timeout=240)[0]
    assert program.returncode == 0, said
    steps = [row["step"] for row in lines(run)]
    assert steps == list(range(PER_ITERATION, total + 1, PER_ITERATION))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
