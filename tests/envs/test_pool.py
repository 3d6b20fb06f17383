"""The worker pool: the same bits from any number of workers, and out of every kind of trouble.

Workers are killed and stopped for real. Trials of 2 × 400 steps last long enough (some tenths of
a second) to be hit in the middle, and every test checks that it did hit.
"""

import dataclasses
import errno
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.rl2 import AgentConfig, RL2Agent, actor_weights
from agents.step_input import INPUT_DIM
from envs import worker as worker_module
from envs.actors import ScriptedActor
from envs.buffer import SharedBuffer, TrialBatch
from envs.pool import Policy, WorkerError, WorkerPool
from envs.trial import Trial, TrialRunner, TrialStep
from envs.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
LANES = 2
STALL = 4.0  # seconds; to start, a worker may take longer
DRAWER = (0.05, 0.9, 0.0)


def make_trials(count: int, *, episodes: int = 2, horizon: int = 8) -> list[Trial]:
    """Two tasks in turn; five trials in blocks of two leave a block of one."""
    goals = itertools.cycle(
        [
            ("reach-v3", (0.0, 0.6, 0.02, 0.1, 0.8, 0.1)),
            ("drawer-close-v3", DRAWER),
            ("reach-v3", (0.05, 0.65, 0.02, -0.1, 0.85, 0.2)),
        ]
    )
    return [
        Trial(task, goal, i, "train", episodes, horizon, seed=10 + i)
        for i, (task, goal) in zip(range(count), goals, strict=False)
    ]


SHORT, LONG = make_trials(5), make_trials(4, horizon=400)


def make_policy(*, nan: bool = False) -> Policy:
    torch.manual_seed(0)
    agent = RL2Agent(AgentConfig(hidden=16, encoder=16))
    weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
    if nan:
        weights["head.bias"] = np.full_like(weights["head.bias"], np.nan)
    return Policy("agent", "gru", weights)


POLICY = make_policy()


def assert_same(batch: TrialBatch, expected: TrialBatch) -> None:
    for name, array in vars(batch).items():
        np.testing.assert_array_equal(array, getattr(expected, name), err_msg=name)


def children() -> set[int]:
    """Living child processes of this one, zombies not counted."""
    found = set()
    for folder in Path("/proc/self/task").iterdir():
        for child in map(int, (folder / "children").read_text().split()):
            if "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
                found.add(child)
    return found


@pytest.fixture
def make_pool() -> Iterator[Callable[..., WorkerPool]]:
    """Pools that must all close in time and leave no process and nothing in /dev/shm."""
    pools: list[WorkerPool] = []
    before, processes = set(os.listdir("/dev/shm")), children()

    def make(workers: int, **options: float) -> WorkerPool:
        pools.append(WorkerPool(workers, **options))
        return pools[-1]

    yield make
    started = time.monotonic()
    for pool in pools:
        pool.close()
        pool.close()
    assert time.monotonic() - started < 10
    assert children() <= processes
    assert set(os.listdir("/dev/shm")) <= before


