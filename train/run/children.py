"""Training runs as child processes of one command: started, watched by their logs, stopped well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.pool.pool import search_path
from train.run.run_files import LARGEST
from train.run.signals import INTERRUPTED, StopSignal

_TAIL = 2**18  # bytes at the end of a log, in which its last line is found
_PATIENCE = 600.0  # seconds that a child may take for its last iteration and checkpoint


@dataclass
class Child:
    """A training run in a process of its own.

    Attributes:
        folder: its run folder.
        process: it.
        asked: whether it has been asked to stop.
    """

    folder: Path
    process: subprocess.Popen[bytes]
    asked: bool = False

    @classmethod
    def start(cls, program: str, arguments: Sequence[str], folder: Path) -> Child:
        """Start ``python -m program arguments``; what it says is added to ``FOLDER.log``.

        It gets a session of its own, so that Ctrl-C reaches it once, by `stop`, and a terminal that
        closes does not end it.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        with output_of(folder).open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": search_path()},
                start_new_session=True,
            )
        return cls(folder, process)

    def stop(self) -> None:
        """Ask it to save and end; asked again, it ends at once."""
        self.asked = True
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs; one that a signal of ours ended is interrupted."""
        code = self.process.poll()
        return INTERRUPTED if code == -signal.SIGTERM and self.asked else code


@contextmanager
def ended_with_us(children: Sequence[Child]) -> Iterator[None]:
    """Whatever happens in the body, no child outlives it: each is asked, then told, to end.

    Args:
        children: may grow meanwhile.
    """
    try:
        yield
    except BaseException:
        for child in children:
            if child.code is None:
                child.stop()
        raise
    finally:
        for child in children:
            try:
                child.process.wait(_PATIENCE)
            except BaseException:
                child.process.kill()
                raise


def in_folder(folder: Path) -> list[str]:
    """Options by which a program starts its run in `folder`, or goes on with it."""
    return ["--run", str(folder), "--resume-or-start"]


def pause(seconds: float, stop_signal: StopSignal) -> None:
    """Sleep, but not on when a stop is requested."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop_signal.requested:
        time.sleep(min(0.2, seconds))


def output_of(folder: Path) -> Path:
    """Where a child writes what it would say in a terminal: beside its run folder."""
    return folder.with_name(f"{folder.name}.log")


def last_words(folder: Path) -> str:
    """The last line that a child said; an empty string if it said nothing."""
    lines = _tail(output_of(folder)).decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def last_line(path: Path) -> dict[str, Any]:
    """The numbers in the last whole line of a metrics stream; {} where there is none yet."""
    *lines, _torn = _tail(path).split(b"\n")
    for line in reversed(lines):
        with suppress(ValueError, RecursionError):
            values = json.loads(line)
            known = values.items() if isinstance(values, dict) else ()
            return {name: value for name, value in known if is_number(value)}
    return {}


def is_number(value: object) -> bool:
    """Whether a value from a log is a number that can be calculated with."""
    return type(value) in (int, float) and abs(value) <= LARGEST  # type: ignore[arg-type]


def _tail(path: Path) -> bytes:
    if not path.is_file():  # a pipe would block
        return b""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return file.read()
    except OSError:
        return b""
