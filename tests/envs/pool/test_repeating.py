"""An agent that repeats its best attempt, in real trials: bit for bit the same episode again."""

import dataclasses

import numpy as np
import pytest

from agents.acting.numpy_actor import NumpyActor
from agents.acting.repeating import RepeatingActor
from agents.input_layout import INPUT_DIM, PREV_DONE
from envs.pool.pool import WorkerPool
from envs.pool.shared_rollout import TrialBatch
from envs.viewing.playback import Playback
from tests.envs.pool_trials import POLICY, assert_same, make_trials

EPISODES, HORIZON, ATTEMPTS = 5, 12, 3
TRIALS = make_trials(5, episodes=EPISODES, horizon=HORIZON)
REPEATING = dataclasses.replace(POLICY, attempts=ATTEMPTS)


@pytest.fixture(scope="module")
def batch() -> TrialBatch:
    with WorkerPool(1) as pool:
        return pool.run(TRIALS, REPEATING, lanes=2)


def by_episode(values: np.ndarray) -> np.ndarray:
    return values.reshape(EPISODES, HORIZON, *values.shape[1:])


def test_the_best_attempt_comes_back_bit_for_bit(batch: TrialBatch) -> None:
    rewards, actions = by_episode(batch.rewards), by_episode(batch.actions)
    for column in range(len(TRIALS)):
        earned = rewards[:ATTEMPTS, :, column].sum(axis=1)
        assert len(set(earned)) == ATTEMPTS
        best = earned.argmax()
        for episode in range(ATTEMPTS, EPISODES):
            np.testing.assert_array_equal(actions[episode, :, column], actions[best, :, column])
            np.testing.assert_array_equal(rewards[episode, :, column], rewards[best, :, column])


def test_the_first_attempt_is_the_plain_agents_first_episode(batch: TrialBatch) -> None:
    with WorkerPool(1) as pool:
        plain = pool.run(TRIALS, POLICY, lanes=2)
    actions, theirs = by_episode(batch.actions), by_episode(plain.actions)
    np.testing.assert_array_equal(actions[0], theirs[0])
    assert (actions[1] != theirs[1]).any()  # which carries its memory


def test_neither_workers_nor_watching_change_a_bit(batch: TrialBatch) -> None:
    with WorkerPool(2) as two:
        assert_same(two.run(TRIALS, REPEATING, lanes=2), batch)
    play, totals = Playback(REPEATING, TRIALS, lanes=2), []
    for step in play.moments():
        if step == HORIZON:
            totals.append([cell.total for cell in play.cells])
    play.close()
    np.testing.assert_allclose(totals, by_episode(batch.rewards).sum(axis=1), rtol=1e-5)


def test_one_trial_begins_again_while_others_go_on() -> None:
    """Rows are trials of their own: a boundary of one leaves the memory of the others alone."""
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((3, 2, INPUT_DIM)).astype(np.float32)
    inputs[..., PREV_DONE] = 0.0
    ended = inputs.copy()
    ended[2, 0, PREV_DONE] = 1.0
    noise = np.zeros((2, 4), np.float32)
    actors = [RepeatingActor(NumpyActor("gru", POLICY.weights, 2), 9) for _ in range(2)]
    plain, split = ([actor.act(step, noise)[0] for step in seen] for actor, seen in
                    zip(actors, (inputs, ended), strict=True))  # fmt: skip
    np.testing.assert_array_equal(plain[2][1], split[2][1])
    fresh = RepeatingActor(NumpyActor("gru", POLICY.weights, 2), 9)
    first = np.concatenate((inputs[2, :, :39], np.zeros((2, INPUT_DIM - 39), np.float32)), axis=1)
    np.testing.assert_array_equal(split[2][0], fresh.act(first, noise)[0][0])
    assert (split[2][0] != plain[2][0]).any()
