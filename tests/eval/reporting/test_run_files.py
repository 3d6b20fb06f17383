"""A stranger's run folder: told in one sentence that names file and field, or reported as it is."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval import continual, curves, report
from eval.reporting import fork_tables, recall_tables, suite_tables, tables
from eval.reporting.loading import load_runs, stream_groups
from eval.reporting.report_writer import Page
from tests.eval.made_up_runs import write_evaluation, write_stream_run, write_training_run
from tests.eval.memory_tests.test_fork_report import write_fork_run
from tests.nasty import NASTY, changed, places
from train.run.input_error import InputError
from train.run.printable import printable
from train.run.verified_folder import CheckpointError, read_file

OF_EACH = ("config.json", "metrics.jsonl", "timing.jsonl")
STREAM_FILES = (*OF_EACH, "results/retention.json")
FILES = {
    "suite": (*OF_EACH, "results/eval-test-9.json"),
    "stream": (*STREAM_FILES, "results/extinction-9.json"),
    "fork": ("config.json", "metrics.jsonl", "results/eval-test-1000.json"),
    "recall": ("config.json", "metrics.jsonl", "results/eval-test-1000.json"),
}
EXTINCTION = {"tau": 0.7, "tau_past": 0.4, "past": 2.5, "chance_past": 1.3, "touched": 7.0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("runs")
    write_training_run(base / "suite")
    write_evaluation(base / "suite", 9, 0.5)
    write_stream_run(base / "stream", cycles=1)
    probe = {"kind": "strata extinction", "checkpoint": {"step": 9}, "levels": {"3": EXTINCTION}}
    (base / "stream" / "results" / "extinction-9.json").write_text(json.dumps(probe))
    write_fork_run(base / "fork", 1, 0.9)
    write_recall_run(base / "recall")
    return {kind: base / kind for kind in FILES}


def write_recall_run(folder: Path) -> None:
    """As `write_fork_run`, of lifetimes."""
    write_fork_run(folder, 1, 0.9)
    path, point = folder / "results" / "eval-test-1000.json", [0.5, 0.0, 1.0]
    values = json.loads(path.read_text())
    summary = {"recall_index": point, "gain": point, "first": [point] * 4}
    values |= {"kind": "strata recall evaluation", "policies": {"agent": {"summary": summary}}}
    path.write_text(json.dumps(values))
    config = json.loads((folder / "config.json").read_text())
    config |= {"suite": "RECALL-code-4", "trials": 42}
    (folder / "config.json").write_text(json.dumps(config))


def read_all(folder: Path) -> None:
    """What the programs do with a folder, but for the drawing."""
    loaded, _ = load_runs([folder])
    by_arm = {"arm": loaded}
    fork = fork_tables.suite_of(by_arm)
    if loaded[0].record is None and fork is not None:
        if fork.lifetimes is None:
            values: Any = fork_tables.to_json(by_arm, fork)
            shown = [fork_tables.memory_table(by_arm, "test", fork)]
        else:
            values = recall_tables.to_json(by_arm)
            shown = [recall_tables.recall_table(by_arm, "test", fork)]
    elif loaded[0].record is not None:
        groups = stream_groups(loaded)
        values = tables.to_json(groups)
        shown = [tables.metric_table(groups), tables.task_table(groups), tables.speed_table(groups)]
    else:
        values = suite_tables.to_json(by_arm)
        shown = [suite_tables.suite_table(by_arm, "test"), tables.training_table(by_arm, 5)]
        shown += [tables.cost_table(by_arm), tables.evaluation_table(by_arm)]
    json.dumps(values, allow_nan=False).encode()
    Page("page", [part for part in shown if part]).write(folder / "out")


def problems_of(folder: Path) -> tuple[str, ...]:
    try:
        read_all(folder)
    except InputError as error:
        return error.problems
    return ()


def test_sound_folders_are_reported(runs) -> None:
    """Or the next test would show nothing."""
    assert {kind: problems_of(folder) for kind, folder in runs.items()} == dict.fromkeys(FILES, ())


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_a_strangers_folder_is_told_or_reported(runs, tmp_path, data) -> None:
    kind = data.draw(st.sampled_from(sorted(FILES)))
    name = data.draw(st.sampled_from(FILES[kind]))
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(runs[kind], folder)
    text = (folder / name).read_text()
    lines = text.splitlines() if name.endswith("jsonl") and text else [text or "{}"]
    value = json.loads(lines[0])
    path = data.draw(st.sampled_from(places(value)))
    lines[0] = json.dumps(changed(value, path, data.draw(NASTY), data.draw(st.booleans())))
    (folder / name).write_text("\n".join(lines) + "\n")
    problems = problems_of(folder)
    assert all(str(folder) in problem and printable(problem) == problem for problem in problems)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def deep(path: Path) -> None:
    path.write_text("[" * 100_000 + "\n")


def half(path: Path) -> None:
    path.write_bytes(b'{"step": 1, "\xff\n')


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [fifo, endless, deep, half, folder])
@pytest.mark.parametrize("name", STREAM_FILES)
def test_what_is_no_plain_file_ends_every_program_with_one_sentence(
    runs, tmp_path, capsys, make, name
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["stream"], run)
    (run / name).unlink()
    make(run / name)
    out = str(tmp_path / "out.png")
    for program, options in ((report, ["--out", out]), (continual, []), (curves, ["--out", out])):
        with pytest.raises(SystemExit) as stopped:
            program.main([str(run), *options])
        assert stopped.value.code == 2
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 1
        assert str(run / name) in told[0]
    assert not Path(out).exists()


def test_the_field_is_named(runs, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["stream"], run)
    path = run / "results" / "retention.json"
    values = json.loads(path.read_text())
    values["evaluations"][1]["success"][0][2] = [0, 7, 0]
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"evaluations\.1\.success must be 3 × 4 × 3 numbers"):
        load_runs([run])
    del values["evaluations"][1]["success"]
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"evaluations\.1\.success is missing"):
        load_runs([run])


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[31m\n\u202e é – ×") == "a\\x1b[31m\\n\\u202e é – ×"


@pytest.mark.parametrize("program", [report.main, curves.main])
def test_numbers_may_be_written_as_people_write_them(program, tmp_path, capsys) -> None:
    """Read, so that the run is what is missing, and not a number."""
    with pytest.raises(SystemExit) as ended:
        program([str(tmp_path / "none"), "--window", "1e1", "--out", str(tmp_path / "a.png")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "none" in said
    assert "window" not in said


def test_a_log_that_cannot_be_read_is_no_checkpoint(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="restore it from a copy") as raised:
        read_file(tmp_path / "metrics.jsonl", 10)
    assert "checkpoint" not in str(raised.value)
