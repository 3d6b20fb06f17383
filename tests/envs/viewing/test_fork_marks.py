"""A watched FORK trial shows its targets, which of them counts, and which was touched."""

import numpy as np

from envs.memory_tests.skills import skill
from envs.metaworld.suites import make_suite
from envs.pool.pool import Policy
from envs.viewing.captions import lines
from envs.viewing.playback import Playback
from envs.viewing.render import marks


def test_targets_are_marked_and_a_wrong_choice_is_red() -> None:
    suite = make_suite("FORK-reach-2", train_goals=2)
    (trial,) = suite.evaluation_trials("test", goals=1, episodes=2, horizon=40, seed=1)
    assert trial.fork is not None
    play = Playback(Policy("random"), [trial], lanes=1)
    (cell,), counts = play.cells, trial.fork.targets[0]
    before = marks(cell)
    np.testing.assert_allclose([place for place, _ in before], trial.fork.sites)
    assert [bool(rgba[1] == 1.0) for _, rgba in before] == [i == counts for i in range(2)]
    assert all(rgba[3] < 1 for _, rgba in before)
    touch = skill(cell.runner, 1 - counts)
    for _ in range(39):
        cell.note(cell.runner.step(touch()))
    wrong = marks(cell)[1 - counts][1]
    assert cell.choice == 1 - counts
    assert (wrong[0] > 0.5, wrong[1] < 0.5, wrong[3]) == (True, True, 1.0)
    assert "attempt 1/2" in lines(cell)[1]
    cell.next_episode()
    assert all(rgba[3] < 1 for _, rgba in marks(cell))
    play.close()
