"""``python -m train.maml`` as a program: a run, its resume, its evaluation, and bad input."""

import json
from pathlib import Path

import pytest

from eval import evaluate as evaluation
from eval.api import evaluate, evaluate_fork
from train import maml, rl2
from train.run import checkpoint

TINY = [
    *("--horizon", "8", "--trials", "2"),
    *("--hidden", "8", "--encoder", "8", "--evaluate-every", "0", "--train-goals", "50"),
    *("--workers", "1", "--checkpoint-every", "64"),
]
REACH = ["--suite", "ML1", "--task", "reach-v3"]
FEW = ["--rollouts", "2", "--episodes", "4"]
LOOK = {"goals": 2, "horizon": 10, "workers": 1, "random": False, "scripted": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maml") / "run"
    assert maml.main([*REACH, *TINY, *FEW, "--total-steps", "192", "--run", str(folder)]) == 0
    return folder


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_logs_what_maml_says(run: Path) -> None:
    told = lines(run)[-1]
    assert told["step"] == 192
    assert {"maml/kl", "maml/improvement", "train/success_by_episode/4"} <= told.keys()
    assert not [name for name in told if name.startswith("ppo/")]


@pytest.mark.parametrize("outer", ["trpo", "ppo"])
def test_a_resumed_run_equals_an_uninterrupted_one(run: Path, tmp_path: Path, outer: str) -> None:
    command = [*REACH, *TINY, *FEW, "--outer", outer]
    whole = run
    if outer == "ppo":
        whole = tmp_path / "whole"
        assert maml.main([*command, "--total-steps", "192", "--run", str(whole)]) == 0
    half = tmp_path / "half"
    assert maml.main([*command, "--total-steps", "64", "--run", str(half)]) == 0
    assert maml.main(["--resume", str(half), "--total-steps", "192"]) == 0
    assert lines(half) == lines(whole)
    one, other = (checkpoint.load(folder).tensors for folder in (half, whole))
    assert all(a.equal(other[g][n]) for g, tensors in one.items() for n, a in tensors.items())


def test_evaluation_shows_before_and_after_each_batch(run: Path) -> None:
    found = evaluate(run, **LOOK, untrained=False)
    assert found.policies["stochastic"].outcomes.success.shape == (1, 2, 3)
    again = evaluate(run, **LOOK, untrained=False)
    returns = [e.policies["stochastic"].outcomes.returns for e in (found, again)]
    assert (returns[0] == returns[1]).all()
    assert (returns[0] > 0).all()


def test_fork_is_trained_and_measured_attempt_by_attempt(tmp_path: Path) -> None:
    folder = tmp_path / "fork"
    options = [*TINY, "--total-steps", "96"]
    assert maml.main(["--suite", "FORK-reach-2", *options, "--run", str(folder)]) == 0
    found = evaluate_fork(folder, goals=2, workers=1, preset="quick", horizon=10, forgetting=True)
    assert {name: m.outcomes.choices.shape for name, m in found.policies.items()} == {
        "agent": (2, 4),
        "forgetting": (2, 4),
    }


def test_the_program_evaluates(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    few = ["--preset", "quick", "--goals", "1", "--horizon", "10", "--workers", "1"]
    assert evaluation.main([str(run), *few, "--out", str(out)]) == 0
    assert json.loads(out.read_text())["settings"]["episodes"] == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--episodes", "5", "--rollouts", "2"], "two or more batches of --rollouts 2: try 6"),
        (["--episodes", "2", "--rollouts", "2"], "two or more batches of --rollouts 2: try 4"),
        (["--core", "gru"], "--core, --act and --slopes are for agents that remember"),
        (["--delta", "0"], "--delta must be a positive number below 1"),
        (["--suite", "RECALL-code-4"], "--suite RECALL-code-4 needs a memory"),
    ],
)
def test_bad_input_is_refused(options: list[str], told: str, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "run"
    suite = [] if "--suite" in options else REACH
    with pytest.raises(SystemExit) as refused:
        maml.main([*suite, *options, "--run", str(folder)])
    assert refused.value.code == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not folder.exists()


def test_rl2_says_where_maml_is(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        rl2.main([*REACH, "--algorithm", "maml", "--run", str(tmp_path / "run")])
    assert "use python -m train.maml" in " ".join(capsys.readouterr().err.split())


def test_evaluation_refuses_what_is_for_memory(run: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        evaluation.main([str(run), "--repeating"])
    assert "--repeating: not for a run of train.maml" in " ".join(capsys.readouterr().err.split())
