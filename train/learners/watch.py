"""Watching the other learners: each beats in a store, and who is silent ends the run for all.

A collective waits for ever for a learner that is stopped, so the clock is not the collective's. One
thread writes this learner's beat and reads those of all; another judges by what was read last, so
that a store that does not answer is noticed too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from train.learners.ranks import RankError
from train.run.signals import INTERRUPTED

BEAT = 1.0  # seconds between beats
SILENT = 15.0  # seconds without a beat after which a learner counts as hung
GRACE = 10.0  # seconds that the main thread may take to end once somebody is gone
_STOPPED = 5.0  # seconds: a judge that slept for longer was itself stopped, and begins anew
_END = "end"  # key of the store: who failed, and why


class Watch:
    """Beats for one learner and judges the others.

    Args:
        store: a connection of its own to the store; all beats are in it already.
        rank: of this learner.
        names: what each learner is called, in the order of ranks.
        children: processes of other learners that this one started, by rank.
        farewell: says how to resume.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        names: list[str],
        children: Mapping[int, subprocess.Popen[bytes]],
        farewell: Callable[[], str],
    ) -> None:
        self._store, self._rank, self._names = store, rank, names
        self._children, self._farewell = children, farewell
        self._told: str | None = None
        self._verdict: RankError | None = None
        self._over = threading.Event()
        self._begin_anew()
        for work in (self._beat, self._judge):
            threading.Thread(target=work, daemon=True, name=f"learners{work.__name__}").start()

    def check(self) -> None:
        """Raises RankError once it is known that somebody is gone."""
        if self._verdict is not None:
            raise self._verdict

    def reason(self, otherwise: str) -> RankError:
        """Why a collective failed: it is known soon, as who is gone is silent."""
        until = time.monotonic() + SILENT + 3 * BEAT
        while self._verdict is None and time.monotonic() < until:
            time.sleep(0.1)
        return self._verdict or RankError(f"the learners lost each other: {otherwise}")

    def fail(self, why: str) -> None:
        """Tell the others that this learner has failed; it tells the user only if it is the first.

        Errors of the store are of no interest any more.
        """
        try:
            self._store.set(_END, f"{self._rank} {why}")
        except Exception:  # torch raises many kinds
            return

    def stop(self) -> None:
        """End the watch: everybody is done."""
        self._over.set()

    def _begin_anew(self) -> None:
        now = time.monotonic()
        self._round = now
        self._beats = [(b"", now)] * len(self._names)

    def _beat(self) -> None:
        keys, beats = [f"beat/{rank}" for rank in range(len(self._names))], 0
        while not self._over.wait(BEAT):
            beats += 1
            try:
                self._store.set(keys[self._rank], str(beats))
                seen = self._store.multi_get(keys)
                if self._store.check([_END]):
                    self._told = self._store.get(_END).decode(errors="replace")
            except Exception:  # torch raises many kinds; the judge sees no round
                continue
            now = time.monotonic()
            self._round = now
            self._beats = [
                old if old[0] == new else (bytes(new), now)
                for old, new in zip(self._beats, seen, strict=True)
            ]

    def _judge(self) -> None:
        """Find out who is gone, and end the process where the main thread does not."""
        woke = time.monotonic()
        while not self._over.wait(BEAT / 2):
            slept, woke = time.monotonic() - woke, time.monotonic()
            if slept > _STOPPED:
                self._begin_anew()
            self._verdict = self._found()
            if self._verdict is None:
                continue
            if not self._over.wait(GRACE):
                for child in self._children.values():
                    child.kill()
                leave(self._verdict, self._farewell())
            return

    def _found(self) -> RankError | None:
        for rank, child in self._children.items():
            if child.poll() not in (None, 0, INTERRUPTED) and self._told is None:
                return self._gone(rank, f"died (exit status {child.returncode})")
        if self._told is not None:
            rank, _, why = self._told.partition(" ")
            text = f"{self._names[int(rank)]} failed: {why}"
            return RankError(text, speaks=self._rank == 0 and rank != "0")
        now = time.monotonic()
        if now - self._round > SILENT:
            return self._gone(0, f"does not answer for {SILENT:.0f} s")
        for rank, (_, since) in enumerate(self._beats):
            if now - since > SILENT and rank != self._rank:
                return self._gone(rank, f"does not answer for {SILENT:.0f} s")
        return None

    def _gone(self, rank: int, how: str) -> RankError:
        """The lowest learner that is left tells the user."""
        speaker = 1 if rank == 0 else 0
        return RankError(f"{self._names[rank]} {how}", speaks=self._rank == speaker)


def leave(error: RankError, farewell: str) -> NoReturn:
    """End the process now: messages to a learner that hangs would hold the interpreter back."""
    if error.speaks:
        print(f"error: {error}\n{farewell}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
