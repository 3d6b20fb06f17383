"""A run's numbers in TensorBoard, success first, with its configuration beside them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from train.run.config_io import flattened

FIRST = ("train", "test")  # TensorBoard sorts groups by name: a number brings these to the top
RESULT = "train/success"  # that its table of hyperparameters shows


class Board:
    """Writes into ``RUN/tensorboard``.

    Args:
        run: the run folder.
        first: step from which on earlier events of the folder are void.

    Raises:
        OSError: from here on everything may raise it.
    """

    def __init__(self, run: Path, first: int) -> None:
        folder = run / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        _await_new_second(folder)
        self._writer = SummaryWriter(str(folder), purge_step=first, flush_secs=30)

    def describe(self, config: Mapping[str, Any]) -> None:
        """Show the JSON values of the configuration, as text and as hyperparameters."""
        text = json.dumps(config, indent=2)
        self._writer.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()), 0)
        values = {
            name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
            for name, value in flattened(config)
        }
        for summary in hparams(values, {tag(RESULT): 0.0}):
            self._writer._get_file_writer().add_summary(summary)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add a point to the curve of every number."""
        for name, value in numbers.items():
            self._writer.add_scalar(tag(name), value, step)

    def video(self, step: int, name: str, frames: npt.NDArray[np.uint8], fps: float) -> None:
        """Show frames (T, H, W, 3), RGB uint8, as an animation. Raises ValueError for others."""
        import imageio.v3
        from tensorboard.compat.proto.summary_pb2 import (
            Summary,  # pyright: ignore[reportAttributeAccessIssue] - generated at run time
        )

        # SummaryWriter.add_video needs moviepy to do just this.
        gif = imageio.v3.imwrite("<bytes>", frames, extension=".gif", duration=1e3 / fps, loop=0)
        _, height, width, channels = frames.shape
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=gif
        )
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._writer._get_file_writer().add_summary(summary, step)

    def flush(self) -> None:
        """Make what was written durable."""
        self._writer.flush()

    def close(self) -> None:
        """Write what waits, and end."""
        self._writer.close()


def tag(name: str) -> str:
    """The name of a number in TensorBoard: ``1_train/success``, ``2_test/success``, ``ppo/kl``."""
    group = name.partition("/")[0]
    return f"{FIRST.index(group) + 1}_{name}" if group in FIRST else name


def _await_new_second(folder: Path) -> None:
    # TensorBoard reads event files in order of their names, which begin with the second they were
    # made in. Unless ours comes last, `purge_step` purges the wrong events.
    while any(folder.glob(f"*.tfevents.{int(time.time()):010d}.*")):
        time.sleep(0.05)
