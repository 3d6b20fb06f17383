"""Trials: what the agent sees at which step, and that equal trials are equal to the last bit."""

import dataclasses
import json

import numpy as np
import pytest

from agents.input_layout import (
    INPUT_DIM,
    OBS,
    OBS_DIM,
    PREV_ACTION,
    PREV_DONE,
    PREV_REWARD,
    REWARD_CHANGE,
    REWARD_CHANGE_CLIP,
    pack,
    signal,
)
from envs.metaworld.task_env import TaskEnv
from envs.trials.trial import Trial, TrialRunner
from tests.envs.made_up_trials import GOAL, OTHER, TRIAL, actions, run

HIDDEN = slice(36, 39)


@pytest.fixture(scope="module")
def runner() -> TrialRunner:
    return TrialRunner("reach-v3")


def test_a_trial_starts_from_nothing(runner: TrialRunner) -> None:
    """Also on a simulator that has just run another trial."""
    run(runner, OTHER)
    first = runner.begin(TRIAL)
    assert first.shape == (INPUT_DIM,)
    assert first.dtype == np.float32
    assert (first[OBS_DIM:] == 0).all()
    assert np.abs(first[OBS]).sum() > 0


def test_the_agent_sees_how_an_episode_ended(runner: TrialRunner) -> None:
    """RL² lives on this: at an inner boundary done = 1 and the last reward and action are shown.

    Meta-World's own wrapper replaces all three by zeros there (SAME_STEP autoreset).
    """
    inputs, steps = run(runner, TRIAL)
    taken = np.clip(actions(TRIAL), -1, 1)
    rewards = np.array([step.reward for step in steps])
    boundary = np.array([False, False, False, True] * 3)
    assert [step.done for step in steps] == boundary.tolist()
    np.testing.assert_array_equal(inputs[1:, PREV_DONE], boundary)
    np.testing.assert_array_equal(inputs[1:, PREV_ACTION], taken)
    np.testing.assert_array_equal(inputs[1:, PREV_REWARD], (rewards * 0.1).astype(np.float32))
    assert (rewards[boundary] > 0).all()
    assert np.abs(actions(TRIAL)).max() > 1


def test_the_change_of_the_reward_is_within_an_episode(runner: TrialRunner) -> None:
    """The last step's gain; before an episode's second reward there is nothing to compare."""
    inputs, steps = run(runner, TRIAL)
    rewards = np.array([step.reward for step in steps]).reshape(3, 4)
    gains = np.diff(rewards, axis=1, prepend=rewards[:, :1])
    assert (gains[:, 1:] != 0).all()
    np.testing.assert_array_equal(inputs[1:, REWARD_CHANGE], np.float32(gains).ravel())
    for change, shown in ((-9.5, -REWARD_CHANGE_CLIP), (0.5, 0.5), (9.5, REWARD_CHANGE_CLIP)):
        out = np.zeros(INPUT_DIM, dtype=np.float32)
        pack(np.zeros(OBS_DIM), np.zeros(4), 0.0, False, change, out=out)
        assert out[REWARD_CHANGE] == shown


def test_an_inner_boundary_shows_the_next_episode(runner: TrialRunner) -> None:
    """The observation beside done = 1 is already the new episode's first, not the old one's last.

    Compared with the environment stepped by hand, two episodes and a reset between them.
    """
    inputs, steps = run(runner, TRIAL)
    env = TaskEnv("reach-v3")
    env.set_goal(np.array(GOAL))
    expected, rewards = [], []
    for episode in np.clip(actions(TRIAL), -1, 1).reshape(3, 4, 4):
        obs = env.reset()
        for action in episode:
            expected.append(obs)
            obs, reward, *_ = env.step(action)
            rewards.append(reward)
    np.testing.assert_array_equal(inputs[:-1, OBS], np.array(expected, dtype=np.float32))
    assert rewards == [step.reward for step in steps]


