"""One policy on the evaluation trials: what every comparison in this repository rests on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from envs.metaworld.suites import Suite
from envs.pool.pool import Policy, WorkerPool
from envs.pool.shared_rollout import TrialBatch
from envs.trials.success import share_in_success, steps_to_success
from envs.trials.trial import Trial
from eval.goals.metrics import Outcomes

LANES = 4  # trials stepped together: few, so that a few trials already occupy several workers
CHUNK_BYTES = 200 * 2**20  # of rollouts held at once, in shared memory and as a copy


class Runner(Protocol):
    """What `measure` needs of a pool."""

    @property
    def workers(self) -> int:
        """Processes that run blocks at the same time."""
        ...

    def run(self, trials: Sequence[Trial], policy: Policy, *, lanes: int) -> TrialBatch:
        """Run `trials` in blocks of `lanes`; column i is trial i."""
        ...


def note(outcomes: Outcomes, trials: Sequence[Trial], batch: TrialBatch) -> None:
    """Write what happened in `trials` into the places of their tasks and goals."""
    by_episode = (trials[0].episodes, trials[0].horizon, len(trials))
    faults = batch.faults.reshape(by_episode)[:, -1]  # a fault lasts to the end of its trial
    successes = batch.successes.reshape(by_episode) & ~faults[:, None]
    columns = {
        "success": successes.any(axis=1),
        "last_step_success": successes[:, -1],
        "steps_to_success": steps_to_success(successes),
        "share_in_success": share_in_success(successes),
        "returns": batch.rewards.reshape(by_episode).sum(axis=1, dtype=np.float64),
        "faults": faults,
    }
    for column, trial in enumerate(trials):
        place = outcomes.tasks.index(trial.task), trial.goal_index
        for name, values in columns.items():
            getattr(outcomes, name)[place] = values[:, column]


def measure(
    policy: Policy,
    suite: Suite,
    split: str,
    *,
    goals: int,
    episodes: int,
    horizon: int,
    seed: int,
    pool: Runner,
) -> Outcomes:
    """Run one trial per (task, goal), every episode to its full horizon, and count each once.

    A pure function of all but the pool: neither the number of workers nor the memory at hand
    changes the result. Equal arguments give equal trials for every policy, so arms can be compared
    goal by goal; fewer goals are a prefix of more.

    Args:
        policy: an agent (`train.collect.acting_policy`), ``random`` or ``scripted``.
        suite: tasks and goals.
        split: ``train`` or ``test``.
        goals: G, the first goals of each task.
        episodes: K of each trial; memory is carried through them.
        horizon: H, steps of each episode.
        seed: seed of the exploration noise.
        pool: runs the trials.

    Raises:
        SuiteError: the suite has no such split.
        WorkerError: a worker failed for good.
    """
    tasks = tuple(suite.split(split))
    trials = suite.evaluation_trials(
        split, goals=goals, episodes=episodes, horizon=horizon, seed=seed
    )
    outcomes = Outcomes.empty(tasks, goals, episodes, horizon)
    size = chunk_size(trials[0].steps, len(trials), pool.workers)
    for first in range(0, len(trials), size):
        chunk = trials[first : first + size]
        note(outcomes, chunk, pool.run(chunk, policy, lanes=LANES))
    return outcomes


@contextmanager
def watch(pool: WorkerPool, report: Callable[[int], None]) -> Iterator[None]:
    """Report steps while the pool works; its workers count them in shared memory."""
    before, ended = int(pool.buffer.progress.sum()), threading.Event()

    def tick() -> None:
        while not ended.wait(0.5):
            report((int(pool.buffer.progress.sum()) - before) * LANES)

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def chunk_size(steps: int, trials: int, workers: int) -> int:
    """Trials run at once, in equal chunks: within `CHUNK_BYTES`, or one block for each worker.

    A multiple of `LANES`, so that blocks, and with them the last digits, do not depend on it.
    """
    trial_bytes = sum(
        int(np.prod(shape)) * np.dtype(kind).itemsize
        for _, kind, shape in TrialBatch.spec(steps, 1)
    )
    most = max(CHUNK_BYTES // (2 * trial_bytes) // LANES, workers) * LANES
    chunks = -(-trials // most)
    return -(-trials // (chunks * LANES)) * LANES
