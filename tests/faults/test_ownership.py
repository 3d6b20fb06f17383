"""A run folder is written by the run it belongs to, by one process, and by nobody else."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from eval import continual, curves, evaluate, report, share, watch
from eval.goals.config import nearest_folder
from eval.throughput import __main__ as throughput
from tests.faults.runs import PER_ITERATION, TINY, assert_same_run, lines, nothing_left, start
from tests.faults.runs import wait_for_lines as wait
from train import many, sweep
from train.rl2 import main
from train.run import checkpoint, run_folder
from train.run.input_error import InputError
from train.run.origin import Origin
from train.run.run_folder import claimed, foreign_problems, holder, identity, locked
from train.run.verified_folder import CheckpointError

pytestmark = pytest.mark.usefixtures("few_goals", "lent")
TOTAL = ["--total-steps", str(4 * PER_ITERATION), "--workers", "1"]


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in found}


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a command says that must end with code 2 and change no file here."""
    before = files(Path.cwd())
    with pytest.raises(SystemExit) as stopped:
        main(list(argv))
    assert stopped.value.code == 2
    assert files(Path.cwd()) == before
    return capsys.readouterr().err


@pytest.fixture
def mine(unfaulted: Path) -> Path:
    """A copy of the finished run, in the working folder."""
    return Path(shutil.copytree(unfaulted, "mine"))


def test_two_processes_in_one_folder(tmp_path: Path, capsys) -> None:
    """The second is told who is there; a killed one leaves no lock, and its run goes on."""
    more = ["--total-steps", "1000000", "--workers", "1"]
    with nothing_left() as programs:
        programs.append(start(*TINY, *more, "--run", "mine", cwd=tmp_path))
        wait(tmp_path / "mine", 2, programs[0])
        for argv in (
            [*TINY, *more, "--run", "mine", "--learning-rate", "0.001"],
            [*TINY, *more, "--run", "mine", "--resume-or-start"],
            ["--resume", "mine"],
        ):
            with pytest.raises(SystemExit) as stopped:
                main(argv)
            assert stopped.value.code == 2
            said = capsys.readouterr().err
            assert f"mine is in use by process {programs[0].pid}" in said
            assert "--run" in said
        os.kill(programs[0].pid, signal.SIGKILL)
        programs[0].communicate(timeout=60)
    assert holder(tmp_path / "mine") is None
    goal = checkpoint.load(tmp_path / "mine").step + PER_ITERATION
    assert main(["--resume", "mine", "--total-steps", str(goal)]) == 0
    assert [line["step"] for line in lines("mine")] == list(range(40, goal + 1, PER_ITERATION))


def test_another_runs_folder_is_not_continued_in(mine: Path, capsys) -> None:
    """It cut V's metrics, replaced its configuration and exchanged its best checkpoint."""
    assert main([*TINY, *TOTAL, "--run", "other", "--seed", "2"]) == 0
    said = refused(capsys, "--resume", "mine", "--run", "other")
    assert "other holds something else: continue in a new folder with --run" in said


def test_a_new_folder_gets_the_history(unfaulted: Path) -> None:
    """A fork has every line from the first step on, its own identity, and resumes by itself."""
    halfway = ["--total-steps", str(4 * PER_ITERATION), "--keep", "9"]
    assert main([*TINY, *halfway, "--workers", "1", "--run", "whole"]) == 0
    second = f"whole/checkpoints/{2 * PER_ITERATION:012d}"
    before = files(Path("whole"))
    assert main(["--resume", second, "--run", "fork"]) == 0
    assert files(Path("whole")) == before
    assert_same_run("fork", unfaulted)
    assert identity(Path("fork")) != identity(Path("whole"))
    assert checkpoint.load(Path("fork")).manifest["run"] == identity(Path("fork"))
    assert main(["--resume", "fork"]) == 0
    (best, score), (before_fork, same) = (
        checkpoint.best(Path(run, "checkpoints")) or (None, None) for run in ("fork", "whole")
    )
    assert before_fork == Path("whole", "checkpoints", f"{PER_ITERATION:012d}")
    assert (best, score) == (Path("fork", "checkpoints", before_fork.name), same)
    assert checkpoint.load(best).manifest["run"] == identity(Path("fork"))


def test_a_checkpoint_copied_by_itself(mine: Path, capsys) -> None:
    """Its grandparent is no run of its own: not a byte of it changes, unless a folder is named."""
    step = f"{4 * PER_ITERATION:012d}"
    Path("safe/checkpoints").mkdir(parents=True)
    Path("safe/config.json").write_text('{"precious": 1}')
    Path("safe/metrics.jsonl").write_text('{"step": 1}\n{"step": 1000}\n')
    for copy in (f"safe/checkpoints/{step}", f"elsewhere/{step}"):
        shutil.copytree(mine / "checkpoints" / step, copy)
        said = refused(capsys, "--resume", copy)
        assert "lies in no folder of its own run" in said
        assert "--run NEW" in said
    more = ["--total-steps", str(5 * PER_ITERATION)]
    before = files(Path("safe"))
    assert main(["--resume", f"safe/checkpoints/{step}", *more, "--run", "new"]) == 0
    assert files(Path("safe")) == before
    assert [line["step"] for line in lines("new")] == [5 * PER_ITERATION]


