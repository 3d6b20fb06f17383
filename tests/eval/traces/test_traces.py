"""The program: from a run folder to its files and a page; what cannot be looked at is told."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import train.rl2
from eval import evaluate, report
from eval.reporting.runs import load_run
from eval.traces import __main__ as program
from eval.traces import results, subjects
from eval.traces.results import rounded
from eval.traces.section import by_arm
from train.run.config import Config
from train.run.run_files import RunError
from train.run.stream_config import StreamConfig

TINY = "--trials 2 --lanes 2 --episodes 2 --horizon 12 --hidden 8 --encoder 8 --critic 8"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two iterations on FORK-reach-2, looked into."""
    folder = tmp_path_factory.mktemp("runs") / "fork"
    arguments = f"--suite FORK-reach-2 --total-steps 96 --checkpoint-every 48 {TINY}"
    assert train.rl2.main([*arguments.split(), "--workers", "1", "--threads", "1", "--run",
                           str(folder)]) == 0  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page")
    patch = pytest.MonkeyPatch()
    patch.setattr(subjects, "shape_of", lambda config: (3, 12))
    assert program.main([str(run), "--trials", "40", "--workers", "1", "--out", str(out)]) == 0
    patch.undo()
    return out


def test_from_a_run_to_its_files_and_a_page(run: Path, page: Path) -> None:
    names = sorted(path.name for path in (run / "results").iterdir())
    assert names == ["traces-test-000000000096.json", "traces-test-000000000096.npz"]
    text = (page / "report.md").read_text()
    for part in (
        "Memory traces: timescales", "Memory traces: probes", "Memory traces: geometry and drift",
        "Memory traces: lesions", "Lesion × benchmark", "no slow policies (L2, L3)",
        "It cannot be said that L0 and L1 are dissociated", "Leak test",
    ):  # fmt: skip
        assert part in text
    figures = {path.stem for path in (page / "figures").iterdir()}
    assert figures == {
        "timescales", "courses", "probes", "selectivity", "geometry", "plasticity", "lesions",
        "dissociation",
    }  # fmt: skip
    values = json.loads((run / "results" / names[0]).read_text())
    assert set(values["lesions"]["found"]) == {
        "intact", "sham", "clear L0", "remove target", "remove random",
    }  # fmt: skip
    assert [row["step"] for row in values["geometry"]["plasticity"]] == [48, 96]


def test_the_report_of_the_run_has_the_section(run: Path, page: Path, tmp_path: Path) -> None:
    assert report.main([str(run), "--out", str(tmp_path / "out")]) == 0
    assert "Memory traces: timescales" in (tmp_path / "out" / "report.md").read_text()


def test_a_recording_is_kept(run: Path, page: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(subjects, "shape_of", lambda config: (3, 12))
    monkeypatch.setattr(program, "record", None)  # nothing is run again
    arguments = [str(run), "--trials", "40", "--workers", "1", "--parts", "timescales"]
    assert program.main([*arguments, "--out", str(tmp_path)]) == 0
    values = load_run(run).traces["traces-test-000000000096.json"]
    assert {"timescales", "probes", "geometry", "lesions"} <= set(values)  # so are other parts


def test_parts_and_lesions_that_are_not_measured_again_are_kept(run: Path, page: Path) -> None:
    path = run / "results" / "traces-test-000000000096.json"
    values = json.loads(path.read_text())
    found = values["lesions"]["found"]
    asked = {name: value for name, value in values.items() if name != "probes"}
    asked["lesions"] = {**values["lesions"], "found": {"clear L0": found["sham"]}}
    joined = results.with_former(path, asked)
    assert joined["probes"] == values["probes"]
    assert joined["lesions"]["found"] == {**found, "clear L0": found["sham"]}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--trials", "41"], "is of 40 trials of seed 1, not 41 of 1: type --trials 40 --seed 1"),
        (["--trials", "40", "--seed", "2"], "is of 40 trials of seed 1, not 40 of 2"),
    ],
)
def test_numbers_of_other_trials_are_not_replaced(
    run: Path, page: Path, monkeypatch, capsys, options: list[str], says: str
) -> None:
    monkeypatch.setattr(subjects, "shape_of", lambda config: (3, 12))
    files = {path: path.read_bytes() for path in (run / "results").iterdir()}
    with pytest.raises(SystemExit) as stopped:
        program.main([str(run), *options, "--workers", "1", "--parts", "timescales"])
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
    assert files == {path: path.read_bytes() for path in (run / "results").iterdir()}


