"""A worker process: owns simulators, runs whole blocks of trials with its own copy of the policy.

Started as ``python -m envs.pool.worker CHANNEL BUFFER INDEX OWNER`` by `envs.pool.pool`, with
BLAS pinned to one thread; it never imports torch. It ends when its channel closes or its owner
is no longer its parent, even where its simulation hangs, so it cannot outlive its owner.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from agents.input_layout import INPUT_DIM
from envs.pool.policies import make_actor
from envs.pool.shared_rollout import SharedBuffer, TrialBatch
from envs.trials.block import Block, Runners
from envs.trials.trial import Trial
from envs.trials.trial_env import step_info


class Worker:
    """Serves one channel. Commands and answers are JSON; arrays travel in the shared buffer."""

    def __init__(self, channel: Connection, buffer: SharedBuffer, index: int) -> None:
        self.channel, self.buffer, self.index = channel, buffer, index
        self._runners = Runners()
        self._block: Block | None = None

    def serve(self) -> None:
        """Answer commands until the channel closes."""
        self.buffer.rows[self.index] = 0  # no longer STARTING
        while True:
            try:
                command = json.loads(self.channel.recv_bytes())
            except (EOFError, OSError):
                return
            try:
                answer = getattr(self, "_" + command.pop("do"))(**command)
            except Exception as error:
                answer = {
                    "error": f"{type(error).__name__}: {error}",
                    "traceback": traceback.format_exc(),
                    "where": self._block.where if self._block else {},
                    "final": isinstance(error, FloatingPointError),  # the weights': no use retrying
                }
            try:
                self.channel.send_bytes(json.dumps(answer).encode())
            except OSError:  # the owner is gone
                return

    def _run(
        self,
        policy: dict[str, Any],
        weights: list,
        stores: list,
        shape: list[int],
        column: int,
        place: list[int],
        trials: list[dict],
    ) -> dict[str, Any]:
        """Run a piece of a block from start to end, writing columns `column`… of the batch.

        `place` is (its first row in the block, rows of the block): all rows act, with zeros in
        those of other pieces, because a row's bits depend on the product's shape.
        """
        began = time.perf_counter()
        arrays = self.buffer.arrays([*weights, *stores, *TrialBatch.spec(*shape)])
        out = TrialBatch(**{name: arrays[name] for name in TrialBatch.__dataclass_fields__})
        columns = slice(column, column + len(trials))
        first, count = place
        rows = slice(first, first + len(trials))
        block = self._start(trials, first, count, shape[2])
        out.targets[columns] = [runner.target for runner in block.runners[rows] if runner]
        out.aims[columns] = 0.0
        if "belief.components" in (name for name, _, _ in weights):
            out.aims[columns] = [runner.true_aim() for runner in block.runners[rows] if runner]
        own = {name: arrays[name] for name, _, _ in weights}
        recalled = {
            name.removeprefix("store."): _in_rows(arrays[name][columns], rows, count)
            for name, _, _ in stores
        }
        actor, noise = make_actor(policy, own, block, recalled), block.noise()
        for t in range(shape[0]):
            actions, log_probs = actor.act(block.inputs, noise[t])
            out.inputs[t, columns] = block.inputs[rows]  # with the aims that the actor has written
            out.actions[t, columns], out.log_probs[t, columns] = actions[rows], log_probs[rows]
            try:
                steps = block.step(actions)
            except FloatingPointError as error:
                raise FloatingPointError(f"{error}{_culprits(own)}") from None
            out.rewards[t, columns] = [step.reward for step in steps if step]
            out.successes[t, columns] = [step.success for step in steps if step]
            out.choices[t, columns] = [step.choice for step in steps if step]
            out.faults[t, columns] = block.faulted[rows]
            self.buffer.progress[self.index] += 1
        seconds = time.perf_counter() - began
        return {"column": column, "seconds": seconds, "faults": block.faults}

    def _begin(self, trials: list[dict], shape: list[int], column: int) -> dict[str, Any]:
        """Start a block that the owner will step itself (the `VectorEnv` view)."""
        self._columns = slice(column, column + len(trials))
        self._step_arrays = self.buffer.arrays(step_spec(shape[0]))
        self._step_arrays["inputs"][self._columns] = self._start(trials, 0, len(trials)).inputs
        return {}

    def _step(self, restart: list[dict | None]) -> dict[str, Any]:
        """One step of the block; a finished trial is replaced by `restart` of its row instead."""
        arrays, columns, block = self._step_arrays, self._columns, self._block
        assert block is not None
        steps = block.step(arrays["actions"][columns])
        for row, fresh in enumerate(restart):
            if fresh is not None:
                block.restart(row, Trial.from_json(fresh))
        arrays["rewards"][columns] = [step.reward if step else 0.0 for step in steps]
        arrays["finished"][columns] = [runner and runner.finished for runner in block.runners]
        arrays["inputs"][columns] = block.inputs
        self.buffer.progress[self.index] += 1
        return {"infos": [step_info(step) if step else None for step in steps]}

    def _start(self, trials: list[dict], first: int, rows: int, width: int = INPUT_DIM) -> Block:
        """A block of `rows` rows that runs `trials` from row `first` on."""
        own = [Trial.from_json(trial) for trial in trials]
        whole = [None] * first + own + [None] * (rows - first - len(own))
        stepping = self.buffer.rows[self.index : self.index + 1]
        self._block = Block(whole, self._runners, stepping=stepping, width=width)
        self._block.start()
        return self._block


def step_spec(trials: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Arrays of the step-by-step mode, for `trials` trials."""
    batch = {name: (kind, shape[1:]) for name, kind, shape in TrialBatch.spec(1, trials)}
    spec = [(name, *batch[name]) for name in ("inputs", "actions", "rewards")]
    return [*spec, ("finished", "bool", (trials,))]


def _in_rows(values: np.ndarray, rows: slice, count: int) -> np.ndarray:
    """`values` in their rows of a block of `count`, zeros in the others."""
    whole = np.zeros((count, *values.shape[1:]), values.dtype)
    whole[rows] = values
    return whole


def _culprits(weights: dict[str, np.ndarray]) -> str:
    names = [name for name, array in weights.items() if not np.isfinite(array).all()]
    return f"; not finite: {', '.join(names)}" if names else "; all weights are finite"


def _end_with(owner: int) -> None:
    """End this process soon after `owner` was killed without a word: nobody waits for it."""
    while os.getppid() == owner:
        time.sleep(1.0)
    os._exit(1)


def main() -> None:
    """Entry point: the owner alone decides when a worker ends, so signals for it are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    channel, buffer, index, owner = map(int, sys.argv[1:5])
    threading.Thread(target=_end_with, args=(owner,), daemon=True).start()
    Worker(Connection(channel), SharedBuffer(buffer), index).serve()


if __name__ == "__main__":
    main()
