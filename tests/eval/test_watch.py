"""Watching from the command line: what is shown is what is measured; mistakes cost nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image

from envs.metaworld.suites import make_suite
from envs.pool.pool import Policy, WorkerPool
from envs.viewing import gl
from eval import watch
from eval.viewing import watch_config
from eval.viewing.viewer import display_problems
from eval.viewing.watch_config import Settings, prepare
from tests.envs.viewing.scenes import drawing
from train.run.signals import INTERRUPTED

ROOT = Path(__file__).resolve().parents[2]
SHORT = ["--horizon", "60", "--size", "96", "--every", "20"]


@pytest.fixture
def anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(argv: list[str], capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit) as stopped:
        watch.main(argv)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@drawing
def test_a_video_of_chosen_tasks(run: Path, capsys: pytest.CaptureFixture) -> None:
    """Also of a task that the run's suite lacks; with a GIF and a contact sheet beside it."""
    before = files(run)
    chosen = ["--task", "reach-v3", "push-v3", "--goals", "1", "--episodes", "2"]
    assert watch.main([str(run), *chosen, *SHORT, "--gif", "--still"]) == 0
    stem = "results/watch-reach-v3+push-v3-000000001000"
    assert files(run) - before == {"results", *(f"{stem}.{kind}" for kind in ("mp4", "gif", "png"))}
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(run / f"{stem}.mp4"))
    assert (count, round(seconds, 2)) == (8, 0.8)
    assert Image.open(run / f"{stem}.png").size[1] % 3 == 0
    said = capsys.readouterr().out
    assert f"written: {run / stem}.mp4\n" in said
    assert "every 20 steps" in said


@drawing
def test_all_is_written_before_anything_is_told(
    anywhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A console that breaks at the table must not cost the GIF and the still."""
    seen: set[str] = set()
    monkeypatch.setattr(watch, "report", lambda cells: seen.update(files(anywhere)))
    argv = ["--random", "--task", "reach-v3", "--goals", "1", "--episodes", "1", *SHORT]
    assert watch.main([*argv, "--gif", "--still", "--out", "x.mp4"]) == 0
    assert seen == {"x.mp4", "x.gif", "x.png"}


def test_capitals_do_not_matter() -> None:
    assert watch_config.parse(["--random", "--task", "REACH-v3"]).task == ("reach-v3",)


def test_a_checkpoint_in_no_folder_of_its_run_is_filmed_here(
    run: Path, anywhere: Path, no_need_to_draw: None
) -> None:
    """The video went beside the checkpoints of another run."""
    saved = run / "checkpoints" / "000000001000"
    (anywhere / "checkpoints").mkdir()
    (anywhere / "RUN").write_text("another\n")
    copy = shutil.copytree(saved, anywhere / "checkpoints" / saved.name)
    assert prepare(Settings(copy)).out == Path("watch-reach-v3-000000001000.mp4")


@drawing
@pytest.mark.filterwarnings("ignore:Constant")
def test_experts_without_a_run(
    anywhere: Path, capsys: pytest.CaptureFixture, pool: WorkerPool
) -> None:
    """What is said in words is what a pool measures on the suite's own trials."""
    assert watch.main(["--scripted", "--task", "reach-v3", "--episodes", "1", *SHORT]) == 0
    assert files(anywhere) == {"watch-reach-v3-scripted.mp4"}
    said = capsys.readouterr().out
    trials = make_suite("ML1", task="reach-v3", seed=1).evaluation_trials(
        "test", goals=2, episodes=1, horizon=60, seed=1
    )
    successes = pool.run(trials, Policy("scripted"), lanes=2).successes
    assert successes.any(axis=0).all()
    for trial, first in zip(trials, successes.argmax(axis=0) + 1, strict=True):
        line = next(line for line in said.splitlines() if f"goal {trial.goal_index} " in line)
        assert line.endswith(f"1: step {first}")


@drawing
def test_an_agent_of_ones_own_on_a_suite(
    anywhere: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trials are those of the suite, in one block: it has one memory."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    agent = ["--agent", "fork_table_agent:load", "--suite", "fork-REACH-2", "--goals", "2"]
    assert watch.main([*agent, "--size", "96", "--every", "25"]) == 0
    folder = "runs/fork_table_agent-load"
    assert f"{folder}/results/watch-reach-v3-fork_table_agent-load.mp4" in files(anywhere)
    said = capsys.readouterr().out
    assert "reach-v3 × 2 goals × 4 episodes × 50 steps" in said
    cells = [line for line in said.splitlines() if "success in episode" in line]
    assert [line.partition("2:")[2].count("step") for line in cells] == [3, 3]  # it remembers


def test_every_mistake_is_reported_at_once(
    run: Path, capsys: pytest.CaptureFixture, no_need_to_draw: None
) -> None:
    before = files(run)
    wrong = "--task rech-v3 push-v3 push-v3 --goals 0 --episodes 0 --horizon 900 --every -1"
    more = "--size 5 --fps 0 --seed -1 --random --scripted --out film.avi"
    said = refused([str(run), *wrong.split(), *more.split()], capsys)
    for part in (
        "did you mean reach-v3",
        "each task once",
        "--goals must be at least 1",
        "--episodes must be at least 1",
        "--horizon is at most 500",
        "--every must be at least 1",
        "--size must be from",
        "--fps must be from",
        "--seed must be",
        "exclude each other",
        "ends in .mp4",
    ):
        assert said.count(part) == 1, part
    assert "Traceback" not in said
    assert files(run) == before


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "name a run folder"),
        (["--random"], "without a run, name tasks"),
        (["--random", "--suite", "ML11"], "did you mean ML1"),
        (["--agent", "a:b", "--suite", "ML10", "--repeating"], "leave out --random and its like"),
        (["nowhere", "--agent", "a:b"], "leave the run folder out"),
        (["nowhere"], "no checkpoint at nowhere"),
        (["nowhere", "--which", "best"], "names no best checkpoint"),
        (["--random", "--task", "reach-v3", "--goals", "41"], "41 cells: at most 40"),
        (["--random", "--task", "reach-v3", "--size", "1000", "--goals", "30"], "at most 4096"),
        (["--random", "--task", "reach-v3", "--camera", "up"], "corner4"),
    ],
)
def test_bad_requests_say_what_to_type(
    argv: list[str], says: str, anywhere: Path, capsys: pytest.CaptureFixture, no_need_to_draw: None
) -> None:
    assert says in refused(argv, capsys)
    assert files(anywhere) == set()


