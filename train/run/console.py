"""Standard output and error that may fail without harm.

A closed pipe, a full disk under a log or a terminal that knows only ASCII must not end what takes
days. What cannot be encoded is shown as ``?``; a stream that breaks is dropped with one warning.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import ContextDecorator, suppress
from typing import Any, TextIO

from envs.viewing.descriptors import fill_standard_descriptors

_HELP = {"-h", "--help"}


class ForgivingStream:
    """A text stream that takes everything; what it has beside `write` and `flush` is the other's.

    Args:
        stream: where text goes until that fails.
        name: of the stream, for the warning; None: fail silently.
    """

    def __init__(self, stream: TextIO, name: str | None) -> None:
        self._stream, self._name, self._broken = stream, name, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text` as far as that can be done. Returns its length."""
        encoding = self._stream.encoding or "utf-8"
        self._attempt(lambda: self._stream.write(text.encode(encoding, "replace").decode(encoding)))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write all `lines`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, if there is still something to flush to."""
        self._attempt(self._stream.flush)

    def _attempt(self, action: Any) -> None:
        if self._broken:
            return
        try:
            action()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self._broken = True
            _send_to_nowhere(self._stream)
            if self._name is not None:
                text = f"{self._name} has failed ({error}); the work goes on without it"
                warnings.warn(text, RuntimeWarning, stacklevel=3)


def _send_to_nowhere(stream: TextIO) -> None:
    """Point the file descriptor elsewhere: Python flushes what is left when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class forgiving_console(ContextDecorator):  # noqa: N801 - used like a function
    """Make standard output and error forgive while a program runs; decorates its ``main``."""

    def __enter__(self) -> None:
        fill_standard_descriptors()
        asked_for_help = bool(_HELP & set(sys.argv))  # a closed pipe is then no news
        self._before = sys.stdout, sys.stderr
        out = sys.stdout or open(os.devnull, "w")
        err = sys.stderr or open(os.devnull, "w")
        sys.stdout = ForgivingStream(out, None if asked_for_help else "standard output")  # type: ignore[assignment]
        sys.stderr = ForgivingStream(err, None)  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = self._before
