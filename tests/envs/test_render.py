"""Pictures of trials: they show what is measured, the right way up, and say what they show."""

import os
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from agents.rl2 import AgentConfig, RL2Agent, actor_weights
from envs import gl
from envs.captions import GREEN, Layout, badge, compose, lines
from envs.playback import Cell, Playback
from envs.pool import Policy, WorkerPool
from envs.render import CAMERAS, Stage, film, frame_count, render_trials
from envs.trial import Trial, TrialRunner
from envs.video import picked, write_gif, write_still, write_video

ROOT = Path(__file__).resolve().parents[2]
SIZE = 96
# Scripted experts solve reach within 60 steps, push not.
REACH = Trial("reach-v3", (0.0, 0.6, 0.02, 0.1, 0.8, 0.2), 3, "test", 2, 60, seed=5)
PUSH = Trial("push-v3", (0.0, 0.6, 0.02, 0.1, 0.8, 0.02), 4, "train", 2, 60, seed=6)
TRIALS = [REACH, PUSH]


def why_not() -> str:
    try:
        gl.backend()
    except gl.GLError as error:
        return f"nothing can be rendered here: {error}"
    return ""


NO_GL = why_not()
drawing = pytest.mark.skipif(bool(NO_GL), reason=NO_GL)


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def agent() -> Policy:
    torch.manual_seed(0)
    agent = RL2Agent(AgentConfig(hidden=32, encoder=32))
    return Policy("agent", "gru", {name: w.numpy() for name, w in actor_weights(agent).items()})


def played(play: Playback) -> dict[str, np.ndarray]:
    """Rewards, successes and returns of all steps, (T, cells)."""
    rows = {"rewards": [], "successes": [], "totals": []}
    for step in play.moments():
        if step:
            rows["rewards"].append([cell.reward for cell in play.cells])
            rows["successes"].append([cell.success for cell in play.cells])
            rows["totals"].append([cell.total for cell in play.cells])
    play.close()
    return {name: np.array(values) for name, values in rows.items()}


