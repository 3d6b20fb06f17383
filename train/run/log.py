"""The metrics stream of a run.

`metrics.jsonl` holds what is deterministic and is the truth; `timing.jsonl` holds what the clock
says. TensorBoard, trackers and the console are fed from the same numbers and may fail without harm.
"""

import json
import operator
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from math import inf, isfinite
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from train.run.config_io import read_values
from train.run.signals import STOPPING, StopSignal
from train.run.tracking import Wandb
from train.run.verified_folder import CheckpointError, replace_file

if TYPE_CHECKING:
    from train.run.board import Board

METRICS = "metrics.jsonl"
TIMING = "timing.jsonl"

_NON_FINITE = "log/non_finite"
_PER_TASK = "train/success/"
_BUFFER = 2**20  # bytes of lines that can wait while the disk is full
_BAR = 24  # columns
_PLAIN_INTERVAL = 10.0  # seconds between lines when there is no terminal

_Numbers = dict[str, float | None]


class RunLog:
    """Writes the metrics stream of one run.

    Names are flat and slash-separated: "train/success/reach-v3", "ppo/kl".
    """

    def __init__(
        self,
        run: Path,
        *,
        total_steps: int,
        resume_step: int | None = None,
        console: bool = True,
        stop: StopSignal | None = None,
    ) -> None:
        """Opens the log, dropping what was logged after the checkpoint that the run starts from.

        Args:
            run: the run folder, created if absent.
            total_steps: environment steps of the whole run, for the progress display.
            resume_step: step of the checkpoint; later lines are dropped, so that each step is
                there once. None: the run starts from nothing, and all earlier lines are dropped.
            console: show progress on standard output.
            stop: a request to stop, which a display on a terminal shows itself.

        Raises:
            OSError: the run folder cannot be written.
        """
        from train.run.board import Board  # slow, so only here

        first = 0 if resume_step is None else resume_step + 1
        run.mkdir(parents=True, exist_ok=True)
        config = _config_of(run)
        self._console: _Terminal | _Plain | None = None
        with ExitStack() as stack:
            self._metrics = stack.enter_context(_open_before(run / METRICS, first))
            self._timing = stack.enter_context(_open_before(run / TIMING, first))
            self._board: Board | None = Board(run, first)
            stack.callback(self._feed, lambda board: board.close())
            if config and resume_step is None:
                self._feed(lambda board: board.describe(config))
            self._tracker: Wandb | None = None
            if config.get("track") == "wandb":
                self._track(lambda: setattr(self, "_tracker", Wandb(run, config)))
                stack.callback(self._track, lambda: self._tracker and self._tracker.close())
            if console:
                on_terminal = sys.stdout.isatty() and Console().is_interactive
                self._console = (
                    _Terminal(total_steps, first, stop) if on_terminal else _Plain(total_steps)
                )
                stack.callback(self._console.close)
            self._open = stack.pop_all()

    def write(self, step: int, metrics: Mapping[str, float], timing: Mapping[str, float]) -> None:
        """Appends one line to each file and shows the numbers.

        Numbers that are not finite are written as null, left out of TensorBoard and counted under
        "log/non_finite". On a full disk lines wait in memory, with a warning; `sync` then raises.

        Args:
            step: environment steps so far.
            metrics: deterministic numbers; equal runs give equal bytes.
            timing: seconds and rates, e.g. "steps_per_second"; in TensorBoard under "timing/".

        Raises:
            ValueError: a number is called "step", or the log is closed.
        """
        step = operator.index(step)
        numbers, clock = _numbers(metrics), _numbers(timing)
        _append(self._metrics, step, numbers)
        _append(self._timing, step, clock)
        scalars = numbers | {f"timing/{name}": value for name, value in clock.items()}

        finite = {name: value for name, value in scalars.items() if value is not None}
        self._feed(lambda board: board.write(step, finite))
        self._track(lambda: self._tracker and self._tracker.write(step, finite))
        if self._console is not None:
            self._console.show(step, numbers, clock)

    def sync(self) -> None:
        """Makes all lines durable. Call it before each checkpoint.

        Raises:
            OSError: the disk does not take them.
        """
        for file in (self._metrics, self._timing):
            file.flush()
            os.fsync(file.fileno())
        self._feed(lambda board: board.flush())

    def video(self, step: int, tag: str, frames: npt.NDArray[np.uint8], fps: float = 20.0) -> None:
        """Shows an animation in TensorBoard.

        Args:
            step: environment steps so far.
            tag: its name, as for metrics.
            frames: RGB pictures, uint8, (T, H, W, 3).
            fps: frames per second.

        Raises:
            ValueError: the frames have another shape or dtype.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or not len(frames) or frames.shape[3] != 3:
            raise ValueError(f"need uint8 frames (T, H, W, 3), not {frames.dtype} {frames.shape}")
        self._feed(lambda board: board.video(step, tag, frames, fps))

    def message(self, text: str) -> None:
        """Prints one line, above the progress display if there is one."""
        if self._console is not None:
            self._console.message(text)

    def close(self) -> None:
        """Ends the display and closes all files; closing again does nothing.

        Raises:
            OSError: lines that waited for room on the disk are lost.
        """
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _feed(self, action: Callable[["Board"], object]) -> None:
        # TensorBoard repeats the truth; its failure, say of a full disk, must not stop a run.
        if self._board is None:
            return
        try:
            action(self._board)
        except OSError as error:
            self._board = None
            warnings.warn(f"TensorBoard output stops ({error}); {METRICS} goes on", stacklevel=3)

    def _track(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # a service may raise any
            self._tracker = None
            warnings.warn(f"tracking stops ({error}); {METRICS} goes on", stacklevel=3)


class Silence:
    """The log of a learner that is not the first one of its run: it keeps nothing."""

    def write(self, step: int, metrics: Mapping[str, float], timing: Mapping[str, float]) -> None:
        """See `RunLog.write`."""

    def sync(self) -> None:
        """See `RunLog.sync`."""

    def video(self, step: int, tag: str, frames: npt.NDArray[np.uint8], fps: float = 20.0) -> None:
        """See `RunLog.video`."""

    def message(self, text: str) -> None:
        """See `RunLog.message`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


