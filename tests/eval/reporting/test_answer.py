"""One table for several benchmarks."""

import json
import math
from pathlib import Path

import pytest

from eval import report
from eval.reporting.answer import Benchmark, answer_figure, answer_table, benchmarks_of
from eval.reporting.runs import load_run
from tests.eval.made_up_runs import write_evaluation, write_stream_run, write_training_run

FORK = Benchmark("FORK", "memory index", 0.0, 1.0, {"none": (0.0,), "short": (0.9, 1.0)})
ML1 = Benchmark("ML1", "success", math.nan, 0.95, {"short": (0.5, 0.6, 0.7)})


def write_suite_run(folder: Path, seed: int, success: float) -> None:
    write_training_run(folder, seed)
    config = json.loads((folder / "config.json").read_text())
    config |= {"suite": "ML1", "task": "reach-v3", "tasks": []}
    (folder / "config.json").write_text(json.dumps(config))
    write_evaluation(folder, 1_000_000, success, policies=("untrained", "scripted"))


def test_each_benchmark_is_a_row_with_its_bounds_and_each_arm_a_column() -> None:
    columns = answer_table([FORK, ML1]).columns
    assert columns["benchmark"] == ["FORK", "ML1"]
    assert columns["floor"] == ["0.00", "–"]
    assert columns["ceiling"] == ["1.00", "0.95"]
    assert columns["none"] == ["0.00 (1 seed)", "–"]
    assert columns["short"][0].startswith("0.95 [0.31, 1.59] (2 seeds)")
    assert columns["short"][1].endswith("(3 seeds)")


def test_each_benchmark_has_a_panel_and_each_known_bound_a_line() -> None:
    figure = answer_figure([FORK, ML1])
    assert [panel.get_title() for panel in figure.axes] == ["FORK", "ML1"]
    dotted = [line for line in figure.axes[1].lines if line.get_linestyle() == ":"]
    assert not dotted


def test_runs_of_several_suites_make_the_table_of_benchmarks(tmp_path, capsys) -> None:
    for seed, success in ((1, 0.5), (2, 0.7)):
        write_suite_run(tmp_path / f"suite{seed}", seed, success)
        write_stream_run(tmp_path / f"stream{seed}", "hierarchical", seed, keeps=0.5)
    folders = [str(path) for path in sorted(tmp_path.iterdir())]
    out = tmp_path / "out"
    assert report.main([*folders, "--out", str(out)]) == 0
    assert "which memory buys what" in (out / "report.md").read_text()
    assert (out / "figures" / "answer.png").stat().st_size > 1000
    found = {
        one["name"]: one for one in json.loads((out / "report.json").read_text())["benchmarks"]
    }
    assert set(found) == {"reach-v3", "custom"}
    assert found["reach-v3"]["arms"]["short"] == pytest.approx([0.5 - 0.1 / 3, 0.7 - 0.1 / 3])
    assert found["reach-v3"]["ceiling"] is not None
    assert set(found["custom"]["arms"]) == {"hierarchical"}


def test_streams_of_one_name_with_other_tasks_are_rows_of_their_own(tmp_path) -> None:
    others = ("reach-v3", "push-v3", "door-close-v3")
    write_stream_run(tmp_path / "a", "short", 1)
    write_stream_run(tmp_path / "b", "short", 1, tasks=others)
    write_stream_run(tmp_path / "c", "hierarchical", 2, tasks=others)
    folders = [str(tmp_path / name) for name in "abc"]
    assert report.main([*folders, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "report.json").read_text())["benchmarks"]
    assert {one["name"]: set(one["arms"]) for one in found} == {
        "custom: reach-v3, drawer-close-v3, door-close-v3": {"short"},
        "custom: reach-v3, push-v3, door-close-v3": {"short", "hierarchical"},
    }


def test_seeds_that_are_not_evaluated_are_left_out_by_name(tmp_path, capsys) -> None:
    for seed in (1, 2, 3):
        write_suite_run(tmp_path / f"suite{seed}", seed, 0.5)
        write_stream_run(tmp_path / f"stream{seed}", "hierarchical", seed, keeps=0.5)
    for path in (tmp_path / "suite2" / "results").glob("eval-*"):
        path.unlink()
    folders = [str(path) for path in sorted(tmp_path.iterdir())]
    out = tmp_path / "out"
    assert report.main([*folders, "--out", str(out)]) == 0
    text = (out / "report.md").read_text()
    assert "short on reach-v3: seed 2 left out, not evaluated" in text
    assert "(2 seeds)" in text


def test_an_agent_that_begins_anew_in_each_phase_is_not_ranked(tmp_path) -> None:
    """At the end `single` knows the last task alone."""
    for arm in ("short", "single"):
        write_stream_run(tmp_path / arm, arm, 1, keeps=0.5)
    (found,) = benchmarks_of("custom", [load_run(tmp_path / arm) for arm in ("short", "single")])
    assert set(found.arms) == {"short"}


def test_traces_of_several_suites_need_no_evaluation(tmp_path, monkeypatch) -> None:
    write_suite_run(tmp_path / "a", 1, 0.5)
    write_training_run(tmp_path / "b")
    for path in (tmp_path / "a" / "results").glob("*.json"):
        path.unlink()
    monkeypatch.setattr(report, "lesion_parts", lambda groups: ["# Memory traces: lesions"])
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert report.main([*folders, "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "No run was evaluated" in text
    assert "# Memory traces: lesions" in text


def test_nothing_measured_is_told(tmp_path, capsys) -> None:
    write_suite_run(tmp_path / "a", 1, 0.5)
    for path in (tmp_path / "a" / "results").glob("*.json"):
        path.unlink()
    write_training_run(tmp_path / "b")
    with pytest.raises(SystemExit) as stopped:
        report.main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "nothing was evaluated" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
