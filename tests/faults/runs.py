"""Tiny runs of the real program, and the sabotage of their workers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.run import checkpoint

ROOT = Path(__file__).resolve().parents[2]
SABOTEUR = Path(__file__).parent / "saboteur"
PER_ITERATION = 40  # 4 trials × 2 episodes × 5 steps
TINY = [
    *("--suite", "ML1", "--task", "reach-v3", "--train-goals", "6", "--trials", "4"),
    *("--lanes", "2", "--episodes", "2", "--horizon", "5", "--hidden", "8", "--encoder", "8"),
    *("--critic", "8", "--bptt", "4", "--minibatches", "2", "--epochs", "2", "--device", "cpu"),
    *("--evaluate-every", "0", "--video-every", "0", "--checkpoint-every", str(PER_ITERATION)),
]


def plan(folder: Path, *faults: dict[str, Any], **more: Any) -> dict[str, str]:
    """Environment variables that make workers started under them commit `faults`.

    Args:
        folder: an empty folder; each fault committed leaves a file in it.
        faults: ``kind`` (see saboteur/sitecustomize.py), ``at`` (the step of a worker process,
            from 1; without it any), ``when`` (a file that must exist) and ``times`` (how often it
            is committed in all, once by default).
        more: ``rate`` and ``kinds`` of random faults.
    """
    folder.mkdir(exist_ok=True)
    text = json.dumps({"folder": str(folder), "faults": faults, **more})
    return {"STRATA_SABOTAGE": text, "PYTHONPATH": f"{SABOTEUR}{os.pathsep}{ROOT}"}


def committed(folder: Path) -> int:
    """How many faults of the plan, and random ones, have happened."""
    return len(list(folder.iterdir()))


def lines(run: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(one: str | Path, other: str | Path) -> None:
    """Weights, optimiser, normaliser, counters and every metric alike, to the last bit."""
    first, second = checkpoint.load(Path(one)), checkpoint.load(Path(other))
    assert first.state == second.state
    assert first.tensors.keys() == second.tensors.keys()
    for group, tensors in first.tensors.items():
        assert tensors.keys() == second.tensors[group].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, second.tensors[group][name]), f"{group}.{name}"
    assert lines(one) == lines(other)


def assert_finite(run: str | Path) -> None:
    """Not one number of the last checkpoint is NaN or infinite."""
    for group, tensors in checkpoint.load(Path(run)).tensors.items():
        for name, tensor in tensors.items():
            assert np.isfinite(tensor.double().numpy()).all(), f"{group}.{name}"


def start(
    *argv: str,
    cwd: Path,
    module: str = "train.rl2",
    stdout: Any = subprocess.PIPE,
    stderr: Any = subprocess.STDOUT,
    **environment: str,
) -> subprocess.Popen[str]:
    """Start a program in a session of its own, as a terminal or a batch system would."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *argv],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
        preexec_fn=heed_signals,
    )


def heed_signals() -> None:
    """What a script runs in its background ignores Ctrl-C, and under nohup a lost terminal."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def children() -> set[int]:
    """Living child processes of this one, zombies not counted."""
    found = set()
    for folder in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # threads and processes may end
            for child in map(int, (folder / "children").read_text().split()):
                if "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
                    found.add(child)
    return found


def session(leader: int) -> list[int]:
    """Living processes of the session that `leader` started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = path.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(sid) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


@contextmanager
def nothing_left(seconds: float = 20.0) -> Iterator[list[subprocess.Popen[str]]]:
    """Programs put into the list must end, and their workers with them; /dev/shm stays as it was.

    Raises:
        AssertionError: something was still there after `seconds`; it is killed.
    """
    before, programs = set(os.listdir("/dev/shm")), []
    try:
        yield programs
    finally:
        deadline = time.monotonic() + seconds
        left: list[int] = []
        for program in programs:
            while (left := session(program.pid)) and time.monotonic() < deadline:
                time.sleep(0.1)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            program.wait()
            assert not left, f"processes {left} are still there"
    assert set(os.listdir("/dev/shm")) <= before


def wait_for_lines(run: Path, count: int, program: subprocess.Popen[str]) -> None:
    """Until the run has logged `count` iterations."""
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or len(lines(run)) < count:
        assert program.poll() is None, program.communicate()[0]
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.05)
