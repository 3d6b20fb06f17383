"""Stopping well: the first signal asks, the second insists."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: batch systems requeue it


class StopSignal:
    """Turns SIGINT and SIGTERM into a request that the training loop looks at.

    The first signal lets the iteration finish, so that the checkpoint continues bit-exactly; the
    second ends the program at once, and the last checkpoint is what remains.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> StopSignal:
        self._previous = {
            number: signal.signal(number, self._receive)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # Not print: a signal may come in the middle of a write to stderr, which is not reentrant.
        with contextlib.suppress(OSError):  # a terminal that is gone
            os.write(
                2, b"\nstopping: finishing this iteration and saving (again to stop at once)\n"
            )
