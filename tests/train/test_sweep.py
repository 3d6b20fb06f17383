"""A search that is stopped goes on; poor runs are stopped early; the best is a command to paste."""

import os
import shlex
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from train import sweep
from train.run.children import output_of
from train.run.input_error import InputError
from train.run.origin import parse
from train.run.signals import INTERRUPTED, StopSignal
from train.run.sweep_space import parameter
from train.sweep import Settings, best_command, checked, main, opened, reopen, search

pytestmark = pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
STUB = "tests.train.stub_program"
REACH = ["--suite", "ML1", "--task", "reach-v3"]
RATE = parameter("learning-rate:linear:0.1:1")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "POLL", 0.05)


def states(study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def test_the_best_settings_are_found_and_printed() -> None:
    """The stub's success is its learning rate; what is asked for is what it was given."""
    settings = Settings(trials=3, jobs=2)
    rest = ["--code", "0"]
    with opened(settings, rest, 50) as study, StopSignal() as stop_signal:
        search(study, settings, [RATE], rest, stop_signal, program=STUB)
        assert states(study) == ["COMPLETE"] * 3
        best = study.best_trial
        rates = [trial.params["learning-rate"] for trial in study.get_trials()]
        assert best.params["learning-rate"] == max(rates)
        said = output_of(Path("runs/sweep") / best.user_attrs["run"]).read_text()
        assert f"--learning-rate {max(rates)!r}" in said
        words = shlex.split(best_command(study, [RATE], ["--run", "a b"]))
        assert words[3:] == ["--run", "a b", "--learning-rate", str(max(rates))]
    with opened(settings, rest, 50) as study, StopSignal() as stop_signal:
        search(study, settings, [RATE], rest, stop_signal, program=STUB)
        assert len(study.get_trials()) == 3  # nothing is left to do


def test_an_interrupted_search_goes_on_with_the_same_run() -> None:
    settings = Settings(trials=1)
    folder = Path("runs/sweep/0000")

    def interrupt() -> None:
        while not (folder / "metrics.jsonl").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    with opened(settings, [], 50) as study, StopSignal() as stop_signal:
        threading.Thread(target=interrupt).start()
        search(study, settings, [RATE], ["--code", "75"], stop_signal, program=STUB)
        assert states(study) == ["RUNNING"]
    with opened(settings, [], 50) as study, StopSignal() as stop_signal:
        reopen(study)
        search(study, settings, [RATE], ["--code", "0"], stop_signal, program=STUB)
        assert states(study) == ["FAIL", "COMPLETE"]
        old, new = study.get_trials()
        assert old.params == new.params
    assert "--run runs/sweep/0000 --resume-or-start" in output_of(folder).read_text()


def test_a_poor_run_is_stopped_early(monkeypatch) -> None:
    monkeypatch.setattr(sweep, "UNJUDGED", 1)
    settings = Settings(trials=2)
    with opened(settings, [], 0) as study, StopSignal() as stop_signal:
        study.enqueue_trial({"learning-rate": 0.9})
        search(study, Settings(trials=1), [RATE], [], stop_signal, program=STUB)
        study.enqueue_trial({"learning-rate": 0.2})
        search(study, settings, [RATE], ["--code", "75"], stop_signal, program=STUB)
        assert states(study) == ["COMPLETE", "PRUNED"]


def test_failures_are_counted_and_told(capsys) -> None:
    settings = Settings(trials=2)
    with opened(settings, [], 50) as study, StopSignal() as stop_signal:
        search(study, settings, [RATE], ["--code", "1"], stop_signal, program=STUB)
        assert states(study) == ["FAIL", "FAIL"]
        assert sweep.report(study, settings, [RATE], []) == 1
        assert "COMPLETE" not in states(study)
    said = capsys.readouterr()
    assert "runs/sweep/0001: failed: last words" in said.out
    assert "no run came to its end" in said.err


def test_a_folder_holds_one_search_at_a_time() -> None:
    settings = Settings()
    with (
        opened(settings, ["--gamma", "0.9"], 1),
        pytest.raises(InputError, match="in use"),
        opened(settings, [], 1),
    ):
        pass
    with pytest.raises(InputError, match="another search"), opened(settings, [], 1):
        pass


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("learning-rate:log:1e-4:2e-3", "1e-4", "2e-3"),
        ("--epochs:int:2:9", "2", "9"),
        ("core:choice:gru,lstm", "gru", "lstm"),
    ],
)
def test_what_is_varied_is_what_the_command_line_takes(text: str, low: str, high: str) -> None:
    found = parameter(text)
    assert (found.values[0], found.values[-1]) == (low, high)
    config, _ = parse([*REACH, found.flag, high])
    assert str(high) in repr(config) or float(high) == config.ppo.learning_rate


