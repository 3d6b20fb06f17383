"""Whatever happens to its workers, a run ends with the parameters of the run nothing happened to.

Faults come from within the worker processes (saboteur/sitecustomize.py), at a given step; each test
checks that they did happen. `tests/envs/pool/test_pool_trouble.py` does it to the pool alone.
"""

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs.pool.pool import WorkerPool
from tests.faults.runs import (
    PER_ITERATION,
    TINY,
    assert_finite,
    assert_same_run,
    children,
    committed,
    lines,
    plan,
)
from train import loop, rl2
from train.rl2 import main
from train.run import checkpoint

pytestmark = pytest.mark.usefixtures("few_goals")
TOTAL = ["--total-steps", str(4 * PER_ITERATION)]


@pytest.fixture
def sabotaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, list[str]]]:
    """Runs the training program in this process with a sabotaged worker, or several."""

    def run(*faults: dict[str, Any], stall: float = 120, workers: int = 1) -> tuple[int, list[str]]:
        for name, value in plan(tmp_path / "tokens", *faults).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(rl2, "WorkerPool", functools.partial(WorkerPool, stall_seconds=stall))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            code = main([*TINY, *TOTAL, "--run", "mine", "--workers", str(workers)])
        return code, [str(warning.message) for warning in caught]

    return run


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("kill", "the process died (exit status -9)"),
        ("kill all", "the process died (exit status -9)"),
        ("hang", "no step for 8 s"),
        ("raise", "OddError: sabotage number 7"),
    ],
)
def test_the_run_is_the_unfaulted_run(sabotaged, unfaulted, tmp_path, kind: str, says: str) -> None:
    """In the middle of the second episode of a block; the warning names the place."""
    fault = {"kind": kind, "at": 14}  # two trials step in turn: step 1 of episode 2
    how = {"hang": {"stall": 8}, "kill all": {"workers": 2}}.get(kind, {})
    code, warned = sabotaged(fault, **how)
    assert code == 0
    assert committed(tmp_path / "tokens") == 1
    assert_same_run("mine", unfaulted)
    parts = (says, "worker ", "task reach-v3", "goal ", "episode 2, step 1", "replaced")
    assert any(all(part in text for part in parts) for text in warned), warned


def test_a_worker_killed_between_steps(sabotaged, unfaulted, monkeypatch) -> None:
    """While it waits for work: between two iterations."""
    original, pids = loop.collect, []

    def collect(pool: WorkerPool, *args: Any, **options: Any) -> Any:
        pids.append(pool._pool[0].popen.pid)
        if len(pids) == 3:
            pool._pool[0].popen.kill()
            pool._pool[0].popen.wait()
        return original(pool, *args, **options)

    monkeypatch.setattr(loop, "collect", collect)
    assert sabotaged(workers=2)[0] == 0
    assert pids[0] == pids[2] != pids[3]
    assert_same_run("mine", unfaulted)


@pytest.mark.parametrize("kind", ["kill", "raise"])
def test_beyond_the_bound_of_tries(sabotaged, monkeypatch, tmp_path, capsys, kind: str) -> None:
    """From the second iteration on no worker survives a step.

    Worker and place are named, the checkpoint is kept, nothing is left running.
    """
    original, calls, armed = loop.collect, [], tmp_path / "armed"

    def collect(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            armed.touch()
        return original(*args, **options)

    monkeypatch.setattr(loop, "collect", collect)
    shared, before = set(os.listdir("/dev/shm")), children()
    code, _ = sabotaged({"kind": kind, "when": str(armed), "times": 99})
    assert code == 1
    assert children() <= before
    assert set(os.listdir("/dev/shm")) <= shared
    said = capsys.readouterr().err
    for part in ("error: worker ", "(try 3)", "task reach-v3", "goal ", "episode 1, step 0"):
        assert part in said
    assert "resume: python -m train.rl2 --resume mine" in said
    assert checkpoint.load(Path("mine")).step == PER_ITERATION


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("blow up", "MuJoCo warned of unstable physics"),
        ("nan reward", "the reward is nan"),
        ("inf obs", "input 5 is inf"),
    ],
)
def test_a_spoilt_simulation(sabotaged, tmp_path: Path, kind: str, says: str) -> None:
    """Named, counted, kept out of weights and normaliser; MuJoCo writes no log of its own."""
    code, warned = sabotaged({"kind": kind, "at": 14})
    assert code == 0
    assert committed(tmp_path / "tokens") == 1
    (text,) = [text for text in warned if "physics fault" in text]
    assert says in text
    for part in ("task reach-v3", "goal ", "episode 2, step 1"):
        assert part in text
    assert sum(line["train/physics_faults"] for line in lines("mine")) == 1
    assert [line["step"] for line in lines("mine")] == [40, 80, 120, 160]
    seen = checkpoint.load(Path("mine")).tensors["agent"]["encoder.normaliser.count"].item()
    assert seen == 15 * 10  # all trials but one
    assert_finite("mine")
    assert not list(tmp_path.rglob("MUJOCO_LOG.TXT"))