def test_a_later_best_is_of_another_future(mine: Path) -> None:
    """A fork from before the best checkpoint starts without one; a damaged one is told."""
    newest = checkpoint.load(mine)
    checkpoint.mark_best(mine / "checkpoints", newest.step, 0.5)
    checkpoint.carry_best(
        mine / "checkpoints", Path("new", "checkpoints"), until=newest.step - 1, run="x"
    )
    assert not Path("new").exists()
    (newest.path / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"state\.json"):
        checkpoint.carry_best(
            mine / "checkpoints", Path("new", "checkpoints"), until=newest.step, run="x"
        )


def test_results_go_to_the_run_that_was_measured(mine: Path) -> None:
    """A checkpoint copied among those of another run left its results there."""
    assert main([*TINY, *TOTAL, "--run", "other", "--seed", "2"]) == 0
    own = checkpoint.load(mine)
    assert run_folder.results_folder(own) == mine / "results"
    copy = shutil.copytree(own.path, Path("other", "checkpoints", "000000009999"))
    assert run_folder.results_folder(checkpoint.load(copy)) is None
    alone = shutil.copytree(own.path, Path("000000009999"))
    assert run_folder.results_folder(checkpoint.load(alone)) is None


def test_a_look_at_a_run_of_the_repository_leaves_the_clone_clean(mine: Path) -> None:
    own = checkpoint.load(mine)
    assert run_folder.results_folder(own, brief=True) == mine / "results"
    shipped = checkpoint.load(run_folder.SHIPPED / "ml1-reach" / "short" / "seed1")
    assert run_folder.results_folder(shipped) == shipped.path.parents[1] / "results"
    looks = run_folder.results_folder(shipped, brief=True)
    assert looks == Path("runs/looked-at/ml1-reach/short/seed1")
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", str(looks)], cwd=run_folder.SHIPPED.parent
    )
    assert ignored.returncode == 0


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "results", "tensorboard"])
def test_what_lies_in_the_folder_is_not_lost(capsys, name: str) -> None:
    """Metrics without a checkpoint were cut to nothing by a new run."""
    Path("mine").mkdir()
    Path("mine", name).write_text('{"step": 5}\n')
    for argv in ([], ["--resume-or-start"]):
        said = refused(capsys, *TINY, *TOTAL, "--run", "mine", *argv)
        assert "mine" in said
        assert "choose another folder with --run" in said


def test_a_started_run_is_a_run(unfaulted: Path, monkeypatch, capsys) -> None:
    """Interrupted before it saved: refused as any other, begun again by --resume-or-start."""
    with monkeypatch.context() as patch:
        patch.setattr("train.rl2.iterate", _interrupt)
        assert main([*TINY, *TOTAL, "--run", "mine"]) == 75
    assert "run the same command again with --resume-or-start" in capsys.readouterr().out
    said = refused(capsys, *TINY, *TOTAL, "--run", "mine")
    assert "already holds a run: it has saved nothing yet" in said
    other = refused(capsys, *TINY, *TOTAL, "--run", "mine", "--resume-or-start", "--gamma", "0.5")
    assert "ppo.gamma: the run has 0.99, you asked for 0.5" in other
    assert main([*TINY, *TOTAL, "--run", "mine", "--resume-or-start"]) == 0
    assert_same_run("mine", unfaulted)


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_one_command_starts_and_continues(unfaulted: Path, stop_after_two, capsys) -> None:
    """What a batch system requeues: the same line until the run is done, and refused after a
    change."""
    line = [*TINY, *TOTAL, "--run", "mine", "--resume-or-start"]
    assert main(line) == 75
    assert lines("mine")[-1]["step"] == 2 * PER_ITERATION
    assert main(line) == 0
    assert_same_run("mine", unfaulted)
    assert main(line) == 0
    said = refused(capsys, *line, "--hidden", "9")
    assert "agent.hidden: the run has 8, you asked for 9" in said