def test_numbers_of_another_run_and_damaged_ones_are_not_replaced(
    run: Path, page: Path, tmp_path: Path
) -> None:
    path = run / "results" / "traces-test-000000000096.json"
    own = json.loads(path.read_text())["run"]
    assert results.other_trials(path, run=own, trials=40, seed=1) == []
    faulted = tmp_path / "faulted.json"  # 40 were asked for; the physics of one became unstable
    faulted.write_text(json.dumps(json.loads(path.read_text()) | {"trials": 39}))
    assert results.other_trials(faulted, run=own, trials=40, seed=1) == []
    (problem,) = results.other_trials(path, run="another", trials=40, seed=1)
    assert "is of another run: move it to another folder" in problem
    (tmp_path / "torn.json").write_text(path.read_text()[:100])
    (problem,) = results.other_trials(tmp_path / "torn.json", run=own, trials=40, seed=1)
    assert "torn.json is damaged" in problem
    assert "move it to another folder" in problem


def test_seeds_that_met_other_trials_are_not_averaged(run: Path, page: Path) -> None:
    values = load_run(run).traces["traces-test-000000000096.json"]
    assert list(by_arm([values, {**values, "seed": 2}])) == ["short"]
    groups = by_arm([values, {**values, "seed": 2, "trials": 80}])
    assert list(groups) == ["short, 40 trials of seed 1", "short, 80 trials of seed 1"]


@pytest.mark.parametrize("kinds", [1, 3, 7])
def test_the_fewest_trials_that_are_allowed_are_enough(kinds: int) -> None:
    assert subjects._each(subjects.FEWEST, kinds) * kinds >= subjects.FEWEST
    assert subjects._each(100, kinds) == 100 // kinds


def test_a_leak_fails_loudly(run: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = load_run(run).traces["traces-test-000000000096.json"]
    assert program.tell_leaks([values]) == 0
    values["probes"]["leak"]["L0"] = {"accuracy": 0.9, "errors": 16.0, "worst": 1, "leaks": True}
    assert program.tell_leaks([values]) == 1
    assert "LEAK: seed 1 of short" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--trials", "39"], "--trials must be from 40 to 400, not 39"),
        (["--level", "L2"], "has no level L2, arm short has L0"),
        (["--lesion", "hide L1"], "--lesion hide L1: arm short has no L1"),
        (["--workers", "0"], "--workers"),
        (["--seed", "-1"], "--seed must be 0 or more"),
        (["--lesion", "clear L0", "--parts", "probes"], "--lesion needs the part lesions"),
    ],
)
def test_what_cannot_be_done_is_told(
    run: Path, tmp_path: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main([str(run), "--out", str(tmp_path / "out"), *options])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_folders_that_are_no_runs_are_told(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        program.main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert str(tmp_path / "a") in said
    assert str(tmp_path / "b") in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 2}, "schema"),
        ({"seed": "one"}, "seed"),
        ({"timescales": {"lags": 3}}, "timescales.autocorrelation is missing"),
        ({"probes": {"steps": ["a"]}}, "probes.steps.0"),
    ],
)
def test_a_damaged_result_is_named(run: Path, page: Path, change: dict, says: str) -> None:
    path = run / "results" / "traces-test-000000000096.json"
    whole = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(whole), **change}))
        with pytest.raises(RunError, match=says):
            load_run(run)
    finally:
        path.write_text(whole)


