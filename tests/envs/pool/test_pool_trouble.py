"""Out of every kind of trouble the pool comes with the same bits, or with a clear error.

Workers are killed and stopped for real. Trials of 2 × 400 steps last long enough (some tenths of
a second) to be hit in the middle, and every test checks that it did hit.
"""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from envs.pool.pool import WorkerError, WorkerPool
from envs.pool.shared_rollout import MAX_WORKERS
from tests.envs.pool_trials import (
    LANES,
    LONG,
    POLICY,
    SHORT,
    STALL,
    assert_same,
    make_policy,
    make_trials,
)

ROOT = Path(__file__).resolve().parents[3]


class Assault:
    """Sends a signal to one worker of a pool in the middle of a run, from a thread.

    Args:
        pool: the pool.
        index: the worker.
        number: the signal.
        times: how many workers of that index to hit, each one once.
    """

    def __init__(self, pool: WorkerPool, index: int, number: int, times: int = 1) -> None:
        self.pool, self.index, self.number, self.times = pool, index, number, times
        self.hits = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._attack)

    def __enter__(self) -> "Assault":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _attack(self) -> None:
        progress, struck = self.pool.buffer.progress, None
        while self.hits < self.times and not self._over.is_set():
            pid = self.pool._pool[self.index].popen.pid
            begun = int(progress[self.index])
            time.sleep(0.02)
            if pid != struck and int(progress[self.index]) > begun:
                os.kill(pid, self.number)
                self.hits, struck = self.hits + 1, pid


def test_a_killed_worker_is_replaced_bit_for_bit(make_pool, expected) -> None:
    """The OOM killer does not ask; nobody must be able to tell from the result."""
    pool = make_pool(2)
    with Assault(pool, 1, signal.SIGKILL) as assault:
        batch = pool.run(LONG, POLICY, lanes=LANES)
    assert (assault.hits, pool.respawned) == (1, 1)
    assert_same(batch, expected(LONG))


def test_a_worker_killed_between_runs_is_replaced(make_pool, expected) -> None:
    pool = make_pool(1)
    pool.run(SHORT, POLICY, lanes=LANES)
    pool._pool[0].popen.kill()
    pool._pool[0].popen.wait()
    assert_same(pool.run(SHORT, POLICY, lanes=LANES), expected(SHORT))
    assert pool.respawned == 1


def test_a_worker_that_keeps_dying_is_an_error(make_pool, expected) -> None:
    """Bounded tries, then a message that names worker, tasks and cause; the pool still works."""
    pool = make_pool(1, tries=2)
    with Assault(pool, 0, signal.SIGKILL, times=2) as assault, pytest.raises(WorkerError) as caught:
        pool.run(LONG, POLICY, lanes=LANES)
    assert assault.hits == 2
    for part in ("worker 0", "try 2", "drawer-close-v3", "reach-v3", "exit status -9"):
        assert part in str(caught.value)
    assert re.search(r"at task \S+, goal \d, episode [12], step \d+ \(", str(caught.value))
    assert_same(pool.run(SHORT, POLICY, lanes=LANES), expected(SHORT))


def test_a_stalled_worker_is_replaced_bit_for_bit(make_pool, expected) -> None:
    """A stopped process neither dies nor answers: only the deadline finds it."""
    pool = make_pool(1, stall_seconds=STALL, tries=10)
    with Assault(pool, 0, signal.SIGSTOP) as assault:
        batch = pool.run(LONG, POLICY, lanes=LANES)
    assert assault.hits == 1
    assert pool.respawned >= 1  # more where a new worker needs longer to start
    assert_same(batch, expected(LONG))


def test_a_stopped_worker_does_not_hold_up_the_end(make_pool) -> None:
    """`close` in the middle of nothing answering; the fixture looks at the clock."""
    pool = make_pool(2)
    for process in pool._pool:
        os.kill(process.popen.pid, signal.SIGSTOP)


def test_a_policy_of_nan_is_named_and_not_tried_again(lone, expected) -> None:
    """An error is no crash: to run the block again would give it again.

    A NaN action would make MuJoCo reset itself in mid-episode while all looks finite, so it has
    to stop before the simulator. The pool is none the worse for it.
    """
    respawned = lone.respawned
    with pytest.raises(WorkerError, match="non-finite action") as caught:
        lone.run(SHORT, make_policy(nan=True), lanes=LANES)
    text = str(caught.value)
    for part in ("try 1", "task reach-v3", "goal 0", "episode 1", "step 0", "FloatingPointError"):
        assert part in text
    assert lone.respawned == respawned
    assert_same(lone.run(SHORT, POLICY, lanes=LANES), expected(SHORT))


def test_an_error_leaves_no_stale_results(make_pool, expected) -> None:
    """One block fails at once while the other runs on: its late answer belongs to no later run."""
    pool = make_pool(2)
    broken = dataclasses.replace(LONG[2], task="drawer-close-v3", goal=(float("nan"),) * 3)
    with pytest.raises(WorkerError, match="worker"):
        pool.run([*LONG[:2], broken, broken], POLICY, lanes=LANES)
    assert_same(pool.run(LONG, POLICY, lanes=LANES), expected(LONG))


def test_an_error_in_the_environment_is_named(lone) -> None:
    """Meta-World ends an episode at 500 steps whatever is asked: task, goal and step are named."""
    trials = [dataclasses.replace(t, episodes=1, horizon=501) for t in make_trials(2)]
    with pytest.raises(WorkerError) as caught:
        lone.run(trials, POLICY, lanes=LANES)
    for part in ("worker 0", "task reach-v3", "goal 0", "episode 1", "step 500", "Traceback"):
        assert part in str(caught.value)


def test_workers_do_not_outlive_their_owner() -> None:
    """An owner that was killed cannot close anything: its workers must notice by themselves.

    One of them is in the middle of a long block, one waits for work.
    """
    program = """
from envs.pool.pool import Policy, WorkerPool
from envs.trials.trial import Trial
pool = WorkerPool(2)
print(*[process.popen.pid for process in pool._pool], flush=True)
goal = (0.0, 0.6, 0.02, 0.1, 0.8, 0.1)
pool.run([Trial("reach-v3", goal, 0, "train", 1000, 500, 0)], Policy("random"), lanes=1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        while not all(Path(f"/proc/{pid}/maps").read_text().count("mujoco") for pid in pids):
            time.sleep(0.1)  # until both have started
        time.sleep(1.0)
        assert all(cmdline(pid) for pid in pids)
        owner.kill()
    deadline = time.monotonic() + 20
    while any(cmdline(pid) for pid in pids):
        assert time.monotonic() < deadline, "workers live on without their owner"
        time.sleep(0.1)


def cmdline(pid: int) -> bytes:
    """Empty for a zombie, which nobody may be there to wait for."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def test_workers_outlive_a_lost_terminal() -> None:
    """It tells the whole session; the owner alone ends its workers."""
    with WorkerPool(1) as pool:
        before = pool.run(SHORT, POLICY, lanes=LANES)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            os.kill(pool._pool[0].popen.pid, number)
        again = pool.run(SHORT, POLICY, lanes=LANES)
        assert pool.respawned == 0
    assert_same(before, again)


def test_more_workers_than_shared_memory_has_room_for() -> None:
    with pytest.raises(ValueError, match="--workers must be from 1 to 1024, not 1025"):
        WorkerPool(MAX_WORKERS + 1)