@pytest.fixture
def stop_after_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGTERM in the second iteration, once."""
    from train import loop

    original, seen = loop.collect, []

    def collect(*args, **options):
        seen.append(1)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **options)

    monkeypatch.setattr(loop, "collect", collect)


def test_the_lock_is_the_kernels(tmp_path: Path) -> None:
    """A leftover file locks nothing; of two owners in one process the second is refused too."""
    (tmp_path / "LOCK").write_text("process 1 on nowhere\n")
    assert holder(tmp_path) is None
    with locked(tmp_path):
        assert str(os.getpid()) in (holder(tmp_path) or "")
        with pytest.raises(InputError, match="is in use by process"), locked(tmp_path):
            raise AssertionError("not reached")
    assert holder(tmp_path) is None


def test_a_folder_that_was_taken_while_the_program_started(tmp_path: Path, monkeypatch) -> None:
    """Between the check and the lock: looked at again under the lock."""
    from train.run.config import Config

    config = Config(run=tmp_path / "mine")
    assert Origin().problems(config, "train.rl2") == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / run_folder.RUN).write_text("another\n")
    with pytest.raises(InputError, match="already holds a run"), claimed(config, None, new=True):
        raise AssertionError("not reached")
    assert identity(tmp_path / "mine") == "another"


def test_no_run_lies_in_another(mine: Path, capsys) -> None:
    """Its checkpoints, its results or any folder in it: a run there would write among its files."""
    for inside in ("mine/checkpoints", "mine/results", "mine/new", "mine/checkpoints/x/y"):
        said = refused(capsys, *TINY, *TOTAL, "--run", inside)
        assert f"{inside} lies in the folder of another run" in said
        said = refused(capsys, "--resume", "mine", "--run", inside)
        assert "choose one outside it" in said


@pytest.mark.parametrize("name", ["metrics.jsonl", "timing.jsonl", "results/retention.json"])
def test_a_history_that_is_no_plain_file_is_told(mine: Path, capsys, name: str) -> None:
    """A pipe in place of a log made a resumed run wait for ever."""
    path = mine / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    for argv in ([], ["--run", "fork"]):
        said = refused(capsys, "--resume", "mine", *argv)
        assert f"{path} is not a plain file" in said
    path.unlink()
    path.symlink_to("/dev/zero")
    assert f"{path} is not a plain file" in refused(capsys, "--resume", "mine", "--run", "fork")


OWN_FILES = (
    "config.json", "metrics.jsonl", "timing.jsonl", "RUN", "LOCK", "results/retention.json",
    "checkpoints/a.json", "tensorboard/a.json",
)  # fmt: skip


@pytest.mark.parametrize("name", OWN_FILES)
def test_no_result_takes_the_place_of_a_runs_own_file(mine: Path, name: str) -> None:
    """`--out RUN/config.json` of an evaluation replaced the configuration of the run."""
    path = mine / name
    assert nearest_folder(path) is None
    assert nearest_folder(mine / "results" / "eval.json") is not None


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="/proc is Linux's")
def test_no_result_goes_where_no_file_can_be_made() -> None:
    """Root may write anywhere, so that `--out /proc/x` ended in an error after all of the work."""
    assert nearest_folder(Path("/proc/none/eval.json")) is None


def test_no_result_goes_among_those_of_another_run(mine: Path) -> None:
    """An evaluation of one run in the results of another was reported as the other's."""
    other = Path(shutil.copytree(mine, "other"))
    (other / "RUN").write_text("another\n")
    saved = checkpoint.load(mine)
    assert foreign_problems(mine / "results" / "eval-test-9.json", saved) == []
    assert foreign_problems(Path("elsewhere.json"), saved) == []
    for measured in (saved, None):
        problems = foreign_problems(other / "results" / "eval-test-9.json", measured)
        assert "lies in the folder of another run" in problems[0]
    look = ["--preset", "quick", "--goals", "1", "--workers", "1"]
    for argv in (
        ["mine", *look, "--out", "other/results/eval-test-9.json"],
        ["--agent", "examples.fork_table_agent:load", "--suite", "FORK-reach-2", *look,
         "--out", "other/eval-9.json"],
    ):  # fmt: skip
        before = files(Path.cwd())
        with pytest.raises(SystemExit) as stopped:
            evaluate.main(argv)
        assert stopped.value.code == 2
        assert files(Path.cwd()) == before


def test_every_program_refuses_to_write_over_a_run(mine: Path, capsys) -> None:
    for program, arguments in (
        (evaluate, ["mine", "--out", "mine/config.json"]),
        (continual, ["mine", "--out", "mine/metrics.jsonl"]),
        (curves, ["mine", "--out", "mine/checkpoints/a.png"]),
        (report, ["mine", "--out", "mine/checkpoints"]),
        (throughput, ["--quick", "--out", "mine/config.json"]),
        (watch, ["mine", "--out", "mine/tensorboard/a.mp4"]),
        (share, ["mine", "--out", "mine/checkpoints/shared"]),
        (sweep, ["--into", "mine", "--param", "clip:linear:0.1:0.3"]),
        (many, ["--into", "mine", "--arms", "short", "--seeds", "1", "--", *TINY, *TOTAL]),
    ):
        before = files(Path.cwd())
        with pytest.raises(SystemExit) as stopped:
            program.main(arguments)
        assert stopped.value.code == 2, program
        assert files(Path.cwd()) == before
        assert "mine" in capsys.readouterr().err