@pytest.fixture(scope="module")
def lone() -> Iterator[WorkerPool]:
    """One worker, for all tests that do it no harm."""
    with WorkerPool(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def expected(lone: WorkerPool) -> Callable[[list[Trial]], TrialBatch]:
    """Results of an undisturbed single worker."""
    known: dict[int, TrialBatch] = {}

    def run(trials: list[Trial]) -> TrialBatch:
        if id(trials) not in known:
            known[id(trials)] = lone.run(trials, POLICY, lanes=LANES)
        return known[id(trials)]

    return run


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


# ------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_bits(make_pool, lone, expected, workers) -> None:
    """Twice on the same pool: used simulators and memory must not show either.

    In between a longer batch makes the shared memory grow.
    """
    pool, reference = lone if workers == 1 else make_pool(workers), expected(SHORT)
    assert_same(pool.run(SHORT, POLICY, lanes=LANES), reference)
    pool.run(make_trials(3, horizon=40), POLICY, lanes=LANES)
    assert_same(pool.run(SHORT, POLICY, lanes=LANES), reference)


def test_a_batch_is_what_its_trials_are(expected) -> None:
    """Columns are trials: each equals the trial run alone on the recorded actions.

    This is also what makes a trial reproducible outside the pool.
    """
    batch = expected(SHORT)
    assert batch.inputs.shape == (16, 5, INPUT_DIM)
    assert np.unique(batch.actions[:, :, 0]).size == 16 * 5
    for column, trial in enumerate(SHORT):
        runner = TrialRunner(trial.task)
        inputs = runner.begin(trial)
        for t in range(trial.steps):
            np.testing.assert_array_equal(batch.inputs[t, column], inputs)
            step = runner.step(batch.actions[t, column])
            assert batch.rewards[t, column] == np.float32(step.reward)
            assert batch.successes[t, column] == step.success
    assert not batch.faults.any()


def test_a_batch_is_its_owner_s(lone) -> None:
    """The next run overwrites the shared memory but not what the last one returned."""
    first = lone.run(SHORT, POLICY, lanes=LANES)
    kept = first.copy()
    lone.run(SHORT[::-1], POLICY, lanes=LANES)
    assert_same(first, kept)


def test_random_and_scripted_policies_run_too(lone) -> None:
    """Floor and ceiling come from the same trials; the expert reaches where chance does not."""
    trials = make_trials(3, episodes=1, horizon=100)
    random = lone.run(trials, Policy("random"), lanes=3)
    scripted = lone.run(trials, Policy("scripted"), lanes=3)
    assert scripted.successes.any(axis=0).all()
    assert scripted.rewards.mean() > 2 * random.rewards.mean()
    assert np.abs(random.actions).max() <= 1
    assert abs(random.actions.mean()) < 0.1
    assert (scripted.inputs[..., 36:39] == 0).all()  # the expert peeks, the record does not


def test_experts_do_not_complain() -> None:
    """Meta-World warns of every step whose response the box clips; the console is for our words."""
    runner = TrialRunner("reach-v3")
    far = Trial("reach-v3", (0.1, 0.65, 0.02, 0.1, 0.9, 0.29), 0, "train", 1, 20, seed=0)
    inputs, actor = runner.begin(far), ScriptedActor([runner])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        actions = [actor.act(inputs[None], np.zeros((1, 4)))[0][0] for _ in range(2)]
        warnings.warn("heard", stacklevel=1)
    assert (np.abs(actions) == 1).any(), "the box was not reached: nothing to complain of"
    assert [str(warning.message) for warning in caught] == ["heard"]


def test_trials_of_one_run_are_of_one_length(lone) -> None:
    with pytest.raises(ValueError, match="same episodes and horizon"):
        lone.run([*SHORT, *LONG], POLICY, lanes=LANES)


# -------------------------------------------------------------------------------------- trouble


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
from envs.pool import Policy, WorkerPool
from envs.trial import Trial
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


# -------------------------------------------------------------------------------- physics faults


class FaultyRunner(TrialRunner):
    """A simulator that blows up at step 3 of the second trial of a block."""

    def __init__(self, task: str, *, goal_hidden: bool = True) -> None:
        self.inputs = np.zeros(INPUT_DIM, dtype=np.float32)
        self.steps = 0

    def begin(self, trial: Trial) -> np.ndarray:
        self.trial, self.episode, self.step_in_episode, self.steps = trial, 0, 0, 0
        self.inputs[:] = 0.5
        return self.inputs

    def step(self, action: np.ndarray) -> TrialStep:
        self.steps += 1
        reward, fault, kind = 1.0, False, self.trial.split
        self.inputs[:] = 0.5 + self.steps
        if self.steps == 4 and kind != "sound":
            fault = kind == "warning"
            reward = float("nan") if kind == "reward" else 1.0
            self.inputs[3] = np.inf if kind == "observation" else 1e9
        assert self.steps <= 4 or kind == "sound", "a faulted simulation must not be stepped on"
        return TrialStep(reward, True, False, fault, {})


@pytest.mark.parametrize("kind", ["warning", "reward", "observation"])
def test_a_physics_fault_ends_its_trial_only(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """From the fault on the trial is flagged and holds only zeros; its neighbour goes on.

    MuJoCo's warning and any number that is not finite count alike.
    """
    monkeypatch.setattr(worker_module, "TrialRunner", FaultyRunner)
    trials = [dataclasses.replace(SHORT[0], split=split) for split in ("sound", kind)]
    buffer = SharedBuffer()
    worker = Worker(None, buffer, 0, os.getppid())  # type: ignore[arg-type] - nothing is sent
    spec = TrialBatch.spec(16, 2)
    worker._run({"kind": "random"}, [], [16, 2], 0, [trial.to_json() for trial in trials])
    batch = TrialBatch(**buffer.arrays(spec)).copy()
    buffer.close()
    assert not batch.faults[:, 0].any()
    assert (batch.rewards[:, 0] == 1).all()
    assert batch.faults[:, 1].tolist() == [False] * 3 + [True] * 13
    assert batch.rewards[:, 1].tolist() == [1.0] * 3 + [0.0] * 13
    assert batch.successes[:, 1].tolist() == [True] * 3 + [False] * 13
    assert (batch.inputs[4:, 1] == 0).all()
    assert all(np.isfinite(array).all() for array in vars(batch).values())


# --------------------------------------------------------------------------------- shared memory


def test_shared_memory_has_no_name() -> None:
    """Unlinked from the start, so that not even a SIGKILL of everything leaves it behind."""
    before = set(os.listdir("/dev/shm"))
    buffer = SharedBuffer()
    assert set(os.listdir("/dev/shm")) == before
    assert os.fstat(buffer.descriptor).st_nlink == 0
    buffer.close()


def test_views_stay_valid_while_memory_grows() -> None:
    """Owner and worker map the same pages, whichever of them made the buffer grow."""
    owner = SharedBuffer()
    theirs = SharedBuffer(os.dup(owner.descriptor))
    small = owner.arrays([("a", "int64", (3,))])["a"]
    spec = [("a", "int64", (3,)), ("b", "float32", (1000, 1000))]
    large = owner.arrays(spec)
    large["b"][-1, -1] = 7.0
    small[:] = 1, 2, 3
    seen = theirs.arrays(spec)
    assert seen["a"].tolist() == large["a"].tolist() == [1, 2, 3]
    assert seen["b"][-1, -1] == 7.0
    theirs.progress[5] = 9
    assert owner.progress[5] == 9
    owner.close()


def test_memory_is_reserved_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker gives 64 MB of /dev/shm: a page without room would kill the learner by SIGBUS.

    Refused in words instead, and what was there before can still be used.
    """
    buffer = SharedBuffer()
    small = buffer.arrays([("a", "int64", (3,))])["a"]
    buffer.arrays([("a", "float32", (1000, 1000))])
    assert os.fstat(buffer.descriptor).st_blocks * 512 >= 4_000_000

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"no room for 61 MiB of shared memory .*--shm-size"):
        buffer.arrays([("a", "float32", (4000, 4000))])
    small[:] = 7
    assert buffer.arrays([("a", "int64", (3,))])["a"].tolist() == [7, 7, 7]
    buffer.close()


def test_arrays_do_not_overlap() -> None:
    buffer = SharedBuffer()
    arrays = buffer.arrays([("x", "uint8", (5,)), ("y", "float32", (7, 3)), ("z", "int8", (1,))])
    for value, array in enumerate(arrays.values()):
        array[...] = value
    buffer.progress[:] = -1
    for value, array in enumerate(arrays.values()):
        assert (array == value).all()
        assert array.ctypes.data % 64 == 0
    buffer.close()
