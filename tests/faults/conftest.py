"""Runs in a folder of their own, on benchmarks of six goals, and one of them undisturbed."""

from pathlib import Path

import metaworld
import pytest

from tests.faults.runs import PER_ITERATION, TINY
from tests.lent import lending
from train.rl2 import main

ITERATIONS = 4


@pytest.fixture
def few_goals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder to work in, and suites that are built at once."""
    monkeypatch.setattr(metaworld, "_N_GOALS", 6)
    monkeypatch.setattr("train.run.board._await_new_second", lambda _: None)  # TensorBoard's affair
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def unfaulted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `ITERATIONS` iterations that nothing happened to."""
    run = tmp_path_factory.mktemp("unfaulted") / "run"
    with pytest.MonkeyPatch.context() as patch, lending():
        patch.setattr(metaworld, "_N_GOALS", 6)
        total = ["--total-steps", str(ITERATIONS * PER_ITERATION)]
        assert main([*TINY, *total, "--run", str(run), "--workers", "1"]) == 0
    return run
