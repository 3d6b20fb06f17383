"""Stopping well: the first signal asks, the second insists."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec

INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: batch systems requeue it
STOPPING = "stopping: finishing this iteration and saving (again to stop at once)"

_Arguments = ParamSpec("_Arguments")
_UNCATCHABLE = {signal.SIGKILL, signal.SIGSTOP}
_OTHERWISE = {
    *("SIGCHLD", "SIGCONT", "SIGINFO", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH"),
    *("SIGABRT", "SIGBUS", "SIGEMT", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP"),
}
"""Signals that do not end a program, and those of a program that is broken."""


def stopping_signals() -> list[signal.Signals]:
    """SIGINT, SIGTERM and, unless it is ignored (nohup), SIGHUP: a terminal that is gone."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


def interrupt_on_signals() -> None:
    """Make every signal that would end the program a Ctrl-C, so that it clears up after itself."""
    for number in signal.valid_signals():
        kept = number in _UNCATCHABLE or getattr(number, "name", "") in _OTHERWISE
        if not kept and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def ends_when_interrupted(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
    """Let a program that only reads and writes a result end with a sentence and code 75."""

    @functools.wraps(main)
    def program(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except KeyboardInterrupt:
            print("interrupted: run the same command again", file=sys.stderr)
            return INTERRUPTED

    return program


class StopSignal:
    """Turns SIGINT, SIGTERM and SIGHUP into a request that the training loop looks at.

    The first signal lets the iteration finish, so that the checkpoint continues bit-exactly; the
    second ends the program at once, and the last checkpoint is what remains.

    Attributes:
        requested: the first signal has come.
        shown: a display tells of it, so that nothing is written here.
    """

    def __init__(self) -> None:
        self.requested = self.shown = False

    def __enter__(self) -> StopSignal:
        self._previous = {
            number: signal.signal(number, self._receive) for number in stopping_signals()
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if self.shown:
            return
        # Not print: a signal may come in the middle of a write to stderr, which is not reentrant.
        with contextlib.suppress(OSError):  # a terminal that is gone
            os.write(2, f"\n{STOPPING}\n".encode())
