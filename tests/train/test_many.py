"""Arms × seeds as processes of one command: all are run, all are stopped, nothing is lost."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.nasty import NASTY
from train import many
from train.many import Run, Settings, main, plan, train_all
from train.run.children import last_line, output_of
from train.run.input_error import InputError
from train.run.many_table import progress_table
from train.run.signals import INTERRUPTED, StopSignal

STUB = "tests.train.stub_program"
LOGGED = ["step", "train/success", "steps_per_second"]
REACH = ["--suite", "ML1", "--task", "reach-v3", "--train-goals", "2"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(many, "POLL", 0.05)


def stubs(*codes: int) -> list[Run]:
    folders = [Path("runs") / f"run{number}" for number, _ in enumerate(codes)]
    return [
        Run(folder, ["--run", str(folder), "--code", str(code)], total=100)
        for folder, code in zip(folders, codes, strict=True)
    ]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_run_and_one_failure_stops_no_other(monkeypatch, capsys) -> None:
    monkeypatch.setattr(many, "available_cores", lambda: 7)
    runs = stubs(0, 3, 0)
    with StopSignal() as stop_signal:
        train_all(runs, STUB, jobs=2, stop_signal=stop_signal, console=Console(width=80))
    assert [run.state for run in runs] == ["finished", "failed", "finished"]
    said = capsys.readouterr().out
    assert "runs/run1 failed: last words" in said
    assert "50%" in said  # step 50 of 100
    for run in runs:
        assert "options --workers 3 --run" in output_of(run.folder).read_text()
        assert last_line(run.folder / "metrics.jsonl")["step"] == 50


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_every_run_save(number: int, capfd) -> None:
    """Those that wait are not begun; none is left behind."""
    runs = stubs(75, 75, 0)

    def interrupt() -> None:
        while not all(last_line(run.folder / "metrics.jsonl") for run in runs[:2]):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    with StopSignal() as stop_signal:
        threading.Thread(target=interrupt).start()
        train_all(runs, STUB, jobs=2, stop_signal=stop_signal, console=Console(width=80))
    assert [run.state for run in runs] == ["interrupted"] * 3
    assert not runs[2].folder.exists()
    assert not any(run.child and alive(run.child.process.pid) for run in runs)
    assert "last words" in output_of(runs[0].folder).read_text()


def test_an_error_here_leaves_no_run_behind() -> None:
    runs = stubs(75)

    class Broken(Console):
        def print(self, *_: object, **__: object) -> None:
            raise OSError("the terminal is gone")

    with StopSignal() as stop_signal, pytest.raises(OSError, match="terminal is gone"):
        train_all(runs, STUB, jobs=1, stop_signal=stop_signal, console=Broken())
    assert runs[0].child is not None
    assert not alive(runs[0].child.process.pid)


def test_each_arm_and_seed_has_its_folder() -> None:
    settings = Settings(arms=("short", "none"), seeds=(1, 2), into=Path("here"))
    runs = plan(settings, [*REACH, "--total-steps", "40000"])
    names = [f"reach-v3-{arm}-seed{seed}" for seed in (1, 2) for arm in ("short", "none")]
    assert [run.folder for run in runs] == [Path("here") / name for name in names]
    assert {run.total for run in runs} == {40_000}
    assert runs[1].arguments[:4] == ["--arm", "none", "--seed", "1"]
    assert not Path("here").exists()


def test_arms_have_their_other_names_and_users_their_own(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "own_arms.py").write_text(
        "from train.long_term.arms import Arm\nMINE = Arm(replay=True)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    runs = plan(Settings(arms=("own_arms:MINE",), seeds=(1,), into=Path("here")), REACH)
    assert [run.folder.name for run in runs] == ["reach-v3-MINE-seed1"]
    stream = Settings(arms=("fine-tuning",), seeds=(1,), program="continual", into=Path("here"))
    runs = plan(stream, ["--suite", "CL5x2"])
    assert [run.folder.name for run in runs] == ["CL5x2-short-seed1"]


@pytest.mark.parametrize(
    ("settings", "rest", "says"),
    [
        (Settings(seeds=()), REACH, "--seeds names none"),
        (Settings(arms=("short", "short")), REACH, "--arms names each one once"),
        (Settings(jobs=0), REACH, "--jobs must be at least 1"),
        (Settings(), [*REACH, "--seed=4"], "--seed is set for each run"),
        (Settings(), ["--suite", "ML11", "--gamma", "2"], "ML1 or ML10.; --gamma"),
        (Settings(), ["--suite", "ML10", "--trials", "15"], "does not divide among 10 tasks"),
        (Settings(), [*REACH, "--learners", "64"], "64 learners cannot share 40 trials"),
        (Settings(), [*REACH, "--algorithm", "ppp"], "there is no --algorithm ppp"),
        (
            Settings(program="continual", arms=("short", "fine-tuning")),
            ["--suite", "CL5x2"],
            "two runs would be written into .*CL5x2-short-seed1",
        ),
    ],
)
def test_bad_requests_start_nothing(settings: Settings, rest: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        plan(settings, rest)
    assert len(raised.value.problems) == len(set(raised.value.problems))
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("states", "code"),
    [(["finished"], 0), (["finished", "failed"], 1), (["interrupted", "failed"], INTERRUPTED)],
)
def test_one_exit_code_for_all(monkeypatch, states: list, code: int) -> None:
    runs = [Run(Path(str(i)), [], 1, state) for i, state in enumerate(states)]
    monkeypatch.setattr(many, "plan", lambda *_: runs)
    monkeypatch.setattr(many, "train_all", lambda *_, **__: None)
    assert main(["--arms", "short", "--", *REACH]) == code


@pytest.mark.slow
def test_real_runs_are_interrupted_and_resumed(monkeypatch) -> None:
    size = "--trials 2 --lanes 2 --episodes 2 --horizon 10 --hidden 8 --encoder 8 --critic 8"
    command = ["--arms", "short", "none", "--seeds", "1", "--", *REACH, *size.split()]
    command += ["--total-steps", "4000", "--checkpoint-every", "40"]

    def interrupt() -> None:
        while not last_line(Path("runs/reach-v3-short-seed1/metrics.jsonl")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert main(command) == INTERRUPTED
    assert main(command) == 0
    for arm in ("short", "none"):
        assert last_line(Path(f"runs/reach-v3-{arm}-seed1/metrics.jsonl"))["step"] == 4000


def test_a_log_that_is_none_is_no_progress(tmp_path: Path) -> None:
    """Whatever stands in a stranger's log, the table of the runs is shown."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": "x", "train/success": [], "other": 0.5}\n')
    assert last_line(path) == {"other": 0.5}
    path.unlink()
    os.mkfifo(path)
    assert last_line(path) == {}


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(LOGGED), NASTY), st.booleans())
def test_a_strangers_log_is_no_harm_to_the_table(values: dict, torn: bool) -> None:
    """Runs that are gone on with may have been anybody's: infinite, huge and odd numbers."""
    folder = Path("runs") / "odd"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("metrics.jsonl", "timing.jsonl"):
        line = json.dumps(values, default=str)
        (folder / name).write_text(line if torn else f"{line}\n")
    for state in ("training", "finished"):
        progress_table([Run(folder, [], 100, state)])


def test_a_log_that_is_no_log() -> None:
    path = Path("metrics.jsonl")
    for text in ("[" * 100_000, "[1]", "nothing", '{"step": 1e999, "a": NaN}'):
        path.write_text(text + "\n")
        assert last_line(path) == {}
    path.unlink()
    os.mkfifo(path)
    assert last_line(path) == {}
