"""Memory shared between the learner and its workers: one anonymous mapping, nothing to leak.

The file behind the mapping is unlinked the moment it is made, so neither a SIGKILL nor a power cut
leaves anything in /dev/shm.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.acting.place_aims import AIM_NUMBERS
from agents.input_layout import ACTION_DIM, INPUT_DIM

ALIGN = 64
MAX_WORKERS = 1024
STARTING = -1  # in `SharedBuffer.rows`: the worker has not come up yet
_HEADER = 2 * MAX_WORKERS * 8  # bytes
PER_TRIAL = ("targets", "aims")  # arrays of a batch that have one row a trial, and no time
Spec = Sequence[tuple[str, str, tuple[int, ...]]]
"""Arrays in order: name, NumPy dtype, shape."""


def worker_problems(workers: int | None) -> list[str]:
    """What is wrong with a number of workers, for which shared memory has its room."""
    if workers is None or 1 <= workers <= MAX_WORKERS:
        return []
    return [f"--workers must be from 1 to {MAX_WORKERS}, not {workers}"]


@dataclass(frozen=True)
class TrialBatch:
    """What happened in a batch of trials of equal length; time-major, T = K × H.

    Attributes:
        inputs: packed inputs the agent saw, (T, B, input), with its aim
            where it acts on one.
        actions: unclipped actions, (T, B, 4).
        log_probs: log-probability of each action under the acting policy, (T, B).
        rewards: the tasks' own rewards, (T, B).
        successes: success flag of each step, (T, B).
        faults: physics became unstable at or before this step of the trial, (T, B).
        targets: where the trial's task wants its hand or object, metres, (B, 3); the learner's own.
        choices: in FORK the target touched in the attempt so far, else -1, (T, B).
        aims: what the trial asks for, as an aim of `agents.acting.place_aims`, (B, 4); zeros where
            the agent acts on none. The learner's own.
    """

    inputs: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray
    rewards: np.ndarray
    successes: np.ndarray
    faults: np.ndarray
    targets: np.ndarray
    choices: np.ndarray
    aims: np.ndarray

    @staticmethod
    def spec(steps: int, trials: int, width: int = INPUT_DIM) -> Spec:
        """The arrays' layout for T = `steps`, B = `trials` and inputs of `width` numbers."""
        t, b = steps, trials
        return (
            ("inputs", "float32", (t, b, width)),
            ("actions", "float32", (t, b, ACTION_DIM)),
            ("log_probs", "float32", (t, b)),
            ("rewards", "float32", (t, b)),
            ("successes", "bool", (t, b)),
            ("faults", "bool", (t, b)),
            ("targets", "float32", (b, 3)),
            ("choices", "int8", (t, b)),
            ("aims", "float32", (b, AIM_NUMBERS)),
        )


class SharedBuffer:
    """A growable mapping that starts with two numbers per worker: where it is, were it to die.

    Args:
        descriptor: file descriptor inherited from the owner; None makes a new buffer.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._file = None
        if descriptor is None:
            folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
            descriptor = self._file.fileno()
            os.truncate(descriptor, _HEADER)
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, 0)

    @property
    def progress(self) -> np.ndarray:
        """One step counter per worker, (MAX_WORKERS,) int64: it stands still when a worker does."""
        return np.frombuffer(self._map, np.int64, MAX_WORKERS)

    @property
    def rows(self) -> np.ndarray:
        """Trial of its block that each worker is stepping, or STARTING; (MAX_WORKERS,) int64."""
        return np.frombuffer(self._map, np.int64, MAX_WORKERS, MAX_WORKERS * 8)

    def arrays(self, spec: Spec) -> dict[str, np.ndarray]:
        """Views of the arrays laid out one after another, growing the mapping where needed."""
        offset, places = _HEADER, []
        for name, kind, shape in spec:
            places.append((name, np.dtype(kind), shape, offset))
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            offset += -(-size // ALIGN) * ALIGN
        if offset > len(self._map):
            if os.fstat(self.descriptor).st_size < offset:
                _reserve(self.descriptor, offset)
            self._map = mmap.mmap(self.descriptor, 0)
        return {
            name: np.frombuffer(self._map, kind, int(np.prod(shape)), place).reshape(shape)
            for name, kind, shape, place in places
        }

    def close(self) -> None:
        """Give the memory back once no view is left."""
        if self._file is not None:
            self._file.close()


def _reserve(descriptor: int, size: int) -> None:
    """Grow the file and its memory at once: a page that finds no room later kills by SIGBUS."""
    if not hasattr(os, "posix_fallocate"):  # not everywhere
        os.truncate(descriptor, size)
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise OSError(
            error.errno,
            f"no room for {size >> 20} MiB of shared memory ({error.strerror}): run fewer trials "
            "at once or enlarge /dev/shm (docker: --shm-size)",
        ) from error
