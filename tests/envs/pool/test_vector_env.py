"""The pool as a `VectorEnv`: other people's agents must meet the trials that ours do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode

from envs.metaworld.task_env import TASKS
from envs.pool.pool import WorkerError
from envs.pool.vector_env import TrialVectorEnv
from envs.trials.trial import Trial
from envs.trials.trial_env import TrialEnv

GOALS = {
    "reach-v3": (0.0, 0.65, 0.02, 0.05, 0.85, 0.2),
    "door-open-v3": (0.05, 0.9, 0.15),
}
STEPS = 6  # of a trial: 2 episodes of 3


def make_trials(count: int) -> list[Trial]:
    """Tasks alternate, so that a row changes its task when its first trial is over."""
    tasks = list(GOALS)
    return [
        Trial(tasks[i % 2], GOALS[tasks[i % 2]], i, "train", 2, STEPS // 2, seed=i)
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def envs() -> Iterator[TrialVectorEnv]:
    assert set(GOALS) <= set(TASKS)
    vector = TrialVectorEnv(make_trials(6), 3, workers=2)
    yield vector
    vector.close()


def test_it_keeps_gymnasium_s_contract(envs: TrialVectorEnv) -> None:
    assert isinstance(envs, gym.vector.VectorEnv)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    obs, info = envs.reset(seed=1)
    assert obs in envs.observation_space
    assert isinstance(info, dict)
    obs, rewards, terminated, truncated, info = envs.step(envs.action_space.sample())
    assert obs in envs.observation_space
    assert obs.dtype == envs.single_observation_space.dtype
    assert rewards.shape == terminated.shape == truncated.shape == (3,)
    assert rewards.dtype == np.float64
    assert terminated.dtype == truncated.dtype == bool
    assert info["_success"].all()


def test_rows_are_the_trials_that_a_single_environment_gives(envs: TrialVectorEnv) -> None:
    singles = [TrialEnv(envs.trials) for _ in range(3)]
    rng = np.random.default_rng(0)
    obs, _ = envs.reset()
    for row, single in enumerate(singles):
        assert np.array_equal(obs[row], single.reset(options={"trial": row})[0])
    for _ in range(STEPS):
        actions = rng.uniform(-1.5, 1.5, (3, 4)).astype(np.float32)
        obs, rewards, _, truncated, infos = envs.step(actions)
        for row, single in enumerate(singles):
            expected = single.step(actions[row])
            assert np.array_equal(obs[row], expected[0])
            assert rewards[row] == pytest.approx(expected[1], rel=1e-6)
            assert truncated[row] == expected[3]
            assert infos["episode_done"][row] == expected[4]["episode_done"]
    assert truncated.all()


def test_a_finished_row_starts_its_next_trial_at_the_next_step(envs: TrialVectorEnv) -> None:
    envs.reset()
    for _ in range(STEPS):
        _, _, _, truncated, _ = envs.step(np.zeros((3, 4), np.float32))
    assert truncated.all()
    obs, rewards, _, truncated, _ = envs.step(np.ones((3, 4), np.float32))
    assert not rewards.any()
    assert not truncated.any()
    single = TrialEnv(envs.trials)
    for row in range(3):  # row i goes on with trial i + 3, of the other task
        assert np.array_equal(obs[row], single.reset(options={"trial": row + 3})[0])


def test_gymnasium_s_own_wrappers_run_on_it(envs: TrialVectorEnv) -> None:
    wrapped = gym.wrappers.vector.RecordEpisodeStatistics(envs)
    wrapped.reset()
    for _ in range(STEPS):
        _, _, _, _, infos = wrapped.step(np.zeros((3, 4), np.float32))
    assert infos["episode"]["l"].tolist() == [STEPS] * 3


def test_actions_that_are_not_finite_are_refused(envs: TrialVectorEnv) -> None:
    envs.reset()
    with pytest.raises(ValueError, match="finite"):
        envs.step(np.full((3, 4), np.nan, np.float32))


def test_rows_must_divide_the_trials() -> None:
    with pytest.raises(ValueError, match="do not divide"):
        TrialVectorEnv(make_trials(5), 3)


def test_a_dead_worker_is_an_error_not_a_hang() -> None:
    vector = TrialVectorEnv(make_trials(2), workers=2)
    vector.reset()
    vector._pool._pool[0].popen.kill()
    vector._pool._pool[0].popen.wait()
    with pytest.raises(WorkerError):
        vector.step(np.zeros((2, 4), np.float32))
    vector.close()


def test_a_horizon_beyond_meta_worlds_is_refused() -> None:
    trials = [dataclasses.replace(trial, horizon=501) for trial in make_trials(2)]
    with pytest.raises(ValueError, match="at most 500"):
        TrialVectorEnv(trials, workers=1)


def test_infos_name_the_trials_that_begin(envs: TrialVectorEnv) -> None:
    _, infos = envs.reset()
    assert infos["task"].tolist() == ["reach-v3", "door-open-v3", "reach-v3"]
    assert infos["goal_index"].tolist() == [0, 1, 2]
    for _ in range(STEPS):
        *_, infos = envs.step(np.zeros((3, 4), np.float32))
    assert "task" not in infos
    np.testing.assert_array_equal(infos["is_success"], infos["success"])
    *_, infos = envs.step(np.zeros((3, 4), np.float32))
    assert infos["task"].tolist() == ["door-open-v3", "reach-v3", "door-open-v3"]
    assert infos["goal_index"].tolist() == [3, 4, 5]


def test_misuse_is_gymnasium_s_own_error() -> None:
    vector = TrialVectorEnv(make_trials(2), workers=1)
    actions = np.zeros((2, 4), np.float32)
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        vector.step(actions)
    vector.close()
    vector.close()
    with pytest.raises(ClosedEnvironmentError):
        vector.step(actions)
    with pytest.raises(ClosedEnvironmentError):
        vector.reset()
