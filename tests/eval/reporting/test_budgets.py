"""Arms that trained longer, or began with more, are named."""

import json
from pathlib import Path

from eval import report
from eval.reporting.budgets import unlike_budgets
from eval.reporting.loading import arms_of, load_runs
from tests.eval.made_up_runs import write_evaluation, write_stream_run, write_training_run


def changed(folder: Path, **values: object) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


def said(*folders: Path) -> list[str]:
    return unlike_budgets(arms_of(load_runs(folders)[0]))


def shorter(folder: Path) -> None:
    """Half of the run's log."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(lines[: len(lines) // 2]) + "\n")


def test_equal_budgets_need_no_word(tmp_path) -> None:
    write_stream_run(tmp_path / "a", "short")
    write_stream_run(tmp_path / "b", "hierarchical")
    assert said(tmp_path / "a", tmp_path / "b") == []


def test_arms_that_trained_longer_are_named_with_their_steps(tmp_path) -> None:
    write_training_run(tmp_path / "a", 1)
    write_training_run(tmp_path / "b", 1)
    changed(tmp_path / "b", arm="none")
    full = load_runs([tmp_path / "a"])[0][0].steps
    shorter(tmp_path / "b")
    half = load_runs([tmp_path / "b"])[0][0].steps
    (line,) = said(tmp_path / "a", tmp_path / "b")
    assert "not at equal budgets" in line
    assert f"short {full:,}" in line
    assert f"none {half:,}" in line


def test_a_seed_that_trained_less_is_seen_within_its_arm(tmp_path) -> None:
    write_training_run(tmp_path / "a", 1)
    write_training_run(tmp_path / "b", 2)
    shorter(tmp_path / "b")
    (line,) = said(tmp_path / "a", tmp_path / "b")
    assert " to " in line


def test_arms_that_began_with_another_run_are_named(tmp_path) -> None:
    write_stream_run(tmp_path / "a", "short")
    changed(tmp_path / "a", init_from="runs/x")
    write_stream_run(tmp_path / "b", "hierarchical")
    (line,) = said(tmp_path / "a", tmp_path / "b")
    assert line.endswith("not counted: short.")
    changed(tmp_path / "b", init_from="runs/x")
    assert said(tmp_path / "a", tmp_path / "b") == []


def test_arms_that_began_with_different_runs_are_told_apart(tmp_path) -> None:
    """Seeds that began with the same arm's own seed are alike."""
    write_stream_run(tmp_path / "a", "short")
    write_stream_run(tmp_path / "b", "hierarchical")
    changed(tmp_path / "a", init_from="runs/x-seed1")
    changed(tmp_path / "b", init_from="runs/x-seed2")
    assert said(tmp_path / "a", tmp_path / "b") == []
    changed(tmp_path / "b", init_from="runs/y-seed1")
    (line,) = said(tmp_path / "a", tmp_path / "b")
    assert line.endswith(
        "different runs (--init-from): hierarchical runs/y-seed?; short runs/x-seed?."
    )


def test_pages_say_it(tmp_path) -> None:
    for name in "ab":
        write_training_run(tmp_path / name, 1)
        changed(tmp_path / name, suite="ML1", task="reach-v3", tasks=[])
        write_evaluation(tmp_path / name, 1_000_000, 0.5)
    changed(tmp_path / "b", arm="none")
    shorter(tmp_path / "b")
    one, several = tmp_path / "one", tmp_path / "several"
    assert report.main([*map(str, (tmp_path / "a", tmp_path / "b")), "--out", str(one)]) == 0
    assert "not at equal budgets" in (one / "report.md").read_text()
    write_stream_run(tmp_path / "c", "hierarchical")
    folders = [str(tmp_path / name) for name in "abc"]
    assert report.main([*folders, "--out", str(several)]) == 0
    assert "reach-v3: Runs had unlike" in (several / "report.md").read_text()