def test_numbers_are_rounded_and_nothing_else_is() -> None:
    given = {"a": [1 / 3, 12345678, None, True, "0.123456789"], "b": 123456.789}
    assert rounded(given) == {"a": [0.33333, 12345678, None, True, "0.123456789"], "b": 123460.0}


@pytest.fixture(scope="module")
def recall_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one iteration on RECALL, with a store."""
    folder = tmp_path_factory.mktemp("runs") / "recall"
    arguments = (
        "--suite RECALL-code-4-contexts2 --arm episodic --horizon 14 --train-goals 50 --trials 4 "
        "--hidden 8 --encoder 8 --critic 8 --minibatches 2 --epochs 1 --total-steps 1 --workers 1 "
        "--threads 1"
    )
    assert train.rl2.main([*arguments.split(), "--run", str(folder)]) == 0
    return folder


def test_lifetimes_have_lesions_alone(
    recall_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "LIFETIMES", 3)
    monkeypatch.setattr(subjects, "shape_of", lambda config: (2, 14))
    out = tmp_path / "page"
    assert program.main([str(recall_run), "--workers", "1", "--out", str(out)]) == 0
    (path,) = (recall_run / "results").iterdir()
    found = json.loads(path.read_text())["lesions"]
    assert found["benchmark"] == "RECALL"
    assert list(found["found"]) == ["intact", "sham", "clear L0", "hide L1", "shuffle L1"]
    # Short-term memory is cleared before each trial anyway: nothing is left to clear in its first
    # attempt.
    assert found["found"]["clear L0"]["scores"] == found["found"]["intact"]["scores"]
    text = (out / "report.md").read_text()
    assert "the loss of clear L0 on FORK" in text
    assert "the loss of hide L1 on RECALL" not in text  # it is there


def test_a_report_of_several_suites_has_the_matrix(
    run: Path, page: Path, recall_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "LIFETIMES", 3)
    run = shutil.copytree(run, tmp_path / "fork")
    recall_run = shutil.copytree(recall_run, tmp_path / "recall")
    lesions = ["--parts", "lesions", "--workers", "1", "--out", str(tmp_path / "traces")]
    assert program.main([str(recall_run), *lesions]) == 0
    small = ["--preset", "quick", "--goals", "2", "--workers", "1"]
    assert evaluate.main([str(run), *small, "--out", str(run / "results" / "eval-a.json")]) == 0
    assert evaluate.main([str(recall_run), *small, "--out",
                          str(recall_run / "results" / "eval-a.json")]) == 0  # fmt: skip
    assert report.main([str(run), str(recall_run), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| FORK-reach-2 short | clear L0 |" in text
    assert "| RECALL-code-4-contexts2 episodic | hide L1 |" in text
    assert "the loss of hide L1 on FORK" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--parts", "timescales"], "of RECALL-code-4-contexts2 lesions alone are measured"),
        (["--lesion", "remove target"], "needs recorded trials"),
        (["--level", "L2"], "arm episodic has L0, L1"),
    ],
)
def test_what_lifetimes_have_not_is_told(
    recall_run: Path, tmp_path: Path, options: list[str], says: str, capsys
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main([str(recall_run), "--out", str(tmp_path / "out"), *options])
    assert ended.value.code == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_stream_is_named_and_its_tasks_are_not() -> None:
    subject = SimpleNamespace(
        suite=SimpleNamespace(name="custom"), config=StreamConfig(suite="CW10")
    )
    assert subjects.Patient(Path("x"), subject, {}, []).suite == "CW10"  # type: ignore[arg-type]
    subject.config = Config(suite="ML1", task="reach-v3")
    assert subjects.Patient(Path("x"), subject, {}, []).suite == "custom"  # type: ignore[arg-type]
