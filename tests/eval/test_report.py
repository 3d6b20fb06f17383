"""The report: self-contained, complete, and refusing what it cannot compare."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from eval import continual, curves, report
from eval.goals.metrics import Interval
from eval.reporting.figures import band, on_grid, ordered
from eval.reporting.report_writer import Lines, Page, Table
from eval.reporting.runs import Run
from eval.reporting.tables import evaluation_table, number, span
from tests.eval.made_up_runs import write_evaluation, write_stream_run, write_training_run


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
        "every seed", "savings", "forward transfer, raw", "episodes to 0.5", "forgetting",
        "steps to success | hierarchical | 2",
    ):  # fmt: skip
        assert words in text, words
    assert "-0.00" not in text


def test_three_lines_stand_on_top(stream_report) -> None:
    top = (stream_report[0] / "report.md").read_text().split("\n\n")[1].split("\n")
    assert len(top) == 3
    assert top[0] == "- Arms: short (2 seeds), hierarchical (2 seeds), single (1 seed)."
    assert top[1].startswith("- Success at the end, last episode: short ")
    assert top[2].startswith("- hierarchical − short, success at the end: +")


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


def test_seeds_and_arms_of_a_suite_stand_in_one_table(tmp_path, capsys) -> None:
    levels = {"a1": 0.5, "a2": 0.7, "a3": 0.6, "b1": 0.3}
    for name, level in levels.items():
        arm = "short" if name[0] == "a" else "none"
        write_training_run(tmp_path / name, int(name[1]), arm=arm)
        write_evaluation(tmp_path / name, 1_000_000, level, policies=("repeating", "random"))
    write_training_run(tmp_path / "new", 9)
    (tmp_path / "new" / "metrics.jsonl").write_text("")
    folders = [str(tmp_path / name) for name in (*levels, "new")]
    out = tmp_path / "out"
    assert report.main([*folders, "--out", str(out), "--contrast", "none:short"]) == 0
    assert "new has not started: it is left out" in capsys.readouterr().err
    text = (out / "report.md").read_text()
    rows = {row.split(" | ")[0]: row for row in text.split("\n") if row.startswith("| ")}
    mean = np.mean(list(levels.values())[:3]) - 0.1 / 3
    assert f"| {100 * mean:.0f} [" in rows["| success, last episode, %"]
    assert "(47  67  57)" in rows["| success, last episode, %"]
    half = 4.3027 * 10 / 3**0.5  # Student's, of three seeds 10 points apart
    assert f"{100 * mean:.0f} [{100 * mean - half:.0f}, {100 * mean + half:.0f}]" in text
    assert "| none | 1 | 13 [0, 100] | 27 [0, 100] | 27 [0, 100] |" in text
    assert rows["| success, last episode, %"].endswith(" 27 |")
    assert "(407  367  387)" in rows["| steps to success, last episode"]
    assert "| repeating: success, last episode, %" in rows
    assert "| floor, random: success, last episode, %" in rows
    assert "none − short | success, last episode, % | -20 | -20 |" in text
    assert "has not started" in text
    assert (out / "figures" / "profile-test.png").exists()
    measures = json.loads((out / "report.json").read_bytes())["measures"]["test"]
    assert measures["success, last episode, %"]["short"]["interval"][0] == pytest.approx(mean)


def test_contrasts_are_checked(tmp_path, capsys) -> None:
    write_training_run(tmp_path / "a")
    with pytest.raises(SystemExit) as stopped:
        report.main([str(tmp_path / "a"), "--contrast", "short", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "write ARM:ARM" in capsys.readouterr().err


def test_a_contrast_with_an_arm_that_no_run_has_is_refused(tmp_path, capsys) -> None:
    write_training_run(tmp_path / "a")
    write_stream_run(tmp_path / "b", "short", 1, keeps=0.5)
    for name in ("a", "b"):
        with pytest.raises(SystemExit) as stopped:
            report.main(
                [str(tmp_path / name), "--contrast", "short:nothing", "--out", str(tmp_path / "c")]
            )
        assert stopped.value.code == 2
        said = capsys.readouterr().err
        assert "--contrast: no run of arm nothing" in said
        assert "choose from short" in said
    assert not (tmp_path / "c").exists()


def test_a_torn_log_beside_checkpoints_is_told(tmp_path, capsys) -> None:
    write_training_run(tmp_path / "a")
    (tmp_path / "a" / "metrics.jsonl").write_text('{"step": 20')
    (tmp_path / "a" / "checkpoints" / "000000020000").mkdir(parents=True)
    with pytest.raises(SystemExit) as stopped:
        report.main([str(tmp_path / "a"), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "holds no whole line, though the run has checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 3])
def test_curves_of_one_run_and_of_several(tmp_path, count, capsys) -> None:
    folders = [str(tmp_path / str(seed)) for seed in range(count)]
    for seed, folder in enumerate(folders):
        write_training_run(Path(folder), seed)
    assert curves.main([*folders, "--out", str(tmp_path / "new" / "c.png")]) == 0
    assert (tmp_path / "new" / "c.png").read_bytes()[:4] == b"\x89PNG"


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
    page = Page("<script>", [Table({"a|b": ["<x>"]}), Lines(["[a](b) \x1b[31m"]), "<i>"])
    page.write(tmp_path)
    assert (
        "<i>" not in (tmp_path / "report.html").read_text() + (tmp_path / "report.md").read_text()
    )
    for name in ("report.html", "report.md"):
        assert "\\x1b[31m" in (tmp_path / name).read_text()
    assert "[a](b)" not in (tmp_path / "report.md").read_text()
    assert "<script>" not in (tmp_path / "report.html").read_text()
    assert "&lt;x&gt;" in (tmp_path / "report.html").read_text()
    assert "a\\|b" in (tmp_path / "report.md").read_text()


def test_numbers_are_right_and_text_is_left() -> None:
    table = Table({"arm": ["short"], "mean": ["+0.25 [0.1, 0.4]"], "none": ["–"]})
    assert table.right() == [False, True, True]
    assert number(-0.001) == number(0.0) == "0.00"
    assert number(-0.4, "{:+.0f}") == "+0"
    assert span(Interval(-0.001, -0.004, 0.1)) == "0.00 [0.00, 0.10]"


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

    def result(step: int, goals: int, success: float, **how: int) -> dict[str, Any]:
        row = {name: [[success, 0.0, 1.0]] for name in ("success", "last_step_success")}
        return {
            "checkpoint": {"step": step},
            "settings": {"split": "test", "goals": goals, "episodes": 10, **how},
            "policies": {"stochastic": {"summary": {"tasks": {}, "mean": row}}},
        }

    evaluations = {
        "eval-test-200.json": result(200, 20, 0.25),
        "eval-test-300-level2.json": result(300, 20, 0.5, level=2),
        "official-quick.json": result(200, 1, 0.75),
        "older.json": result(100, 40, 1.0),
        "eval-test-200-seed9.json": result(200, 20, 0.6, seed=9),
        "eval-test-200-horizon125.json": result(200, 50, 0.7, horizon=125),
    }
    config = SimpleNamespace(fork=None, adapts=False)
    run = cast(Run, SimpleNamespace(seed=1, evaluations=evaluations, config=config))
    table = evaluation_table({"short": [run]})
    assert table is not None
    assert [cell.split()[0] for cell in table.columns["success"]] == ["0.25"]
    assert table.columns["goals × episodes"] == ["20 × 10"]