class TestPlayback:
    def test_an_agent_plays_as_in_the_pool(self, pool: WorkerPool, agent: Policy) -> None:
        """To the last bit, also where only some trials of a block are watched."""
        trials = [REACH, PUSH, REACH, PUSH]
        measured = pool.run(trials, agent, lanes=3)
        for watched in ([0, 1, 2, 3], [1, 3]):
            slots = [trial if place in watched else None for place, trial in enumerate(trials)]
            seen = played(Playback(agent, slots, lanes=3))
            np.testing.assert_array_equal(
                seen["rewards"].astype(np.float32), measured.rewards[:, watched]
            )
            np.testing.assert_array_equal(seen["successes"], measured.successes[:, watched])

    def test_a_block_that_nobody_watches_costs_nothing(self, agent: Policy) -> None:
        play = Playback(agent, [None, None, REACH, PUSH], lanes=2)
        assert [cell.trial for cell in play.cells] == [REACH, PUSH]
        assert len(play._blocks) == 1

    def test_returns_start_anew_with_each_episode(self) -> None:
        seen = played(Playback(Policy("random"), [REACH], lanes=1))
        np.testing.assert_allclose(seen["totals"][59], seen["rewards"][:60].sum(axis=0))
        np.testing.assert_allclose(seen["totals"][-1], seen["rewards"][60:].sum(axis=0))

    def test_an_episodes_end_is_seen_before_its_reset(self) -> None:
        """The runner resets within the last step; the pose is the one that the step led to."""
        play, last = Playback(Policy("random"), [REACH], lanes=1), None
        cell = play.cells[0]
        for step in play.moments():
            if step == 60:
                cell.update_pose()
                last = cell.pose.qpos.copy()
                break
        longer = Trial(**{**REACH.to_json(), "horizon": 61, "goal": REACH.goal})
        runner = TrialRunner("reach-v3")
        runner.begin(longer)
        actor, inputs = Policy("random"), np.zeros((1, len(runner.inputs)), np.float32)
        block = Playback(actor, [longer], lanes=1)._blocks[0]
        for t in range(60):
            runner.step(block.actor.act(inputs, block.noise[t])[0][0].astype(np.float32))
        np.testing.assert_array_equal(last, runner.env.env.data.qpos)
        assert np.abs(last - cell.runner.env.env.data.qpos).max() > 1e-3  # which has been reset

    @pytest.mark.parametrize("task", ["door-lock-v3", "sweep-v3"])
    def test_goal_markers_are_where_the_goal_is(self, task: str) -> None:
        """Official drawing has them up to 80 cm elsewhere for these tasks."""
        play = Playback(Policy("random"), [goal_of(task)], lanes=1)
        cell = play.cells[0]
        cell.update_pose()
        name, place = cell.runner.env.env._target_site_config[0]
        np.testing.assert_allclose(cell.pose.site(name).xpos, place)
        np.testing.assert_allclose(cell.target, place)
        assert np.linalg.norm(cell.runner.env.env.data.site(name).xpos - place) > 0.05
        play.close()

    def test_a_fault_freezes_the_trial(self, monkeypatch: pytest.MonkeyPatch) -> None:
        play = Playback(Policy("random"), [REACH], lanes=1)
        cell, moments = play.cells[0], play.moments()
        for _ in range(5):
            next(moments)
        cell.runner.env.env.data.qvel[:] = 1e12
        cell.succeeded_at[-1] = 1
        next(moments)
        assert cell.fault
        assert badge(cell) == "PHYSICS FAULT"
        assert cell.succeeded_at == [None]
        total = cell.total
        next(moments)
        assert (cell.step, cell.reward, cell.total) == (6, 0.0, total)

    def test_a_non_finite_action_names_the_trial(self, agent: Policy) -> None:
        broken = {**agent.weights, "head.bias": np.full(4, np.nan, np.float32)}
        play = Playback(Policy("agent", "gru", broken), [REACH, PUSH], lanes=2)
        with pytest.raises(FloatingPointError, match="reach-v3, goal 3, episode 1, step 0"):
            played(play)

    def test_trials_of_different_length_are_refused(self) -> None:
        other = Trial(**{**PUSH.to_json(), "horizon": 61, "goal": PUSH.goal})
        with pytest.raises(ValueError, match="same episodes and horizon"):
            Playback(Policy("random"), [REACH, other], lanes=1)


def goal_of(task: str) -> Trial:
    goals = {"door-lock-v3": (0.0, 0.8, 0.15), "sweep-v3": (0.0, 0.6, 0.02)}
    return Trial(task, goals[task], 0, "test", 2, 60, seed=0)


@pytest.fixture(scope="module")
def expert_film(pool: WorkerPool) -> tuple[np.ndarray, Layout, np.ndarray]:
    """Frames of both trials with the expert, where things are, and the measured successes."""
    frames = render_trials(Policy("scripted"), TRIALS, lanes=2, size=SIZE, every=20, title="x")
    return frames, Layout(SIZE, 2, 1), pool.run(TRIALS, Policy("scripted"), lanes=2).successes


