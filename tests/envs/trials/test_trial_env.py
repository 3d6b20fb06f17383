"""Trials as a Gymnasium environment: other people's agents must meet what ours do."""

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs.trials.trial import TrialRunner
from envs.trials.trial_env import TrialEnv
from tests.envs.made_up_trials import OTHER, TRIAL, actions, run


@pytest.fixture
def env():
    env = TrialEnv([TRIAL, OTHER])
    yield env
    env.close()


def test_gymnasium_accepts_it(env: TrialEnv) -> None:
    """Other people's agents rely on the checker's promises; its warnings count as failures too,
    but for the one that our observation is unbounded, which it is.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    others = [str(w.message) for w in caught if "infinity" not in str(w.message)]
    assert others == []


def test_stable_baselines3_accepts_it(env: TrialEnv) -> None:
    from stable_baselines3.common import env_checker  # whose import takes seconds

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env_checker.check_env(env)


def test_one_gymnasium_episode_is_one_trial(env: TrialEnv) -> None:
    """Inner episodes end in `info`, the trial by truncation, and never by termination."""
    expected, outcomes = run(TrialRunner("reach-v3"), TRIAL)
    obs, info = env.reset()
    assert info == {"task": "reach-v3", "goal_index": 3}
    seen, ends = [obs], []
    for t, action in enumerate(actions(TRIAL)):
        obs, reward, terminated, truncated, info = env.step(action)
        seen.append(obs)
        ends.append(info["episode_done"])
        assert reward == outcomes[t].reward
        assert info["success"] == outcomes[t].success
        assert not terminated
        assert truncated == (t == TRIAL.steps - 1)
        assert not info["physics_fault"]
    np.testing.assert_array_equal(seen, expected)
    assert ends == [False, False, False, True] * 3
    assert env.reset()[1]["goal_index"] == 4
    assert env.reset()[1]["goal_index"] == 3
    assert env.reset(options={"trial": 1})[1]["goal_index"] == 4


def test_impossible_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        TrialEnv([])
    with pytest.raises(ValueError, match="at most 500"):
        TrialEnv([dataclasses.replace(TRIAL, horizon=501)])


def test_step_before_reset_is_gymnasium_s_own_error() -> None:
    env = TrialEnv([TRIAL])
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        env.step(np.zeros(4, np.float32))


def test_a_trial_that_is_over_needs_a_reset(env: TrialEnv) -> None:
    env.reset()
    for action in actions(TRIAL):
        env.step(action)
    with pytest.raises(ResetNeeded, match="the trial is over"):
        env.step(np.zeros(4, np.float32))
    env.reset()
    env.step(np.zeros(4, np.float32))


def test_use_after_close_is_gymnasium_s_own_error() -> None:
    env = TrialEnv([TRIAL])
    env.reset()
    env.close()
    env.close()
    with pytest.raises(ClosedEnvironmentError):
        env.step(np.zeros(4, np.float32))
    with pytest.raises(ClosedEnvironmentError):
        env.reset()


@pytest.mark.parametrize("bad", [2, -1, 0.0, "0", True, None])
def test_a_trial_that_does_not_exist_is_refused(env: TrialEnv, bad: Any) -> None:
    with pytest.raises(ValueError, match=r'options\["trial"\] must be'):
        env.reset(options={"trial": bad})


def test_an_action_that_is_not_finite_is_refused(env: TrialEnv) -> None:
    env.reset()
    with pytest.raises(FloatingPointError, match="non-finite action"):
        env.step(np.full(4, np.nan, np.float32))
