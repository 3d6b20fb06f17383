"""A worker process: owns simulators, runs whole blocks of trials with its own copy of the policy.

Started as ``python -m envs.pool.worker CHANNEL BUFFER INDEX OWNER`` by `envs.pool.pool`, with
BLAS pinned to one thread; it never imports torch. It ends when its channel closes or its owner
is no longer its parent, so it cannot outlive its owner.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from agents.input_layout import ACTION_DIM, INPUT_DIM
from envs.pool.policies import make_actor
from envs.pool.shared_rollout import SharedBuffer, TrialBatch
from envs.trials.trial import Trial, TrialRunner, TrialStep

ONES = np.ones(INPUT_DIM, dtype=np.float32)


class Worker:
    """Serves one channel. Commands and answers are JSON; arrays travel in the shared buffer."""

    def __init__(self, channel: Connection, buffer: SharedBuffer, index: int, owner: int) -> None:
        self.channel, self.buffer, self.index, self.owner = channel, buffer, index, owner
        self._runners: dict[tuple[str, bool], list[TrialRunner]] = {}
        self._where: dict[str, Any] = {}
        self._block: list[TrialRunner] = []

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
                    "where": self._where,
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
        shape: list[int],
        column: int,
        place: list[int],
        trials: list[dict],
    ) -> dict[str, Any]:
        """Run a piece of a block from start to end, writing columns `column`… of the batch.

        `place` is (its first row in the block, rows of the block): an agent computes all rows,
        with zeros in those of other pieces, because a row's bits depend on the product's shape.
        """
        began = time.perf_counter()
        steps, width = shape
        arrays = self.buffer.arrays([*weights, *TrialBatch.spec(steps, width)])
        out = TrialBatch(**{name: arrays[name] for name in TrialBatch.__dataclass_fields__})
        block = [Trial.from_json(trial) for trial in trials]
        columns = slice(column, column + len(block))
        first, rows = place if policy["kind"] == "agent" else (0, len(block))
        mine = slice(first, first + len(block))
        whole = np.zeros((rows, INPUT_DIM), dtype=np.float32)
        inputs = whole[mine]
        runners = self._begin_block(block, inputs)
        out.targets[columns] = [runner.target for runner in runners]
        noise = np.zeros((steps, rows, ACTION_DIM), dtype=np.float32)
        noise[:, mine] = np.stack([trial.noise() for trial in block], axis=1)
        recall = np.zeros(rows)
        recall[mine] = [trial.recall for trial in block]
        own = {name: arrays[name] for name, _, _ in weights}
        actor = make_actor(policy, own, runners, recall=recall)
        faulted = np.zeros(len(block), dtype=bool)
        faults: list[dict[str, Any]] = []
        current = self.buffer.rows
        for t in range(steps):
            out.inputs[t, columns] = inputs
            self._where = {"step": t}
            if os.getppid() != self.owner:
                raise SystemExit  # killed without a word: nobody waits for this block
            action, log_prob = (values[mine] for values in actor.act(whole, noise[t]))
            out.actions[t, columns] = action
            out.log_probs[t, columns] = log_prob
            clipped = np.clip(action, -1.0, 1.0).astype(np.float32)
            if not np.isfinite(clipped.sum()):
                row = int(np.flatnonzero(~np.isfinite(clipped).all(axis=1))[0])
                self._where = _where(runners[row])
                raise FloatingPointError(
                    f"the policy gave a non-finite action {action[row]}"
                    + _culprits(arrays, weights)
                )
            rewards, successes = [0.0] * len(block), [False] * len(block)
            for row, runner in enumerate(runners):
                if faulted[row]:  # unstable physics: nothing after it is worth anything
                    continue
                current[self.index] = row
                before = runner.episode, runner.step_in_episode
                try:
                    step = runner.step_clipped(clipped[row])
                except Exception:
                    self._where = _where(runner)
                    raise
                total = float(runner.inputs.dot(ONES)) + step.reward
                if step.fault or not math.isfinite(total):
                    faulted[row] = True
                    faults.append({**_where(runner, before), "what": _fault(runner, step)})
                    runner.inputs[:] = 0.0
                    continue
                rewards[row], successes[row] = step.reward, step.success
            out.rewards[t, columns], out.successes[t, columns] = rewards, successes
            out.faults[t, columns] = faulted
            self.buffer.progress[self.index] += 1
        return {"column": column, "seconds": time.perf_counter() - began, "faults": faults}

    def _begin(self, trials: list[dict], shape: list[int], column: int) -> dict[str, Any]:
        """Start a block that the owner will step itself (the `VectorEnv` view)."""
        self._columns = slice(column, column + len(trials))
        self._step_arrays = self.buffer.arrays(step_spec(shape[0]))
        inputs = np.zeros((len(trials), INPUT_DIM), dtype=np.float32)
        self._block = self._begin_block([Trial.from_json(trial) for trial in trials], inputs)
        self._block_inputs = inputs
        self._step_arrays["inputs"][self._columns] = inputs
        return {}

    def _step(self, restart: list[dict | None]) -> dict[str, Any]:
        """One step of the block; a finished trial is replaced by `restart` of its row instead."""
        arrays, base = self._step_arrays, self._columns.start
        infos = []
        for row, runner in enumerate(self._block):
            fresh = restart[row]
            place = base + row
            if fresh is not None:
                others = self._block[:row] + self._block[row + 1 :]
                self._block[row] = self._start(
                    Trial.from_json(fresh), self._block_inputs[row], busy=others
                )
                arrays["rewards"][place], arrays["finished"][place] = 0.0, False
                infos.append({"success": False, "episode_done": False, "physics_fault": False})
                continue
            self._where = _where(runner)
            step = runner.step(np.clip(arrays["actions"][place], -1.0, 1.0))
            arrays["rewards"][place], arrays["finished"][place] = step.reward, runner.finished
            infos.append(
                {
                    "success": bool(step.success),
                    "episode_done": bool(step.done),
                    "physics_fault": bool(step.fault),
                }
            )
        arrays["inputs"][self._columns] = self._block_inputs
        self.buffer.progress[self.index] += 1
        return {"infos": infos}

    def _begin_block(self, block: list[Trial], inputs: np.ndarray) -> list[TrialRunner]:
        """Start all of `block`; their inputs stay assembled in the rows of `inputs`."""
        runners: list[TrialRunner] = []
        for row, trial in enumerate(block):
            self.buffer.rows[self.index] = row
            runners.append(self._start(trial, inputs[row], busy=runners))
        return runners

    def _start(self, trial: Trial, inputs: np.ndarray, busy: list[TrialRunner]) -> TrialRunner:
        """Begin `trial` on a simulator of its task that is not busy; it writes into `inputs`."""
        self._where = {"task": trial.task, "goal": trial.goal_index, "episode": 1, "step": 0}
        pool = self._runners.setdefault((trial.task, trial.goal_hidden), [])
        runner = next((r for r in pool if not any(r is other for other in busy)), None)
        if runner is None:
            runner = TrialRunner(trial.task, goal_hidden=trial.goal_hidden)
            pool.append(runner)
        runner.inputs = inputs  # a view: the block's input is always assembled
        runner.begin(trial)
        return runner


def step_spec(trials: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Arrays of the step-by-step mode, for `trials` trials."""
    batch = {name: (kind, shape[1:]) for name, kind, shape in TrialBatch.spec(1, trials)}
    spec = [(name, *batch[name]) for name in ("inputs", "actions", "rewards")]
    return [*spec, ("finished", "bool", (trials,))]


