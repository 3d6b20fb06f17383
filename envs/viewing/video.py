"""Frames to files: mp4, GIF and PNG, each written beside its place and then moved there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

GIF_WIDTH, GIF_FPS = 640, 10


def write_video(path: Path, frames: Iterable[np.ndarray], *, fps: float) -> int:
    """Write an mp4 (H.264, yuv420p) that browsers play; returns how many frames it has.

    An existing file is replaced only by a complete one; whatever goes wrong, none is left half
    written. Nothing is created before the first frame has come.

    Args:
        path: ends in ``.mp4``; its folder is created if absent.
        frames: each (height, width, 3) uint8, all of one shape, multiples of 16.
        fps: frames shown per second.

    Raises:
        OSError: it cannot be written.
        ValueError: there are no frames.
    """
    incoming = iter(frames)
    first = next(incoming, None)
    if first is None:
        raise ValueError("a video needs at least one frame")
    count = 0
    with _replacing(path) as temporary:
        height, width = first.shape[:2]
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            (width, height),
            fps=fps,  # type: ignore[arg-type] - a fraction will do
            codec="libx264",
            quality=None,  # type: ignore[arg-type]
            pix_fmt_out="yuv420p",
            macro_block_size=16,
            output_params=["-crf", "20", "-preset", "veryfast", "-movflags", "+faststart"],
            ffmpeg_log_level="error",
        )
        with closing(writer):
            writer.send(None)
            for frame in chain([first], incoming):
                writer.send(np.ascontiguousarray(frame))
                count += 1
        try:  # ffmpeg's own failures, such as a full disk at the very end, are not raised
            written, _ = imageio_ffmpeg.count_frames_and_secs(str(temporary))
        except RuntimeError as error:
            raise OSError(f"ffmpeg left {path} unreadable: is the disk full?") from error
        if written != count:
            raise OSError(f"ffmpeg wrote {written} of {count} frames of {path}: is the disk full?")
    return count


def write_gif(path: Path, video: Path, *, fps: float) -> None:
    """Write a small GIF of a video, at most 640 pixels wide and 10 frames per second.

    Raises:
        OSError: it cannot be written.
    """
    scaled = f"fps={min(fps, GIF_FPS)},scale='min({GIF_WIDTH},iw)':-1:flags=lanczos"
    palette = "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=bayer:bayer_scale=5"
    with _replacing(path) as temporary:
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        inputs, filters = ["-i", str(video)], ["-vf", f"{scaled},{palette}"]
        done = subprocess.run(
            [ffmpeg, "-v", "error", "-y", *inputs, *filters, "-f", "gif", str(temporary)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise OSError(f"ffmpeg wrote no GIF: {done.stderr.strip()}")


def write_still(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write a contact sheet as PNG: `frames` below one another, or side by side if they are tall.

    Args:
        path: ends in ``.png``.
        frames: each (height, width, 3) uint8, all of one shape.

    Raises:
        OSError: it cannot be written.
    """
    height, width = frames[0].shape[:2]
    sheet = np.concatenate(frames, axis=0 if width >= height else 1)
    with _replacing(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


def picked(
    frames: Iterable[np.ndarray], places: Iterable[int], kept: list[np.ndarray]
) -> Iterator[np.ndarray]:
    """Pass `frames` on and keep those at `places` in `kept`."""
    wanted = set(places)
    for place, frame in enumerate(frames):
        if place in wanted:
            kept.append(frame)
        yield frame


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name in `path`'s folder that becomes `path` if all goes well, else vanishes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
