"""The pool: worker processes that run whole trials and meet the learner once per iteration.

A block of trials is a pure function of (trials, weights), so a worker that died, hung or raised is
simply replaced and its block run again: the same bits, with nothing recorded for replay. Every wait
has a deadline, and `close` always returns.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from agents.input_layout import INPUT_DIM
from envs.pool.shared_rollout import (
    MAX_WORKERS,
    STARTING,
    SharedBuffer,
    Spec,
    TrialBatch,
    worker_problems,
)
from envs.pool.work_split import pieces
from envs.trials.trial import Trial

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0  # that a worker may take to import its modules, on however busy a machine
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerError(RuntimeError):
    """A worker failed for good; the message names worker, task, goal, episode and step."""


@dataclass(frozen=True)
class Policy:
    """What acts in the workers.

    Attributes:
        kind: ``agent``, ``random`` (floor) or ``scripted`` (ceiling).
        core: who steps the agent's short-term memory; see `memory.cores.steps.make_step`.
        weights: the agent's weights; see `agents.rl2.actor_weights`.
        deterministic: act by the mean.
        attempts: episodes of a trial after which the best is repeated
            (`agents.acting.repeating`); 0: the short-term memory is
            carried through all episodes instead.
        aims: numbers of an aim, of an agent that acts on one (M in FORK): they follow its inputs.
            0: it acts on its memory.
        told: show the true targets: what the agent would do if it knew. To one that acts on aims
            the workers show them; for others the trials say so (`Trial.shown`).
        forget: clear the short-term memory at each attempt's start and hide the outcome of the
            last one (`agents.acting.forgetting`): a lesion.
    """

    kind: str = "agent"
    core: str = "gru"
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    deterministic: bool = False
    attempts: int = 0
    aims: int = 0
    told: bool = False
    forget: bool = False

    @property
    def input_width(self) -> int:
        """Numbers of an input with its aim."""
        return INPUT_DIM + self.aims

    def to_json(self) -> dict[str, Any]:
        """All but the weights, which travel in shared memory."""
        names = ("kind", "core", "deterministic", "attempts", "aims", "told", "forget")
        return {name: getattr(self, name) for name in names}


@dataclass
class _Process:
    popen: subprocess.Popen
    channel: Connection
    seen: tuple[int, int] = (0, 0)  # progress counter and row when it was last seen to move
    moved: float = 0.0  # and when that was
    begun: int = 0  # progress counter when its command was sent


def search_path() -> str:
    """PYTHONPATH of a process of ours: this Strata first, then what the user has."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def available_cores() -> int:
    """Cores this process may use: those it is bound to, at most those that Slurm gave its task."""
    bound = hasattr(os, "sched_getaffinity")
    cores = min(len(os.sched_getaffinity(0)) if bound else os.cpu_count() or 1, MAX_WORKERS)
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return max(1, min(cores, int(given))) if given.isdecimal() else cores


def _library_of_glfw() -> dict[str, str]:
    """Where it is, for gymnasium imports glfw, and glfw starts a Python process to find out.

    A second Ctrl-C would break that process in the middle, with a traceback of its own.
    """
    spec = importlib.util.find_spec("glfw")
    places = spec.submodule_search_locations if spec else None
    found = [Path(place) / "x11" / "libglfw.so" for place in places or ()]
    return next(({"PYGLFW_LIBRARY": str(file)} for file in found if file.exists()), {})


