"""Runs on a FORK suite become one table of arms, with floors, ceilings and learning curves."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from agents.rl2 import AgentConfig
from envs.memory_tests.fork import FORKS
from eval import curves, report
from eval.goals.metrics import t_interval
from eval.memory_tests.fork_metrics import Ceilings
from eval.reporting import fork_learning
from eval.reporting.fork_learning import steps_until_learnt
from eval.reporting.runs import load_run
from train.run.config import Config, write_config
from train.run.run_files import RunError


def write_fork_run(folder: Path, seed: int, index: float, arm: str = "short") -> None:
    """A run of made-up numbers with one evaluation, whose success after attempt 1 fits `index`."""
    config = Config(suite="FORK-reach-2", arm=arm, seed=seed, run=folder, total_steps=1000,
                    episodes=4, horizon=50, trials=2, agent=AgentConfig(act="posterior"),
                    ).resolved(1)  # type: ignore[arg-type]  # fmt: skip
    (folder / "results").mkdir(parents=True)
    write_config(config)
    rows = [
        {"step": 100 * n, **{f"train/success_by_episode/{e}": n / 10 for e in (1, 2, 3, 4)}}
        for n in range(1, 11)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def policy(index: float) -> dict[str, dict]:
        later = [0.5 + index / 2, 0.0, 1.0]
        unknown = [None, None, None]
        return {"summary": {
            "memory_index": [index, 0.0, 1.0], "success": [[0.5, 0.0, 1.0], later, later, later],
            "win_stay": [1.0, 0.9, 1.0], "lose_shift": unknown, "perseveration": unknown,
        }}  # fmt: skip

    values = {
        "kind": "strata fork evaluation",
        "checkpoint": {"step": 1000},
        "settings": {"split": "test", "goals": 200},
        "policies": {"agent": policy(index), "forgetting": policy(0.0), "random": policy(-1.0)},
    }
    (folder / "results" / "eval-test-1000.json").write_text(json.dumps(values))


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    for seed, index in ((1, 0.9), (2, 1.0)):
        write_fork_run(tmp_path / f"short{seed}", seed, index)
    write_fork_run(tmp_path / "none1", 1, 0.0, arm="none")
    return [str(tmp_path / name) for name in ("short1", "short2", "none1")]


def test_a_report_has_arms_floors_and_ceilings(runs: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert report.main([*runs, "--out", str(out)]) == 0
    text = (out / "report.md").read_text()
    rows = {
        row.split(" | ")[0].removeprefix("| "): row
        for row in text.split("# Learning")[0].split("\n")
    }
    low, high = 0.95 - 12.706 * 0.05, 0.95 + 12.706 * 0.05
    assert f"| 2 | 0.95 [{low:.2f}, {high:.2f}] | 0.90  1.00 | 0.50" in rows["short"]
    assert "| 1 | 0.00 | 0.00 | 0.50 |" in rows["none"]
    assert "short, forgetting" in rows
    assert "| 1 | -1.00 | -1.00 |" in rows["random"]  # the same trials, whichever run stands beside
    assert "| – | 1.00 | – | 0.50 | 1.00 | 1.00 | 1.00 |" in rows["Bayes (exact)"]
    assert "| – | 0.00 | – | 0.50 | 0.50 |" in rows["no memory (at most)"]
    assert "Memory index on unseen trials: short 0.95" in text
    assert (out / "figures" / "learning.png").exists()
    measures = json.loads((out / "report.json").read_bytes())["measures"]["test"]
    assert measures["short"]["memory_index"][0]["seeds"] == [0.9, 1.0]


def test_curves_of_attempts(runs: list[str], tmp_path: Path) -> None:
    assert curves.main([*runs, "--out", str(tmp_path / "curves.png")]) == 0
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_a_damaged_evaluation_is_named(runs: list[str]) -> None:
    path = Path(runs[0]) / "results" / "eval-test-1000.json"
    path.write_text(
        path.read_text().replace('"memory_index": [0.9, 0.0, 1.0]', '"memory_index": 3')
    )
    with pytest.raises(RunError, match="memory_index must be"):
        load_run(Path(runs[0]))


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("policies",), [{}], "policies must be a JSON object"),
        (("policies", "agent", "summary", "success"), {"0": [0.5, 0, 1]}, "must be a list"),
        (("policies", "agent", "summary", "success"), [], "an interval for each attempt"),
        (("policies", "agent", "summary", "win_stay"), {"a": 1, "b": 1, "c": 1}, "must be a list"),
        (("policies", "agent", "summary", "memory_index"), [1e300, 0, 1], "must be a number"),
        (("settings", "goals"), 10**30, "settings.goals must be a whole number"),
    ],
)
def test_a_forged_evaluation_is_told(runs: list[str], place, value, says: str) -> None:
    path = Path(runs[0]) / "results" / "eval-test-1000.json"
    values = json.loads(path.read_text())
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(values))
    with pytest.raises(RunError) as raised:
        load_run(Path(runs[0]))
    assert says in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("suite", ["FORK-reach-2-delay999999999", "FORK-reach-2-switch150"])
def test_a_suite_that_cannot_be_ends_every_program(runs, capsys, tmp_path, suite: str) -> None:
    path = Path(runs[0]) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "suite": suite}))
    for program in (report, curves):
        with pytest.raises(SystemExit) as stopped:
            program.main([runs[0], "--out", str(tmp_path / "out.png")])
        assert stopped.value.code == 2
        assert f"{path}: unknown suite {suite!r}" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_students_interval() -> None:
    found = t_interval([1.0, 2.0, 3.0, float("nan")])
    assert found.value == 2
    assert found.high - found.value == pytest.approx(4.3027 / 3**0.5, abs=1e-3)
    assert t_interval([1.0]).low != t_interval([1.0]).low


def test_how_soon_it_was_learnt(tmp_path: Path) -> None:
    """The first step at which three iterations in a row have the index on average."""
    write_fork_run(tmp_path / "run", 1, 0.9)
    run, fork = load_run(tmp_path / "run"), FORKS["FORK-reach-2"]
    index = Ceilings.of(2, 4, 0.0).index
    assert [round(index([x / 10] * 4), 1) for x in (8, 9, 10)] == [0.6, 0.8, 1.0]
    assert math.isnan(steps_until_learnt(run, fork))  # .8 on average at the end
    longer = replace(run, rows=[*run.rows, {**run.rows[-1], "step": 9999}])
    assert steps_until_learnt(longer, fork) == 9999
    shorter = replace(longer, config=replace(longer.config, episodes=2))
    assert steps_until_learnt(shorter, fork) == 9999  # by its own attempts' ceiling
    rows = fork_learning.learning_table({"short": [longer, run]}, fork).rows()
    assert rows == [("short", "1 of 2", "10", "–", "–")]  # nothing tells of seconds
    assert fork_learning.learning_table({"short": [replace(run, seconds=0.0)]}, fork).rows()


def test_other_trials_are_no_result_of_the_run(runs: list[str], tmp_path: Path) -> None:
    """A longer delay, asked for by ``--suite``, stays out of the table; the own suite does not."""
    for name, suite in (("own", "FORK-reach-2"), ("away", "FORK-reach-2-delay200")):
        source = Path(runs[0]) / "results" / "eval-test-1000.json"
        values = json.loads(source.read_text())
        values["settings"]["suite"] = suite
        (source.parent / f"eval-test-1000-{name}.json").write_text(json.dumps(values))
    assert sorted(load_run(Path(runs[0])).forks) == [
        "eval-test-1000-own.json",
        "eval-test-1000.json",
    ]