AnyLog = RunLog | Silence


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` in order, each with "step"; a torn last line is left out.

    Raises:
        FileNotFoundError: the folder holds no metrics.
    """
    return [record for _, record in _lines(run / METRICS)]


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    *lines, _torn = path.read_bytes().split(b"\n")  # the rest after the last end of line
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            operator.index(record["step"])
        except (ValueError, TypeError, KeyError, RecursionError):
            warnings.warn(f"{path} line {number} is damaged and left out", stacklevel=3)
        else:
            yield line, record


def _open_before(path: Path, first: int) -> BinaryIO:
    """Opens `path` to append after its lines of steps below `first`, dropping the others."""
    kept = (
        [line for line, record in _lines(path) if record["step"] < first] if path.exists() else []
    )
    replace_file(path, b"".join(line + b"\n" for line in kept))
    return path.open("ab", buffering=_BUFFER)


def _config_of(run: Path) -> dict[str, Any]:
    """The JSON values of the run's configuration, which is written before its log; {} if none."""
    try:
        return read_values(run / "config.json")
    except CheckpointError:
        return {}


def _numbers(values: Mapping[str, float]) -> _Numbers:
    if "step" in values:
        raise ValueError('"step" is the key of the step itself; name the number otherwise')
    numbers = {name: float(values[name]) for name in values}
    finite: _Numbers = {name: value if isfinite(value) else None for name, value in numbers.items()}
    lost = sum(value is None for value in finite.values())
    return finite | ({_NON_FINITE: float(lost)} if lost else {})


def _append(file: BinaryIO, step: int, numbers: _Numbers) -> None:
    line = json.dumps({"step": step, **dict(sorted(numbers.items()))}, allow_nan=False)
    try:
        file.write(line.encode() + b"\n")
        file.flush()
    except OSError as error:
        text = f"cannot write {file.name} ({error}); its lines wait in memory"
        warnings.warn(text, stacklevel=3)


def _summary(step: int, total: int, numbers: _Numbers, clock: _Numbers) -> dict[str, str]:
    shown = {"success": "train/success", "return": "train/return", "kl": "ppo/kl"}
    values = {label: numbers.get(name) for label, name in shown.items()}
    summary = {label: f"{value:.4g}" for label, value in values.items() if value is not None}
    rate = clock.get("steps_per_second")
    if rate is not None and rate > 0:
        seconds = min(max(total - step, 0) / rate, 1e9)  # timedelta has a limit
        summary |= {"steps/s": f"{rate:.0f}", "eta": str(timedelta(seconds=round(seconds)))}
    return summary


class _Plain:
    """One line now and then, for logs of batch jobs."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = -inf

    def show(self, step: int, numbers: _Numbers, clock: _Numbers) -> None:
        now = time.monotonic()
        if now - self._shown < _PLAIN_INTERVAL and step < self._total:
            return
        self._shown = now
        summary = {"step": f"{step}/{self._total}"} | _summary(step, self._total, numbers, clock)
        self.message(" ".join(f"{label}={value}" for label, value in summary.items()))

    def message(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class _Notice:
    """That the run is about to stop, once that was asked for."""

    stop: StopSignal | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        if self.stop is not None and self.stop.requested:
            yield Text(STOPPING)


class _Terminal:
    """A progress bar, the numbers of the last iteration, and success per task if several.

    No line is longer than 80 columns, and nobody else writes while it is shown: a terminal would
    keep an old copy of it for every line that it does not know of.
    """

    def __init__(self, total: int, start: int, stop: StopSignal | None) -> None:
        self._total, self._notice = total, _Notice(stop)
        if stop is not None:
            stop.shown = True
        self._progress = Progress(
            TextColumn("{task.completed:,}/{task.total:,}"),
            BarColumn(bar_width=_BAR),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        self._bar = self._progress.add_task("", total=total, completed=start)
        self._live = Live(
            Group(self._progress, self._notice), console=Console(), refresh_per_second=2
        )
        self._live.start()

    def show(self, step: int, numbers: _Numbers, clock: _Numbers) -> None:
        summary = _summary(step, self._total, numbers, clock)
        words = "  ".join(f"{label} {value}" for label, value in summary.items())
        text = Text(words, no_wrap=True, overflow="ellipsis")
        self._progress.update(self._bar, completed=step)
        tasks = [
            f"{name.removeprefix(_PER_TASK)} {value:.2f}"
            for name, value in numbers.items()
            if name.startswith(_PER_TASK) and value is not None
        ]
        table = [Columns(tasks, equal=True, padding=(0, 3))] if len(tasks) > 1 else []
        self._live.update(Group(self._progress, text, *table, self._notice), refresh=True)

    def message(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._live.stop()
        if self._notice.stop is not None:
            self._notice.stop.shown = False
