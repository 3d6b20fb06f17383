"""Agents of other people's stand beside our runs in one table."""

import json
from pathlib import Path

import pytest

from eval import report
from eval.reporting.outside import load_result
from tests.eval.made_up_runs import TASKS, write_evaluation, write_training_run
from tests.eval.memory_tests.test_fork_report import write_fork_run
from train.run.run_files import RunError

AGENT = "my_module:load"


def made_an_agents(path: Path, policy: str, **settings: object) -> Path:
    """Turn a result of a run into one that ``eval.evaluate --agent`` would write."""
    values = json.loads(path.read_text())
    facts = {"agent": AGENT, "task": None, "tasks": [], "test_tasks": [], "goals_seed": 1}
    values["settings"] |= {**facts, "episodes": 4, "horizon": 50, **settings}
    values["checkpoint"]["step"] = 0
    values["policies"] = {policy: next(iter(values["policies"].values()))}
    path.write_text(json.dumps(values))
    return path


@pytest.fixture
def result(tmp_path: Path) -> Path:
    (tmp_path / "theirs").mkdir()
    path = write_evaluation(tmp_path / "theirs", 0, 0.4)
    return made_an_agents(path, AGENT, suite="custom", tasks=list(TASKS))


def test_an_agent_has_a_column_beside_our_arms(tmp_path: Path, result: Path) -> None:
    write_training_run(tmp_path / "ours")
    write_evaluation(tmp_path / "ours", 1_000_000, 0.8)
    out = tmp_path / "out"
    more = ["--contrast", "short:my_module-load", "--out", str(out)]
    assert report.main([str(tmp_path / "ours"), str(result), *more]) == 0
    text = (out / "report.md").read_text()
    assert "| mean over tasks | short | my_module-load |" in text
    assert "| success, last episode, % | 77 | 37 |" in text
    assert "short − my_module-load | success, last episode, % | +40" in text
    assert "| my_module-load | 1 | – | – | – | yes |" in text
    assert report.main([str(result), "--out", str(tmp_path / "alone")]) == 0
    assert "# Learning curves" not in (tmp_path / "alone" / "report.md").read_text()


def test_an_agent_has_a_row_beside_our_arms_on_fork(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        write_fork_run(tmp_path / name, 1, 0.9)
    path = tmp_path / "theirs" / "results" / "eval-test-1000.json"
    made_an_agents(path, "agent", suite="FORK-reach-2")
    out = tmp_path / "out"
    assert report.main([str(tmp_path / "ours"), str(path), "--out", str(out)]) == 0
    text = (out / "report.md").read_text()
    assert "| short | 1 | 0.90 | 0.90 |" in text
    assert "| my_module-load | 1 | 0.90 | 0.90 |" in text
    with pytest.raises(SystemExit):  # it said nothing, and had no contrast
        report.main([str(tmp_path / "ours"), "--contrast", "short:none", "--out", str(out)])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"agent": 3}, "settings.agent must be a text"),
        ({"suite": "ML11"}, "unknown suite"),
        ({"goals_seed": -1}, "goals_seed must be a whole number"),
        ({"tasks": "x"}, "settings.tasks must be"),
    ],
)
def test_a_strangers_result_is_checked(result: Path, change: dict, says: str) -> None:
    values = json.loads(result.read_text())
    values["settings"] |= change
    result.write_text(json.dumps(values))
    with pytest.raises(RunError, match=says):
        load_result(result)


def test_a_result_of_a_run_is_no_agents(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="name its run folder"):
        load_result(write_evaluation(tmp_path, 1, 0.5))