def test_a_damaged_checkpoint_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture, no_need_to_draw: None
) -> None:
    damaged = tmp_path / "000000001000"
    damaged.mkdir()
    for path in (run / "checkpoints" / damaged.name).iterdir():
        data = bytearray(path.read_bytes())
        if path.name == "agent.safetensors":
            data[-1] ^= 1
        (damaged / path.name).write_bytes(data)
    assert "agent.safetensors" in refused([str(damaged)], capsys)


def test_defaults_keep_the_number_of_pictures_in_bounds(run: Path, no_need_to_draw: None) -> None:
    one = prepare(Settings(run, goals=1))
    assert (one.every, one.fps) == (4, 20)  # real time: 80 steps a second
    many = prepare(Settings(run, goals=20))
    assert many.every * watch_config.PICTURES >= 20 * 3 * 500
    assert many.fps == 10
    assert one.out == run / "results" / "watch-reach-v3-000000001000.mp4"
    checkpoint = run / "checkpoints" / "000000001000"
    program = prepare(Settings(checkpoint, deterministic=True))
    assert program.out == run / "results" / "watch-reach-v3-000000001000-deterministic.mp4"
    assert program.policy.deterministic


@drawing
def test_an_interrupted_video_leaves_nothing(
    anywhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    whole = watch.film

    def interrupted(*args: object, **options: object):
        frames = whole(*args, **options)
        yield next(frames)
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "film", interrupted)
    argv = ["--random", "--task", "reach-v3", "--goals", "1", *SHORT, "--out", "new/x.mp4"]
    assert watch.main(argv) == INTERRUPTED
    assert "nothing was written" in capsys.readouterr().err
    assert files(anywhere) <= {"new"}


@drawing
def test_a_video_that_cannot_be_written_is_an_error(
    anywhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(watch, "write_video", full)
    assert watch.main(["--random", "--task", "reach-v3", "--goals", "1", *SHORT]) == 1
    assert capsys.readouterr().err == "error: No space left on device\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have a display")
def test_live_says_where_there_is_no_display(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "there is no display here" in refused([str(run), "--live"], capsys)
    monkeypatch.setenv("DISPLAY", ":314")
    assert "cannot be opened" in display_problems()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="MUJOCO_GL is for Linux")
def test_a_broken_choice_of_renderer(run: Path) -> None:
    """The very command, with a MUJOCO_GL with which MuJoCo cannot even be imported."""
    before = files(run)
    done = subprocess.run(
        [sys.executable, "-m", "eval.watch", str(run), "--goals", "0"],
        cwd=ROOT,
        env={**os.environ, "MUJOCO_GL": "bogus"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2, done.stderr
    assert "MUJOCO_GL=bogus is none of egl, osmesa, glfw" in done.stderr
    assert "--goals must be at least 1" in done.stderr  # reported together
    assert "Traceback" not in done.stderr
    assert files(run) == before


@pytest.mark.skipif(sys.platform != "linux", reason="MUJOCO_GL is for Linux")
def test_where_nothing_can_be_rendered(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Each renderer is really tried, and really fails."""
    before = files(run)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYOPENGL_PLATFORM", "bogus")
    gl.backend.cache_clear()
    try:
        said = refused([str(run)], capsys)
    finally:
        gl.backend.cache_clear()
    for part in ("nothing here can render", "apt-get install libegl1 libgl1", "no display"):
        assert part in said
    assert files(run) == before
