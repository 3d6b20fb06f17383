"""How soon and for how long: numbers worked out by hand."""

import numpy as np

from envs.trials.success import share_in_success, steps_to_success


def test_first_success_and_its_share_by_hand() -> None:
    episode = [[0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    successes = np.array(episode, dtype=bool).T[None]  # one episode, four steps, four trials
    assert steps_to_success(successes).tolist() == [[3, 1, 4, 4]]
    assert share_in_success(successes).tolist() == [[0.5, 0.25, 0.25, 0]]


def test_episodes_do_not_see_each_other() -> None:
    successes = np.zeros((2, 3, 1), dtype=bool)
    successes[0, 1] = True
    assert steps_to_success(successes).ravel().tolist() == [2, 3]
