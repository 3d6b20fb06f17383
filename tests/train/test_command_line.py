"""The command line: every mistake at once, in words, with exit code 2 and nothing written."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from agents.rl2 import AgentConfig
from envs.metaworld.suites import Suite
from train import continual
from train.rl2 import main
from train.run import checkpoint
from train.run.config import Config
from train.run.input_error import InputError
from train.run.origin import command, parse
from train.run.run_folder import claimed
from train.run.state import initialise, load_agent

ROOT = Path(__file__).resolve().parents[2]
REACH = ("--suite", "ML1", "--task", "reach-v3")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Runs the command line, which must end with code 2 and leave the folder as it was."""
    before = contents()
    with pytest.raises(SystemExit) as stopped:
        main(list(argv))
    assert stopped.value.code == 2
    assert contents() == before
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return captured.err + captured.out


def contents() -> dict[str, tuple[int, int]]:
    """Every file and folder here with its size and time."""
    here = Path.cwd()
    return {
        str(path.relative_to(here)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in here.rglob("*")
    }


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--suite", "ML11"], ["unknown suite 'ML11': did you mean ML1"]),
        (["--suite", "ML1", "--task", "door-opn"], ["did you mean door-open-v3"]),
        (["--suite", "ML1"], ["--task reach-v3"]),
        ([*REACH, "--learning-rate", "nan"], ["--learning-rate"]),
        ([*REACH, "--kl-stop", "inf"], ["--kl-stop"]),
        ([*REACH, "--total-steps", "-5", "--gamma", "2"], ["--total-steps", "-5", "--gamma"]),
        ([*REACH, "--horizon", "501"], ["--horizon must be from 1 to 500"]),
        ([*REACH, "--log-std-min", "nan"], ["--log-std-min"]),
        (
            [*REACH, "--core", "hopfield", "--gamma", "2"],
            ["no core 'hopfield': choose gru, lstm, ", "--gamma"],
        ),
        ([*REACH, "--core", "nowhere:Core"], ["cannot import 'Core' from 'nowhere'"]),
        (
            [*REACH, "--arm", "short-wide", "--hidden", "0"],
            ["--hidden must be from 1 to"],
        ),
        ([*REACH, "--arm", "episodic", "--half-lives", "10", "0"], ["--half-lives"]),
        ([*REACH, "--arm", "episodic", "--half-lives"], ["--half-lives"]),
        ([*REACH, "--resume"], ["Missing value for argument '--resume'"]),
        (["--resume", "nowhere"], ["--resume nowhere"]),
        (["--resume=nowhere"], ["--resume nowhere"]),
    ],
    ids=lambda value: " ".join(value[-2:]),
)
def test_bad_input_is_refused(capsys, argv: list[str], says: list[str]) -> None:
    text = refused(capsys, *argv)
    for part in says:
        assert part in text


@pytest.mark.parametrize(
    "argv",
    [
        ["--no-such-flag", "1"],
        ["--episodes", "two"],
        ["--total-steps", "1.5"],
        ["stray"],
        ["--run", "runs/" + "x" * 201],  # file systems take 255, but we write longer names first
    ],
)
def test_unreadable_input_is_refused(capsys, argv: list[str]) -> None:
    """tyro's own errors end the same way as ours."""
    refused(capsys, *REACH, *argv)


def test_trials_that_do_not_divide_are_refused_before_anything_is_made(capsys) -> None:
    text = refused(capsys, "--suite", "custom", "--tasks", "reach-v3", "push-v3", "--trials", "3")
    assert "--trials 3 does not divide among 2 tasks: try 4" in text


def test_a_run_is_not_overwritten(capsys, tmp_path: Path) -> None:
    """Days of training end here for the want of a flag, elsewhere."""
    (tmp_path / "mine" / "checkpoints" / "000000000010").mkdir(parents=True)
    text = refused(capsys, *REACH, "--run", "mine")
    assert "already holds a run" in text
    assert "--resume mine" in text


