"""Pictures of trials: the right way up, and showing what is measured."""

import numpy as np
import pytest

from envs.pool.pool import Policy, WorkerPool
from envs.viewing import gl
from envs.viewing.captions import GREEN, Layout
from envs.viewing.playback import Cell, Playback
from envs.viewing.render import CAMERAS, Stage, film, frame_count, render_trials
from tests.envs.viewing.scenes import REACH, SIZE, TRIALS, drawing, goal_of


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
