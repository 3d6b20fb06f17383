"""The report: self-contained, complete, and refusing what it cannot compare."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from eval import continual, report
from eval.reporting.figures import band, on_grid, ordered
from eval.reporting.report_writer import Page, Table
from eval.reporting.runs import Run
from eval.reporting.tables import evaluation_table
from tests.eval.made_up_runs import write_stream_run, write_training_run


@pytest.fixture(scope="module")
def stream_report(tmp_path_factory) -> tuple[Path, list[str]]:
    base = tmp_path_factory.mktemp("stream")
    folders = []
    for arm, keeps in (("short", 0.05), ("hierarchical", 0.9)):
        for seed in (1, 2):
            write_stream_run(base / f"{arm}-{seed}", arm, seed, keeps=keeps)
            folders.append(str(base / f"{arm}-{seed}"))
    write_stream_run(base / "single", "single", cycles=1)
    folders.append(str(base / "single"))
    assert report.main([*folders, "--out", str(base / "out")]) == 0
    return base / "out", folders


def test_the_page_needs_no_other_file(stream_report) -> None:
    page = (stream_report[0] / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("data:image/png;base64,") == 4
    assert page.rstrip().endswith("</html>")


def test_markdown_points_at_pictures_that_are_there(stream_report) -> None:
    out = stream_report[0]
    pictures = re.findall(r"\]\((.+?)\)", (out / "report.md").read_text())
    assert len(pictures) == 4
    for picture in pictures:
        assert (out / picture).read_bytes()[:4] == b"\x89PNG"


def test_all_that_was_promised_is_in_it(stream_report) -> None:
    text = (stream_report[0] / "report.md").read_text()
    for words in (
        "hierarchical − short ", "no run of cascade", "policy parameters", "wall-clock",
        "every seed", "Savings", "Forward transfer, raw", "episodes to 0.5", "Forgetting",
    ):  # fmt: skip
        assert words in text, words


def test_its_numbers_are_those_of_the_metrics(stream_report) -> None:
    values = json.loads((stream_report[0] / "report.json").read_bytes())
    metrics = values["metrics"]
    assert metrics["forgetting"]["short"]["interval"][0] > 0.3
    gap = [
        c["difference"]["interval"][0]
        for c in values["contrasts"]
        if c["contrast"] == ["hierarchical", "short"] and c["metric"] == "performance"
    ]
    means = {arm: metrics["performance"][arm]["interval"][0] for arm in ("hierarchical", "short")}
    assert gap == [pytest.approx(means["hierarchical"] - means["short"])]
    assert len(metrics["performance"]["short"]["seeds"]) == 2


def test_the_command_line_prints_and_writes_the_same(stream_report, capsys, tmp_path) -> None:
    out, folders = stream_report
    path = tmp_path / "new" / "numbers.json"
    assert continual.main([*folders, "--out", str(path)]) == 0
    assert "forgetting" in capsys.readouterr().out
    written = json.loads(path.read_bytes())
    assert written["metrics"] == json.loads((out / "report.json").read_bytes())["metrics"]


def test_a_report_of_training_runs(tmp_path) -> None:
    for seed in (1, 2, 3):
        write_training_run(tmp_path / str(seed), seed)
    out = tmp_path / "out"
    folders = [str(tmp_path / str(seed)) for seed in (1, 2, 3)]
    assert report.main([*folders, "--out", str(out)]) == 0
    text = (out / "report.md").read_text()
    assert "| drawer-close |" in text
    assert "1 2 3" in text
    assert (out / "figures" / "learning.png").exists()


def test_bad_input_is_told_at_once_and_writes_nothing(tmp_path, capsys) -> None:
    write_stream_run(tmp_path / "a", cycles=1)
    write_training_run(tmp_path / "b")
    (tmp_path / "empty").mkdir()
    for folders, says in (
        (["a", "b"], "report each kind by itself"),
        (["empty"], "is no run folder"),
        (["a", "a"], "same seed"),
        (["b", "b"], "same seed"),
    ):
        with pytest.raises(SystemExit) as stopped:
            report.main([*(str(tmp_path / f) for f in folders), "--out", str(tmp_path / "out")])
        assert stopped.value.code == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit) as stopped:
        continual.main([str(tmp_path / "b")])
    assert stopped.value.code == 2
    assert "is of no stream" in capsys.readouterr().err


def test_names_cannot_break_the_page(tmp_path) -> None:
    page = Page("<script>", [Table({"a|b": ["<x>"]})])
    page.write(tmp_path)
    assert "<script>" not in (tmp_path / "report.html").read_text()
    assert "&lt;x&gt;" in (tmp_path / "report.html").read_text()
    assert "a\\|b" in (tmp_path / "report.md").read_text()


def test_bands_hold_the_mean_and_know_where_a_seed_ends() -> None:
    short = (np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    longer = (np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.5]))
    grid, rows = on_grid([short, longer], window=1)
    assert rows.shape == (2, len(grid))
    assert np.isnan(rows[0, -1])
    mean, low, high = band(rows)
    assert mean[0] == pytest.approx(0.5)
    assert mean[-1] == pytest.approx(0.5)  # the longer run alone
    assert (low <= mean + 1e-9).all()
    assert (mean <= high + 1e-9).all()
    assert (low[0], high[0]) == (0, 1)
    assert on_grid([], 1)[1].shape == (0, 0)


def test_arms_are_always_in_one_order() -> None:
    assert ordered(["single", "zz", "hierarchical", "short"]) == [
        "short", "hierarchical", "single", "zz"
    ]  # fmt: skip


def test_the_newest_and_largest_evaluation_of_the_agent_itself_is_shown() -> None:
    """Whatever the files are called: a quick look or a slow policy's result never stands for it."""

    def result(step: int, goals: int, success: float, level: int = 1) -> dict[str, Any]:
        row = {name: [[success, 0.0, 1.0]] for name in ("success", "last_step_success")}
        return {
            "checkpoint": {"step": step},
            "settings": {"split": "test", "goals": goals, "episodes": 10, "level": level},
            "policies": {"stochastic": {"summary": {"tasks": {}, "mean": row}}},
        }

    evaluations = {
        "eval-test-200.json": result(200, 20, 0.25),
        "eval-test-300-level2.json": result(300, 20, 0.5, level=2),
        "official-quick.json": result(200, 1, 0.75),
        "older.json": result(100, 40, 1.0),
    }
    run = cast(Run, SimpleNamespace(seed=1, evaluations=evaluations))
    table = evaluation_table({"short": [run]})
    assert table is not None
    assert [cell.split()[0] for cell in table.columns["success"]] == ["0.25"]
    assert table.columns["goals × episodes"] == ["20 × 10"]
