"""Files of moving and still pictures."""

import os
import signal
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from envs.viewing import gl
from envs.viewing.video import picked, write_gif, write_still, write_video
from train.run.signals import interrupt_on_signals


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

    @pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGVTALRM])
    def test_a_signal_leaves_no_file(self, tmp_path: Path, number: int) -> None:
        """Half a video lay about after the terminal was lost."""

        def cut_off():
            yield from self.frames(3)
            os.kill(os.getpid(), number)
            yield from self.frames(3)

        before = signal.getsignal(number)
        try:
            signal.signal(number, signal.SIG_DFL)
            interrupt_on_signals()
            with pytest.raises(KeyboardInterrupt):
                write_video(tmp_path / "x.mp4", cut_off(), fps=10)
        finally:
            signal.signal(number, before)
        assert not os.listdir(tmp_path)

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
