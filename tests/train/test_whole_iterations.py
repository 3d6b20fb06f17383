"""Iterations are whole: what is asked for between two of them is rounded up, and told."""

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.faults.runs import TINY
from tests.train.test_continual import TINY as STREAM
from tests.train.test_maml import FEW, REACH
from tests.train.test_maml import TINY as MAML
from tests.train.test_train_api import TINY as CONFIG
from train import continual, maml, many, rl2, sweep
from train.api import train
from train.run.config import Config

TOLD = "is rounded up to {}: whole iterations of {} steps"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def stored(run: str) -> tuple[int, int]:
    """Total of the configuration, and steps of the log."""
    log = Path(run, "metrics.jsonl").read_text().splitlines()
    total = json.loads(Path(run, "config.json").read_text())["total_steps"]
    return total, json.loads(log[-1])["step"]


@pytest.mark.parametrize(
    ("program", "options", "told", "total"),
    [
        (rl2, [*TINY, "--total-steps", "5"], "--total-steps 5 " + TOLD.format(40, 40), 40),
        (rl2, [*TINY, "--total-steps", "41"], "--total-steps 41 " + TOLD.format(80, 40), 41),
        (
            maml,
            [*REACH, *MAML, *FEW, "--total-steps", "1"],
            "--total-steps 1 " + TOLD.format(64, 64),
            64,
        ),
        (
            continual,
            [*STREAM, "--phase-steps", "7"],
            "--phase-steps 7 " + TOLD.format(30, 30),
            90,
        ),
    ],
    ids=["below one", "between two", "maml", "phases"],
)
def test_rounded_up_and_told(program, options, told, total, capsys) -> None:
    """It trained 20,000 steps where 500 were asked for, and said 20000/500."""
    assert program.main([*options, "--workers", "1", "--run", "run"]) == 0
    said = capsys.readouterr().out
    assert f"  note       {told}\n" in said
    trained = -(-total // 40) * 40 if program is rl2 else total
    assert stored("run") == (total, trained)
    assert f"{trained:,}/{total:,}" not in said or trained == total


def test_whole_iterations_are_not_told(capsys) -> None:
    assert rl2.main([*TINY, "--total-steps", "40", "--workers", "1", "--run", "run"]) == 0
    assert "rounded up" not in capsys.readouterr().out
    assert rl2.main(["--resume", "run", "--total-steps", "5"]) == 0
    assert stored("run") == (40, 40)


def test_from_python(capsys) -> None:
    done = train(dataclasses.replace(CONFIG, total_steps=3))
    assert (done.finished, done.steps) == (True, 40)
    assert "--total-steps 3 " + TOLD.format(40, 40) in capsys.readouterr().out
    assert Config(total_steps=500).resolved(10).total_steps == 20_000


def test_many_runs_tell_it_once(monkeypatch, capsys) -> None:
    monkeypatch.setattr(many, "train_all", lambda *_, **__: None)
    options = ["--suite", "ML1", "--task", "reach-v3", "--total-steps", "500"]
    assert many.main(["--arms", "none", "short", "--seeds", "1", "2", "--", *options]) == 0
    told = "note: --total-steps 500 " + TOLD.format("20,000", "20,000")
    assert capsys.readouterr().out.count(told) == 1
    runs = many.plan(many.Settings(arms=("none",), seeds=(1,)), options)
    assert [run.total for run in runs] == [20_000]


@pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
def test_a_search_tells_it(capsys) -> None:
    settings = sweep.Settings(param=("clip:linear:0.1:0.3",))
    rest = ["--suite", "ML1", "--task", "reach-v3", "--total-steps", "30001"]
    assert sweep.checked(settings, rest)[1] == 40_000
    told = "note: --total-steps 30,001 " + TOLD.format("40,000", "20,000")
    assert capsys.readouterr().out.count(told) == 1
