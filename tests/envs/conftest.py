"""Pools that clean up after themselves, and what trials should give."""

import os
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from agents.rl2 import AgentConfig, RL2Agent, actor_weights
from envs.pool.pool import Policy, WorkerPool
from envs.pool.shared_rollout import TrialBatch
from envs.trials.trial import Trial
from tests.envs.pool_trials import LANES, POLICY
from tests.faults.runs import children
from tests.lent import LentPool


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
    with LentPool(1) as pool:
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


@pytest.fixture(scope="module")
def pool():
    with LentPool(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def agent() -> Policy:
    torch.manual_seed(0)
    agent = RL2Agent(AgentConfig(hidden=32, encoder=32))
    return Policy("agent", "gru", {name: w.numpy() for name, w in actor_weights(agent).items()})
