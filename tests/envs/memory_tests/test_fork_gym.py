"""FORK for anyone's agent: Gymnasium's contract, and what its rewards may tell."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from agents.input_layout import PREV_REWARD
from envs.memory_tests.fork import STILL
from envs.memory_tests.gym_env import ForkEnv
from envs.memory_tests.skills import skill


@pytest.fixture(scope="module")
def env():
    env = gym.make("envs:Strata/FORK-reach-2")
    yield env
    env.close()


def test_one_episode_is_one_trial_of_its_seed(env) -> None:
    first, info = env.reset(seed=3)
    assert first in env.observation_space
    steps, ended = 0, False
    while not ended:
        obs, _, terminated, ended, after = env.step(env.action_space.sample())
        assert not terminated
        steps += 1
    assert obs in env.observation_space
    assert steps == 4 * 50
    assert after["episode_done"]
    again, same = env.reset(seed=3)
    np.testing.assert_array_equal(first, again)
    assert info["trial"] == same["trial"] != env.reset()[1]["trial"]


def test_its_reward_tells_no_more_than_the_outcome_that_is_shown(env) -> None:
    _, info = env.reset(seed=0)
    act = skill(env.unwrapped._block.runners[0], info["trial"].fork.targets[0])
    rewards, training = [], []
    for _ in range(50):
        obs, reward, _, _, info = env.step(act())
        rewards.append(reward)
        training.append(info["training_reward"])
    assert rewards == [0.0] * 49 + [1.0]
    assert max(training) > 4
    assert obs[PREV_REWARD] == 1
    for _ in range(STILL):
        obs, reward, *_ = env.step(np.ones(4, np.float32))
        assert reward == 0
    assert obs[PREV_REWARD] == 0


def test_test_trials_and_unknown_suites() -> None:
    env = ForkEnv("FORK-reach-4-delay5", split="test")
    assert env.reset(seed=1)[1]["trial"].split == "test"
    for bad in (
        {"suite": "FORK-reach-2", "split": "held-out"},
        {"suite": "MT10"},
        {"suite": "RECALL-code-4"},
    ):
        with pytest.raises(ValueError, match="FORK-reach-2"):
            ForkEnv(**bad)


def test_it_ends_with_its_trial_and_takes_no_bad_action() -> None:
    env = ForkEnv("FORK-reach-2")
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(4, np.float32))
    env.reset(seed=1)
    with pytest.raises(FloatingPointError):
        env.step(np.full(4, np.nan, np.float32))
    env.reset(seed=1)
    for _ in range(4 * 50):
        truncated = env.step(np.zeros(4, np.float32))[3]
    assert truncated
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(4, np.float32))
    env.close()
    env.close()
    for use in (env.reset, lambda: env.step(np.zeros(4, np.float32))):
        with pytest.raises(ClosedEnvironmentError):
            use()
