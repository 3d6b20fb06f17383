"""What the next input shows of the step before it."""

import numpy as np

from agents.input_layout import INPUT_DIM, PREV_ACTION, PREV_DONE, PREV_REWARD, REWARD_CHANGE
from envs.trials.last_step import NO_STEP, LastStep

ACTION = np.array([0.1, -0.2, 0.3, -1.0], dtype=np.float32)


def shown(last: LastStep) -> list[float]:
    """Reward, done and change as the next input shows them."""
    inputs = np.full(INPUT_DIM, np.nan, dtype=np.float32)
    last.pack(np.zeros(39), inputs)
    np.testing.assert_array_equal(inputs[PREV_ACTION], last.action)
    return inputs[[PREV_REWARD, PREV_DONE, REWARD_CHANGE]].round(6).tolist()


def test_a_trial_begins_with_nothing() -> None:
    assert shown(NO_STEP) == [0.0, 0.0, 0.0]
    assert not NO_STEP.action.any()


def test_change_is_within_an_episode() -> None:
    first = NO_STEP.then(ACTION, 4.0, False)
    assert shown(first) == [np.float32(0.4).round(6), 0.0, 0.0]
    second = first.then(ACTION, 5.5, True)
    assert shown(second) == [np.float32(0.55).round(6), 1.0, 1.5]
    third = second.then(ACTION, 1.0, False)
    assert shown(third) == [np.float32(0.1).round(6), 0.0, 0.0]
    assert shown(third.then(ACTION, 0.5, False))[2] == -0.5


def test_a_step_is_kept_as_it_was() -> None:
    first = NO_STEP.then(ACTION, 4.0, False)
    first.then(ACTION, 9.0, True)
    assert shown(first) == [np.float32(0.4).round(6), 0.0, 0.0]