def test_a_file_in_the_way_is_named(capsys, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    assert "mine is not a folder" in refused(capsys, *REACH, "--run", "mine")


def test_no_traceback_in_a_terminal(tmp_path: Path) -> None:
    """The whole program from outside: exit code 2, words on stderr, an empty folder."""
    done = subprocess.run(
        [sys.executable, "-m", "train.rl2", "--suite", "ML11", "--learning-rate", "nan"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------- resuming


@pytest.fixture
def saved_run(tmp_path: Path) -> Path:
    """A run folder with one checkpoint of an untrained agent, made without a simulator."""
    goals = {"reach-v3": tuple((0.01 * i, 0.6, 0.02, 0.1, 0.8, 0.1) for i in range(3))}
    config = Config(
        suite="ML1",
        task="reach-v3",
        total_steps=1000,
        agent=AgentConfig(hidden=4, encoder=4, critic=4),
        run=tmp_path / "mine",
        workers=1,
        threads=1,
    )
    state = initialise(config, Suite("ML1", 1, goals, goals))
    state.steps, state.iteration = 120, 3
    with claimed(config, None, new=True):
        state.save(config)
    return tmp_path / "mine"


def test_a_resumed_run_is_as_it_was(saved_run: Path) -> None:
    config, origin = parse(["--resume", str(saved_run)])
    saved = origin.saved
    assert saved is not None
    assert (saved.step, saved.state["iteration"]) == (120, 3)
    assert (config.task, config.agent.hidden, config.run) == ("reach-v3", 4, saved_run)


def test_a_run_may_be_moved_and_named_by_its_checkpoint(saved_run: Path, tmp_path: Path) -> None:
    """The folder that was asked for is written to, not the one it was made in."""
    moved = saved_run.rename(tmp_path / "moved")
    assert parse([f"--resume={moved}"])[0].run == moved
    (one,) = (path for path in (moved / "checkpoints").iterdir() if path.is_dir())
    assert parse(["--resume", str(one)])[0].run == moved
    assert parse(["--resume", str(one.parent)])[0].run == moved


def test_a_checkpoint_named_from_where_it_lies_is_of_its_run(
    saved_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = (path for path in (saved_run / "checkpoints").iterdir() if path.is_dir())
    monkeypatch.chdir(one.parent)
    assert parse(["--resume", one.name])[0].run == saved_run
    monkeypatch.chdir(saved_run)
    assert parse(["--resume", "."])[0].run_folder.absolute() == saved_run


def test_what_does_not_change_learning_may_be_changed(saved_run: Path) -> None:
    config, _ = parse(
        ["--resume", str(saved_run), "--workers", "5", "--total-steps", "2000", "--keep", "9"]
    )
    assert (config.workers, config.total_steps, config.keep) == (5, 2000, 9)


def test_incompatible_changes_are_refused_field_by_field(capsys, saved_run: Path) -> None:
    """What is learnt would be neither the old run nor a new one."""
    text = refused(
        capsys, "--resume", str(saved_run), "--hidden", "8", "--episodes", "3", "--gamma", "0.9"
    )
    assert "agent.hidden: the run has 4, you asked for 8" in text
    assert "episodes: the run has 4, you asked for 3" in text
    assert "ppo.gamma: the run has 0.99, you asked for 0.9" in text
    assert "--total-steps" in text  # says what may change
    assert "suite" in refused(capsys, "--resume", str(saved_run), "--suite", "ML10")


def test_a_damaged_checkpoint_is_refused(capsys, saved_run: Path) -> None:
    (agent,) = saved_run.rglob("agent.safetensors")
    data = bytearray(agent.read_bytes())
    data[-1] ^= 1
    agent.write_bytes(data)
    assert "SHA-256" in refused(capsys, "--resume", str(saved_run))


def test_a_checkpoint_of_the_policy_alone_is_not_resumed(capsys, saved_run: Path) -> None:
    saved = checkpoint.load(saved_run)
    checkpoint.save(
        Path("shared/checkpoints"),
        saved.step,
        tensors={"agent": saved.tensors["agent"]},
        state=saved.state,
        config=saved.config,
    )
    assert load_agent(checkpoint.load(Path("shared")))[0] is not None
    message = refused(capsys, "--resume", "shared")
    assert "it holds the policy only" in message
    assert "evaluate or watch it" in message


def test_a_foreign_configuration_is_refused(capsys, saved_run: Path) -> None:
    """A checkpoint of a later or earlier Strata: its fields are named."""
    saved = checkpoint.load(saved_run)
    checkpoint.save(
        saved_run / "checkpoints",
        200,
        tensors=saved.tensors,
        state=saved.state,
        config={**saved.config, "wheels": 4},
    )
    assert "unknown field wheels" in refused(capsys, "--resume", str(saved_run))


# ---------------------------------------------------------------------------------- what is meant


@pytest.mark.parametrize("written", ["1000000", "1_000_000", "1e6", "10e5"])
def test_numbers_may_be_written_as_people_write_them(written: str) -> None:
    assert parse(["--total-steps", written])[0].total_steps == 1_000_000


@pytest.mark.parametrize("written", ["1.5", "1e-3", "nan", "inf", "1e300", "million"])
def test_what_is_no_whole_number_is_refused(capsys, written: str) -> None:
    refused(capsys, *REACH, "--total-steps", written)


def test_capitals_do_not_matter() -> None:
    config, _ = parse(["--suite", "ml1", "--task", "Reach-V3"])
    assert (config.suite, config.task) == ("ML1", "reach-v3")
    assert parse(["--suite", "CUSTOM", "--tasks", "PUSH-v3"])[0].tasks == ("push-v3",)


def test_a_configuration_is_taken_back(tmp_path: Path, saved_run: Path) -> None:
    """The file's values are defaults: what is on the line goes before them."""
    config, origin = parse(["--config", str(saved_run / "config.json"), "--seed", "7"])
    assert (config.seed, config.agent.hidden, config.total_steps) == (7, 4, 1000)
    assert origin.saved is None
    assert config.run is None


def test_a_file_that_is_no_configuration_is_refused(capsys, tmp_path: Path) -> None:
    (tmp_path / "wheels.json").write_text('{"wheels": 4}')
    assert "unknown field wheels" in refused(capsys, "--config", "wheels.json")
    assert "--config nowhere" in refused(capsys, "--config", "nowhere")
    for text, says in {
        '{"seed": 1, "seed": 2}': "seed stands twice",
        '{"agent": 5}': "agent must be a JSON object",
        '{"suite":': "is not valid JSON",
        "[]": "is not a JSON object",
    }.items():
        (tmp_path / "bad.json").write_text(text)
        said = refused(capsys, "--config", "bad.json")
        assert says in said
        assert "checkpoint" not in said
        assert said.count("bad.json") == 1
    assert "leave out" in refused(capsys, "--config", "wheels.json", "--resume", "nowhere")


def test_what_is_printed_can_be_pasted() -> None:
    line = command("train.rl2", "--resume", Path("runs/a b;c"))
    assert shlex.split(line) == ["python", "-m", "train.rl2", "--resume", "runs/a b;c"]


def test_help_names_how_a_run_begins(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert all(flag in said for flag in ("--resume ", "--resume-or-start", "--config"))


def test_a_stream_of_one_task_is_told_that_it_needs_two(capsys) -> None:
    with pytest.raises(SystemExit):
        continual.main(["--suite", "custom", "--tasks", "reach-v3"])
    assert "needs two tasks or more, not reach-v3 alone" in capsys.readouterr().err


def test_a_configuration_does_not_choose_the_folder(tmp_path: Path, capsys) -> None:
    """`run` in the file sent a new run into the folder of the old one."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**Config(seed=7).to_json(), "run": "runs/old"}))
    for argv in ([], ["--run", "new"], ["--resume-or-start"]):
        with pytest.raises(InputError, match="it names a folder, runs/old: take run out"):
            parse(["--config", str(path), *argv])
    path.write_text(json.dumps(Config(seed=7, run=Path("runs/old")).to_json()))
    config = parse(["--config", str(path)])[0]
    assert (config.seed, config.run) == (7, None)