@drawing
@pytest.mark.filterwarnings("ignore:Constant")
class TestFrames:
    def test_shape_and_number(self, expert_film) -> None:
        frames, layout, _ = expert_film
        assert frames.dtype == np.uint8
        assert len(frames) == frame_count(episodes=2, horizon=60, every=20) == 8
        assert frames.shape[1:3] == layout.shape
        assert not frames.shape[1] % 16
        assert not frames.shape[2] % 16

    def test_pictures_change_and_are_no_plain_colour(self, expert_film) -> None:
        frames, layout, _ = expert_film
        for cell in range(2):
            left, top = layout.place(cell)
            pictures = frames[:, top + 20 : top + SIZE - 20, left + 10 : left + SIZE - 10]
            assert (pictures.astype(float).std(axis=(1, 2)) > 10).all()
            assert (np.abs(np.diff(pictures.astype(int), axis=0)).max(axis=(1, 2, 3)) > 50).all()

    def test_the_second_episode_starts_like_the_first(self, expert_film) -> None:
        frames, layout, _ = expert_film
        left, top = layout.place(0)
        picture = (slice(top, top + SIZE), slice(left, left + SIZE))
        np.testing.assert_array_equal(frames[0][picture], frames[4][picture])

    def test_green_frames_are_the_measured_successes(self, expert_film) -> None:
        frames, layout, successes = expert_film
        by_episode = successes.reshape(2, 60, 2)
        expected = [
            [by_episode[episode, :step, cell].any() for cell in range(2)]
            for episode in range(2)
            for step in (0, 20, 40, 60)
        ]
        corners = [layout.place(cell) for cell in range(2)]
        green = [
            [tuple(frame[top + SIZE - 2, left + SIZE // 2]) == GREEN for left, top in corners]
            for frame in frames
        ]
        assert green == expected
        assert np.any(green)
        assert not np.all(green)

    def test_labels_are_written_and_follow_the_steps(self, expert_film) -> None:
        frames, layout, _ = expert_film
        for cell in range(2):
            left, top = layout.place(cell)
            label = frames[:, top - layout.label : top, left : left + SIZE].astype(int)
            first, second = label[:, : layout.line, : SIZE // 2], label[:, layout.line :]
            assert (first.max(axis=(1, 2, 3)) > 200).all()
            assert (np.abs(np.diff(first, axis=0)) == 0).all()  # the task's name
            assert (np.abs(np.diff(second, axis=0)).max(axis=(1, 2, 3)) > 50).all()  # the step

    def test_drawing_leaves_the_trial_as_it_is(self, pool: WorkerPool, agent: Policy) -> None:
        play = Playback(agent, TRIALS, lanes=2)
        for _ in film(play, size=SIZE, every=10):
            pass
        measured = pool.run(TRIALS, agent, lanes=2)
        by_episode = measured.rewards.reshape(2, 60, 2).sum(axis=1, dtype=np.float64)
        np.testing.assert_allclose([c.total for c in play.cells], by_episode[1], rtol=1e-6)
        for column, cell in enumerate(play.cells):
            steps = measured.successes.reshape(2, 60, 2)[:, :, column]
            first = [int(np.argmax(s)) + 1 if s.any() else None for s in steps]
            assert cell.succeeded_at == first
        play.close()


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return Playback(Policy("random"), [REACH, goal_of("door-lock-v3")], lanes=1).cells


@drawing
class TestStage:
    @pytest.mark.parametrize("camera", [name for name in CAMERAS if "ripper" not in name])
    def test_pictures_are_upright_and_not_mirrored(
        self, camera: str, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A goal that moves up, or to where the camera has its left, moves so in the picture."""
        cell = cells[0]
        cell.update_pose()
        frame = cell.pose.cam_xmat[cell.pose.cam(camera).id].reshape(3, 3)
        forward, up = -frame[:, 2], np.array([0.0, 0.0, 1.0])
        if camera == "topview":
            up = np.array([0.0, 1.0, 0.0])
        right = np.cross(forward, up)
        middle = cell.pose.cam(camera).xpos + 0.5 * forward
        with Stage(SIZE, camera) as stage:

            def seen_at(place: np.ndarray) -> np.ndarray:
                monkeypatch.setattr(cell.runner.env.env, "_target_pos", place)
                return stage.picture(cell).astype(int)

            empty = seen_at(np.array([0.0, 0.0, -9.0]))

            def where(place: np.ndarray) -> np.ndarray:
                return np.argwhere(np.abs(seen_at(place) - empty).max(-1) > 30).mean(axis=0)

            start, higher = where(middle), where(middle + 0.05 * up)
            beside = where(middle - 0.05 * right / np.linalg.norm(right))
        assert higher[0] < start[0] - 2
        assert beside[1] < start[1] - 2

    def test_models_do_not_disturb_each_other(self, cells: list[Cell]) -> None:
        """Several models share one context: each picture is as if it were drawn alone."""
        with Stage(SIZE) as stage:
            together = [stage.picture(cell) for cell in cells * 2]
        for cell, once, again in zip(cells, together[:2], together[2:], strict=True):
            with Stage(SIZE) as stage:
                np.testing.assert_array_equal(stage.picture(cell), once)
            np.testing.assert_array_equal(once, again)
        assert (together[0] != together[1]).mean() > 0.05

    def test_the_model_keeps_its_own_settings(self, cells: list[Cell]) -> None:
        model = cells[0].runner.env.env.model
        assert model.vis.quality.shadowsize > 0
        assert model.vis.quality.offsamples > 0

    def test_a_failing_driver_is_a_gl_error(
        self, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise gl.mujoco.FatalError("no memory")

        monkeypatch.setattr(gl.mujoco, "MjrContext", full)
        with Stage(SIZE) as stage, pytest.raises(gl.GLError, match=r"reach-v3 .* no memory"):
            stage.picture(cells[0])
        assert cells[0].runner.env.env.model.vis.quality.shadowsize > 0

    def test_closing_twice_is_harmless(self) -> None:
        stage = Stage(SIZE)
        stage.close()
        stage.close()

    @pytest.mark.parametrize("wrong", [{"camera": "corner9"}, {"size": 8}, {"size": 5000}])
    def test_bad_arguments_are_refused(self, wrong: dict) -> None:
        with pytest.raises(ValueError, match=r"corner4|from 96 to 1024"):
            Stage(**wrong)

    def test_frames_need_a_step(self) -> None:
        with pytest.raises(ValueError, match="every"):
            render_trials(Policy("random"), [REACH], lanes=1, every=0)


def cell_at(**state: object) -> Cell:
    cell = Cell(TrialRunner("reach-v3"), pose=None)
    cell.runner.trial = REACH
    for name, value in state.items():
        setattr(cell, name, value)
    return cell


def test_words_say_which_trial_and_how_it_stands() -> None:
    cell = cell_at(episode=2, step=17, reward=1.26, total=30.4, succeeded_at=[None, 9])
    assert lines(cell) == (
        "reach-v3",
        "test goal 3   episode 2/2   step 17",
        "reward 1.3   return 30",
    )
    assert badge(cell) == "solved at step 9"
    cell.success = True
    assert badge(cell) == "SUCCESS"
    assert badge(cell_at()) == ""


@pytest.mark.parametrize("size", [96, 240, 500])
def test_what_is_written_stays_in_its_cell(size: int) -> None:
    cells = [cell_at(step=500, total=4900.0, success=True, succeeded_at=[500])] * 4
    layout = Layout(size, 2, 2)
    frame = compose(cells, [np.zeros((size, size, 3), np.uint8)] * 4, layout, "title")
    assert frame.shape == (*layout.shape, 3)
    gaps = [layout.place(1)[0] - 2, layout.place(1)[0] + size + 2]
    assert (frame[layout.line + 6 :, gaps] == frame[-1, -1]).all()


class TestVideo:
    @staticmethod
    def frames(count: int, height: int = 64, width: int = 96):
        for value in range(count):
            yield np.full((height, width, 3), value * 9, np.uint8)

    def test_an_mp4_has_all_frames(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "x.mp4"
        assert write_video(path, self.frames(13), fps=12.5) == 13
        count, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
        assert (count, round(seconds, 2)) == (13, 1.04)
        reader = imageio_ffmpeg.read_frames(str(path))
        facts = next(reader)
        assert facts["size"] == (96, 64)
        assert facts["pix_fmt"].startswith("yuv420p")
        means = [np.frombuffer(frame, np.uint8).mean() for frame in reader]
        np.testing.assert_allclose(means, [value * 9 for value in range(13)], atol=4)
        assert os.listdir(path.parent) == ["x.mp4"]

    def test_a_failure_keeps_the_old_file_and_leaves_no_other(self, tmp_path: Path) -> None:
        def failing():
            yield from self.frames(3)
            raise KeyboardInterrupt

        path = tmp_path / "x.mp4"
        path.write_bytes(b"old")
        with pytest.raises(KeyboardInterrupt):
            write_video(path, failing(), fps=10)
        assert os.listdir(tmp_path) == ["x.mp4"]
        assert path.read_bytes() == b"old"

    def test_nothing_is_made_before_the_first_frame(self, tmp_path: Path) -> None:
        def failing():
            raise gl.GLError("no")
            yield

        with pytest.raises(gl.GLError):
            write_video(tmp_path / "new" / "x.mp4", failing(), fps=10)
        with pytest.raises(ValueError, match="at least one frame"):
            write_video(tmp_path / "new" / "x.mp4", [], fps=10)
        assert not os.listdir(tmp_path)

    def test_a_video_cut_short_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """ffmpeg's last writes may fail without a word, on a full disk for one."""
        monkeypatch.setattr(imageio_ffmpeg, "count_frames_and_secs", lambda path: (2, 0.2))
        with pytest.raises(OSError, match="2 of 3 frames"):
            write_video(tmp_path / "x.mp4", self.frames(3), fps=10)
        assert not os.listdir(tmp_path)

    def test_gif_and_contact_sheet(self, tmp_path: Path) -> None:
        video, kept = tmp_path / "x.mp4", []
        write_video(video, picked(self.frames(20), (0, 9, 19), kept), fps=20)
        write_gif(tmp_path / "x.gif", video, fps=20)
        with Image.open(tmp_path / "x.gif") as gif:
            assert gif.n_frames == 10
            assert gif.size == (96, 64)
        write_still(tmp_path / "x.png", kept)
        sheet = np.asarray(Image.open(tmp_path / "x.png"))
        assert sheet.shape == (3 * 64, 96, 3)
        assert sheet[::64, 0, 0].tolist() == [0, 81, 171]
        with pytest.raises(OSError, match="no GIF"):
            write_gif(tmp_path / "y.gif", tmp_path / "x.png.mp4", fps=20)
        assert not (tmp_path / "y.gif").exists()


class TestBackend:
    @pytest.fixture(autouse=True)
    def _fresh(self):
        gl.backend.cache_clear()
        yield
        gl.backend.cache_clear()

    @pytest.mark.parametrize(
        ("value", "says"), [("bogus", "none of"), ("off", "switches rendering off")]
    )
    def test_a_useless_choice_is_named(
        self, value: str, says: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MUJOCO_GL", value)
        with pytest.raises(gl.GLError, match=f"MUJOCO_GL={value} .*{says}"):
            gl.backend()

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems have a display")
    def test_a_choice_that_does_not_work_is_not_replaced(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MUJOCO_GL", "glfw")
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        with pytest.raises(gl.GLError, match=r"(?s)there is no display.*unset MUJOCO_GL"):
            gl.backend()

    def test_the_first_that_works_is_chosen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried = []

        def probe(name: str) -> str:
            tried.append(name)
            return "" if name == "osmesa" else "broken"

        monkeypatch.delenv("MUJOCO_GL", raising=False)
        monkeypatch.setattr(gl, "BACKENDS", ("egl", "osmesa", "glfw"))
        monkeypatch.setattr(gl, "_probe", probe)
        assert gl.backend() == "osmesa"
        assert tried == ["egl", "osmesa"]

    def test_missing_libraries_are_named_with_their_packages(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("MUJOCO_GL", raising=False)
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        monkeypatch.setattr(gl, "BACKENDS", ("egl", "osmesa"))
        monkeypatch.setattr(gl, "_PROBE", "raise SystemExit(1)")
        monkeypatch.setattr(gl, "_loads", lambda library: False)
        with pytest.raises(gl.GLError) as error:
            gl.backend()
        for part in (
            "libEGL.so.1 is not installed",
            "libOSMesa.so.8",
            "apt-get install libegl1 libgl1",
            "apt-get install libosmesa6",
        ):
            assert part in str(error.value)

    def test_a_crashing_driver_is_survived(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gl, "_PROBE", "import os; os.abort()")
        assert gl._probe("cgl") == "trying it ended with status -6"


def test_only_rendering_depends_on_opengl() -> None:
    """MuJoCo refuses to be imported with a MUJOCO_GL that is not there; stepping needs none."""
    program = """
from envs import gl
from envs.stepping import TaskEnv
import os
assert os.environ["MUJOCO_GL"] == "bogus"
env = TaskEnv("reach-v3")
try:
    gl.backend()
except gl.GLError:
    print("stepping only")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "MUJOCO_GL": "bogus"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "stepping only\n", done.stderr
