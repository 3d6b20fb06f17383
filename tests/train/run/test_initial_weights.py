"""The seed decides the initial weights, whatever the number of threads and cores, every time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from envs.metaworld.suites import Suite
from train.run.config import Config
from train.run.state import TrainState, initialise

ROOT = Path(__file__).resolve().parents[3]
GOALS = {"reach-v3": tuple((0.01 * i, 0.6, 0.02, 0.1, 0.8, 0.1) for i in range(3))}
ELSEWHERE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from tests.train.run.test_initial_weights import digest
print(digest())
assert "torch._dynamo" not in sys.modules, "whose import takes seconds"
"""


def made() -> TrainState:
    return initialise(Config(suite="ML1", task="reach-v3"), Suite("ML1", 1, GOALS, GOALS))


def digest() -> int:
    """A number that changes with any bit of the initial weights."""
    state = made()
    bits = [
        tensor.double().view(torch.int64).sum().item()
        for group in state.learner.tensors().values()
        for tensor in group.values()
    ]
    return hash(tuple(bits))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


def test_threads_and_repetition_in_one_process() -> None:
    """A second training in a notebook began with other weights than the first."""
    found = set()
    for threads in (2, 1, 4, 2):
        torch.set_num_threads(threads)
        found |= {digest(), digest()}
        assert torch.get_num_threads() == 1
    assert len(found) == 1


def test_threads_and_affinity_of_a_process() -> None:
    """Here one thread on all cores, there two threads on one core."""
    torch.set_num_threads(1)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == digest()
