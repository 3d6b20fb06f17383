"""FORK through the workers: the same bits whoever runs a trial, and what the learner is given."""

import numpy as np
import pytest

from envs.metaworld.suites import make_suite
from tests.envs.pool_trials import POLICY, assert_same
from tests.lent import LentPool
from train.algorithms.rollout import Rollout


@pytest.mark.parametrize("name", ["FORK-reach-4-switch50-interference", "FORK-joint"])
def test_workers_do_not_change_a_bit(name: str) -> None:
    suite = make_suite(name, train_goals=2)
    trials = suite.sample_trials(5, episodes=3, horizon=20, iteration=0, seed=1)
    batches = []
    for workers in (1, 2):
        with LentPool(workers) as pool:
            batches += [pool.run(trials, POLICY, lanes=2), pool.run(trials, POLICY, lanes=2)]
    for batch in batches[1:]:
        assert_same(batch, batches[0])
    rollout = Rollout.from_batch(batches[0], trials, suite.tasks)
    assert rollout.targets.T.tolist() == [list(t.fork.targets) for t in trials]
    assert rollout.choices.shape == (3, 5)


def test_choices_are_those_of_the_ends_of_attempts() -> None:
    """And they stay with their trials where a faulted one is left out."""
    suite = make_suite("FORK-reach-2", train_goals=2)
    trials = suite.sample_trials(3, episodes=2, horizon=10, iteration=0, seed=1)
    with LentPool(1) as pool:
        batch = pool.run(trials, POLICY, lanes=3)
    assert (batch.choices == -1).all()
    batch.choices[9], batch.choices[19] = [0, 1, -1], [1, 0, 1]
    batch.faults[-1, 1] = True
    rollout = Rollout.from_batch(batch, trials, suite.tasks)
    assert rollout.choices.tolist() == [[0, 1, -1], [1, 0, 1]]
    assert rollout.without_faults().choices.tolist() == [[0, -1], [1, 1]]
    assert np.array_equal(rollout.without_faults().targets, rollout.targets[:, [0, 2]])
