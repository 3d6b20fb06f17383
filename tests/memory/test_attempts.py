"""Memory of a trial's attempts: what is kept, and when it is repeated."""

import numpy as np
import pytest

from memory.attempts import Attempts

STEPS = 4


def episode(memory: Attempts, number: int, rewards: list[float]) -> list[float]:
    """Live through an episode whose fresh noise is `number`; the noise that was acted with."""
    acted = []
    for reward in rewards:
        acted.append(float(memory.noise(np.full(3, number, np.float32))[0]))
        memory.earn(reward)
    memory.end()
    return acted


def test_the_attempt_that_earned_most_is_repeated_to_the_end() -> None:
    memory = Attempts(3)
    earned = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 5.0], [2.0, 2.0, 0.0, 0.0]]
    for number, rewards in enumerate(earned, start=1):
        assert not memory.repeating
        assert episode(memory, number, rewards) == [number] * STEPS
    assert (memory.made, memory.best) == (3, 5.0)
    for number in (4, 5):
        assert memory.repeating
        assert episode(memory, number, [0.0] * STEPS) == [2] * STEPS  # whatever it earns now
    assert (memory.made, memory.best) == (3, 5.0)


def test_the_first_of_equals_is_kept_and_less_than_nothing_can_be_best() -> None:
    memory = Attempts(2)
    episode(memory, 1, [-3.0, 0.0])
    episode(memory, 2, [-1.0, -2.0])
    assert memory.best == -3.0
    assert episode(memory, 3, [0.0, 0.0]) == [1, 1]


def test_steps_repeat_in_their_order_and_what_is_longer_goes_on_anew() -> None:
    memory = Attempts(1)
    fresh = np.arange(6, dtype=np.float32).reshape(3, 2)
    for row in fresh:
        np.testing.assert_array_equal(memory.noise(row), row)
    memory.end()
    again = [memory.noise(np.full(2, 9, np.float32)) for _ in range(4)]
    np.testing.assert_array_equal(again, [*fresh, [9, 9]])


def test_it_keeps_what_it_was_shown_then() -> None:
    """Rows of a block's noise are views that the next step overwrites."""
    memory, row = Attempts(1), np.ones(2, np.float32)
    memory.noise(row)
    row[:] = 7
    memory.end()
    np.testing.assert_array_equal(memory.noise(row), [1, 1])


def test_no_attempt_is_nothing_to_repeat() -> None:
    with pytest.raises(ValueError, match="at least 1 attempt"):
        Attempts(0)