@pytest.mark.parametrize(
    ("params", "rest", "says"),
    [
        ((), REACH, "name what to vary"),
        (("clip",), REACH, "name:log:LOW:HIGH"),
        (("clip:log:0:1",), REACH, "above 0"),
        (("clip:linear:2:1",), REACH, "LOW must be below HIGH"),
        (("clip:linear:2",), REACH, "two numbers"),
        (("core:choice:gru,gru",), REACH, "each choice once"),
        (("clip:linear:0.1:0.2", "clip:linear:0.1:0.3"), REACH, "each option once"),
        (("gamma:linear:0.5:2",), REACH, "--gamma must be in"),
        (("gamma:linear:0.5:0.6",), [*REACH, "--run", "x"], "--run is set for each run"),
        (("gamma:linear:0.5:0.6",), [*REACH, "--algorithm", "ppp"], "there is no --algorithm ppp"),
        (("trials:choice:15,20",), ["--suite", "ML10"], "does not divide among 10 tasks"),
    ],
)
def test_bad_requests_write_nothing(params: tuple, rest: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        checked(Settings(param=params), rest)
    assert not list(Path.cwd().iterdir())


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    varied = Settings(param=("clip:linear:0.1:0.2",), into=tmp_path / "file")
    with pytest.raises(InputError, match=r"--into: .*file is not a folder"):
        checked(varied, REACH)


def test_a_path_that_is_no_databases_is_told(tmp_path: Path) -> None:
    """SQLite's address ends at the question mark: the search was written beside the folder."""
    varied = Settings(param=("clip:linear:0.1:0.2",), into=tmp_path / "which?")
    with pytest.raises(InputError, match=r"SQLite takes no \? in a path"):
        checked(varied, REACH)


def test_the_command_line(monkeypatch, capsys) -> None:
    """Its own --trials is the search's; what comes after -- is the run's."""
    found = []
    monkeypatch.setattr(sweep, "search", lambda *arguments: found.append(arguments))
    line = [*REACH, "--trials", "2", "--param", "clip:linear:0.1:0.3", "--param", "epochs:int:2:3"]
    assert main([*line, "--", "--trials", "5"]) == INTERRUPTED
    _, settings, parameters, rest, _ = found[0]
    assert (settings.trials, rest) == (2, [*REACH, "--trials", "5"])
    assert [p.name for p in parameters] == ["clip", "epochs"]
    assert "the same command goes on" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([*REACH, "--param", "no-such:linear:0:1"])
    assert ended.value.code == 2


def garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def edit(sql: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(sql)

    return make


@pytest.mark.parametrize(
    ("forge", "name", "says"),
    [
        (garbage, "sweep.db", "sweep.db cannot be read"),
        (cut, "sweep.db", "sweep.db cannot be read"),
        (edit("update study_user_attributes set value_json = 'x'"), "sweep.db", "cannot be read"),
        (edit("update study_user_attributes set value_json = '[1]'"), "sweep.db", "another search"),
        (edit("update trial_user_attributes set value_json = '\"../x\"'"), "sweep.db", "another"),
        (edit("update trials set state = 'ODD'"), "sweep.db", "sweep.db cannot be read"),
        (pipe, "sweep.db", "sweep.db is not a plain file"),
        (link, "sweep.db", "sweep.db is not a plain file"),
        (pipe, "sweep.lock", "sweep.lock is not a plain file"),
    ],
)
def test_a_strangers_search_is_told(forge, name: str, says: str) -> None:
    """A trial's folder "../x" led out of the search's, a pipe was waited for."""
    settings = Settings()
    with opened(settings, [], 1) as study:
        study.ask().set_user_attr("run", "0000")
    forge(settings.into / name)
    with pytest.raises(InputError, match=says), opened(settings, [], 1):
        pass