def test_length_is_exact(runner: TrialRunner) -> None:
    """K × H steps: never one more for a reset, never one less."""
    for episodes, horizon in ((1, 1), (1, 5), (4, 1), (3, 4)):
        trial = dataclasses.replace(TRIAL, episodes=episodes, horizon=horizon)
        runner.begin(trial)
        for t in range(trial.steps):
            assert not runner.finished
            done = runner.step(np.zeros(4)).done
            assert done == ((t + 1) % horizon == 0)
        assert runner.finished


def test_the_goal_is_hidden_unless_asked_for() -> None:
    """Hidden at every step of every episode; for MT it is shown, and it is the goal."""
    hidden, _ = run(TrialRunner("reach-v3"), TRIAL)
    assert (hidden[:, HIDDEN] == 0).all()
    open_trial = dataclasses.replace(TRIAL, goal_hidden=False)
    shown, _ = run(TrialRunner("reach-v3", goal_hidden=False), open_trial)
    np.testing.assert_array_equal(shown[:, HIDDEN], np.tile(np.float32(GOAL[3:]), (13, 1)))
    np.testing.assert_array_equal(shown[:, :36], hidden[:, :36])


def test_observations_are_hidden_by_the_trial_s_seed(runner: TrialRunner) -> None:
    """All zeros at random steps, the first input and boundaries among them; all else as it was."""
    trial = dataclasses.replace(TRIAL, missing=0.5, seed=3)
    inputs, _ = run(runner, trial)
    shown, _ = run(runner, dataclasses.replace(trial, missing=0.0))
    hidden = trial.hidden()
    assert hidden.shape == (13,)
    assert 3 < hidden.sum() < 10
    assert hidden[[0, 4]].any()
    assert not np.array_equal(hidden, dataclasses.replace(trial, seed=4).hidden())
    assert (inputs[hidden, OBS] == 0).all()
    assert signal("present", inputs).tolist() == (~hidden).tolist()
    np.testing.assert_array_equal(inputs[~hidden], shown[~hidden])
    np.testing.assert_array_equal(inputs[:, OBS_DIM:], shown[:, OBS_DIM:])
    runner.begin(trial)
    held = runner.observation.copy()
    assert hidden[:4].any()
    for step in range(4):  # scripts see what is hidden
        assert held.any()
        if hidden[step]:
            assert not runner.inputs[OBS].any()
        else:
            np.testing.assert_array_equal(held, runner.inputs[OBS])
        runner.step(np.zeros(4))
        held = runner.observation.copy()
    much = dataclasses.replace(trial, horizon=400, missing=0.3).hidden().mean()
    assert 0.25 < much < 0.35


def test_equal_trials_give_equal_bits(runner: TrialRunner) -> None:
    """On a fresh simulator, on a used one, after another goal: nothing may linger."""
    first, _ = run(TrialRunner("reach-v3"), TRIAL)
    other, _ = run(runner, OTHER)
    again, _ = run(runner, TRIAL)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_abandoned_trial_leaves_nothing(runner: TrialRunner) -> None:
    expected, _ = run(runner, TRIAL)
    runner.begin(OTHER)
    runner.step(np.ones(4))
    again, _ = run(runner, TRIAL)
    np.testing.assert_array_equal(expected, again)


def test_trials_survive_json() -> None:
    """Trials travel to workers as JSON; goals must arrive to the last bit."""
    goal = tuple(np.random.default_rng(0).random(6).tolist())
    trial = dataclasses.replace(TRIAL, goal=goal, seed=2**63 - 1)
    assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial


def test_noise_belongs_to_the_trial() -> None:
    noise = TRIAL.noise()
    np.testing.assert_array_equal(noise, TRIAL.noise())
    assert noise.shape == (12, 4)
    assert noise.dtype == np.float32
    assert np.abs(noise - OTHER.noise()).max() > 0.1
    many = dataclasses.replace(TRIAL, episodes=100, horizon=500).noise()
    assert abs(many.mean()) < 0.01
    assert abs(many.std() - 1) < 0.01