def _where(runner: TrialRunner, at: tuple[int, int] | None = None) -> dict[str, Any]:
    """Where the runner is, or was when (episode, step) were `at`; episodes count from 1."""
    episode, step = at or (runner.episode, runner.step_in_episode)
    trial = runner.trial
    return {"task": trial.task, "goal": trial.goal_index, "episode": episode + 1, "step": step}


def _fault(runner: TrialRunner, step: TrialStep) -> str:
    """What is wrong with the step, in words."""
    if step.fault:
        return "MuJoCo warned of unstable physics"
    if not math.isfinite(step.reward):
        return f"the reward is {step.reward}"
    place = np.flatnonzero(~np.isfinite(runner.inputs))
    if len(place):
        return f"input {place[0]} is {runner.inputs[place[0]]}"
    return "the input is too large to add up"


def _culprits(arrays: dict[str, np.ndarray], weights: list) -> str:
    names = [name for name, _, _ in weights if not np.isfinite(arrays[name]).all()]
    return f"; not finite: {', '.join(names)}" if names else "; all weights are finite"


def main() -> None:
    """Entry point: the owner alone decides when a worker ends, so signals for it are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel, buffer, index, owner = map(int, sys.argv[1:5])
    Worker(Connection(channel), SharedBuffer(buffer), index, owner).serve()


if __name__ == "__main__":
    main()