class WorkerPool:
    """Runs trials on all cores.

    Args:
        workers: processes, at most `MAX_WORKERS`; None: one per available core.
        stall_seconds: a worker that takes no step for so long is replaced. It must exceed the
            time to compile a task's model (about a second).
        tries: how often one block may fail before `WorkerError`.
    """

    def __init__(
        self, workers: int | None = None, *, stall_seconds: float = 120.0, tries: int = 3
    ) -> None:
        if problems := worker_problems(workers):
            raise ValueError(problems[0])
        self.workers = workers or available_cores()
        self.stall_seconds, self.tries = stall_seconds, tries
        self.buffer = SharedBuffer()
        self.respawned = 0
        self._pool = [self._spawn(index) for index in range(self.workers)]

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        trials: Sequence[Trial],
        policy: Policy,
        *,
        lanes: int,
        stores: Mapping[str, np.ndarray] | None = None,
        part: slice | None = None,
    ) -> TrialBatch:
        """Run `trials`, all of the same length, in blocks of `lanes`, and wait for all of them.

        Where there are more workers than blocks, a block is run in pieces, each in its own rows of
        the block's matrix products. So which worker runs what does not change a bit of the result;
        `lanes`, the shape of those products, does in the last digits and is part of a run's config.

        Args:
            trials: B trials.
            policy: what acts.
            lanes: trials of a block.
            stores: what each trial may recall, in the place of what all may: arrays (B, …) by the
                names that they have among the weights.
            part: the trials that are run, which have the bits that they have among all; None: all.

        Returns:
            The batch, copied out of shared memory; column i is trial i, of the part.

        Raises:
            WorkerError: a block failed `tries` times.
        """
        steps = trials[0].steps
        if any(trial.steps != steps for trial in trials):
            raise ValueError("all trials of one run need the same episodes and horizon")
        weights: Spec = [(n, str(w.dtype), w.shape) for n, w in policy.weights.items()]
        part = part or slice(0, len(trials))
        own = {f"store.{name}": array[part] for name, array in (stores or {}).items()}
        rows: Spec = [(name, str(array.dtype), array.shape) for name, array in own.items()]
        shape = steps, part.stop - part.start, policy.input_width
        arrays = self.buffer.arrays([*weights, *rows, *TrialBatch.spec(*shape)])
        for name, value in (*policy.weights.items(), *own.items()):
            np.copyto(arrays[name], value)
        common = {
            "do": "run",
            "policy": policy.to_json(),
            "weights": weights,
            "stores": rows,
            "shape": shape,
        }
        blocks = [
            {
                **common,
                "column": piece.start - part.start,
                "place": (piece.start - first, block),
                "trials": [trial.to_json() for trial in trials[piece]],
            }
            for first, block, piece in pieces(len(trials), lanes, self.workers, part)
        ]
        self._run_blocks(blocks)
        return TrialBatch(**{n: arrays[n].copy() for n in TrialBatch.__dataclass_fields__})

    def _run_blocks(self, blocks: list[dict[str, Any]]) -> None:
        waiting = deque((block, 1) for block in blocks)
        running: dict[int, tuple[dict[str, Any], int]] = {}
        try:
            while waiting or running:
                for index in range(self.workers):
                    if waiting and index not in running:
                        block, attempt = waiting.popleft()
                        self.send(index, block)
                        running[index] = (block, attempt)
                for index, answer in self.answers(running):
                    block, attempt = running.pop(index)
                    if "error" not in answer:
                        _warn_of_faults(answer["faults"])
                        continue
                    text = _describe(index, block, attempt, answer)
                    if attempt >= self.tries or answer.get("final"):
                        raise WorkerError(text)
                    if "traceback" in answer:
                        self._respawn(index)  # its simulators may be in any state
                    _warn(f"{text.splitlines()[0]}; it was replaced, and runs its block again")
                    waiting.appendleft((block, attempt + 1))
        except BaseException:
            # What still runs would write into, and answer to, the next run; `send` replaces it.
            for index in running:
                self._end(self._pool[index])
            raise

    def send(self, index: int, command: dict[str, Any]) -> None:
        """Send `command` to worker `index`, replacing the worker first if it is gone."""
        for _ in range(self.tries):
            process = self._pool[index]
            try:
                process.channel.send_bytes(json.dumps(command).encode())
            except (BrokenPipeError, ConnectionError, OSError):
                self._respawn(index)
                continue
            process.begun, process.moved = int(self.buffer.progress[index]), time.monotonic()
            return
        raise WorkerError(f"worker {index} dies as soon as it is started; see its message above")

    def answers(self, indices: Mapping[int, Any]) -> list[tuple[int, dict[str, Any]]]:
        """Wait until some of the workers in `indices` have answered, died or stalled."""
        while True:
            channels = {self._pool[index].channel: index for index in indices}
            found = []
            for channel in wait(list(channels), timeout=0.5):
                index = channels[channel]  # type: ignore[index]
                try:
                    found.append((index, json.loads(self._pool[index].channel.recv_bytes())))
                except (EOFError, ConnectionError, OSError):
                    last = self._last_seen(index)
                    code = self._respawn(index)
                    error = f"the process died (exit status {code})"
                    found.append((index, {"error": error, "last": last}))
            silent = set(indices) - {index for index, _ in found}
            found += [(i, a) for i in sorted(silent) if (a := self._stalled(i)) is not None]
            if found:
                return found

    def _stalled(self, index: int) -> dict[str, Any] | None:
        process, row = self._pool[index], int(self.buffer.rows[index])
        if process.seen != (sign := (int(self.buffer.progress[index]), row)):
            process.seen, process.moved = sign, time.monotonic()
            return None
        starting = row == STARTING
        patience = max(self.stall_seconds, START_SECONDS) if starting else self.stall_seconds
        if time.monotonic() - process.moved < patience or process.channel.poll():
            return None
        last = self._last_seen(index)
        self._respawn(index)
        return {"error": f"no step for {patience:g} s; it was killed", "last": last}

    def _last_seen(self, index: int) -> tuple[int, int]:
        """Row of its block and steps into its trials at which a worker was, from shared memory."""
        steps = int(self.buffer.progress[index]) - self._pool[index].begun
        return max(0, int(self.buffer.rows[index])), steps

    def _spawn(self, index: int) -> _Process:
        self.buffer.rows[index] = STARTING
        ours, theirs = socket.socketpair()
        environment = {
            **_library_of_glfw(),
            **os.environ,
            **dict.fromkeys(ONE_THREAD, "1"),
            "PYTHONPATH": search_path(),
        }
        # They go to whole sessions; a worker is deaf to them from its first moment.
        deaf_to = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)
        try:
            popen = subprocess.Popen(
                [sys.executable, "-m", "envs.pool.worker"]
                + [str(n) for n in (theirs.fileno(), self.buffer.descriptor, index, os.getpid())],
                pass_fds=(theirs.fileno(), self.buffer.descriptor),
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        theirs.close()
        return _Process(popen, Connection(ours.detach()), moved=time.monotonic())

    def _respawn(self, index: int) -> int | None:
        code = self._end(self._pool[index])
        self.respawned += 1
        self._pool[index] = self._spawn(index)
        return code

    @staticmethod
    def _end(process: _Process) -> int | None:
        process.channel.close()
        process.popen.kill()
        try:
            return process.popen.wait(timeout=5.0)
        except subprocess.TimeoutExpired:  # unkillable (a process in uninterruptible sleep)
            return None

    def close(self) -> None:
        """End all workers, whatever they are doing, and free the shared memory; idempotent."""
        for process in self._pool:
            self._end(process)
        self._pool = []
        self.buffer.close()


def _describe(index: int, block: dict[str, Any], attempt: int, answer: dict[str, Any]) -> str:
    where, trials = dict(answer.get("where") or {}), block["trials"]
    if "last" in answer:
        row, steps = answer["last"]
        row -= block["place"][0]
        trial = trials[min(max(row, 0), len(trials) - 1)]
        episode, step = divmod(steps, trial["horizon"])
        where = {"task": trial["task"], "goal": trial["goal_index"]}
        where |= {"episode": episode + 1, "step": step}
    place = ", ".join(f"{key} {value}" for key, value in where.items())
    all_tasks = ", ".join(sorted({trial["task"] for trial in trials}))
    text = f"worker {index} failed (try {attempt}) at {place} (its block: {all_tasks}): "
    return text + answer["error"] + ("\n" + answer["traceback"] if "traceback" in answer else "")


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def _warn_of_faults(faults: list[dict[str, Any]]) -> None:
    """Name each faulted trial: it is masked from every loss and figure, and should not be usual."""
    for fault in faults:
        place = ", ".join(f"{key} {value}" for key, value in fault.items() if key != "what")
        _warn(f"physics fault at {place}: {fault['what']}; the trial is left out from there on")
