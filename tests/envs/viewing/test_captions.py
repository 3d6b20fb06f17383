"""What is written into a picture."""

import numpy as np
import pytest

from envs.trials.trial import TrialRunner
from envs.viewing.captions import RED, Layout, badge, compose, lines
from envs.viewing.playback import Cell
from tests.envs.viewing.scenes import REACH


def cell_at(**state: object) -> Cell:
    cell = Cell(TrialRunner("reach-v3"), pose=None)
    cell.runner.trial = REACH
    for name, value in state.items():
        setattr(cell, name, value)
    return cell


def test_words_say_which_trial_and_how_it_stands() -> None:
    cell = cell_at(episode=2, step=17, reward=1.26, total=30.4, succeeded_at=[None, 9])
    assert lines(cell) == (
        "reach-v3",
        "test goal 3   episode 2/2   step 17",
        "reward 1.3   return 30",
    )
    assert badge(cell) == "solved at step 9"
    cell.success = True
    assert badge(cell) == "SUCCESS"
    assert badge(cell_at()) == ""


@pytest.mark.parametrize("size", [96, 240, 500])
def test_what_is_written_stays_in_its_cell(size: int) -> None:
    cells = [cell_at(step=500, total=4900.0, success=True, succeeded_at=[500])] * 4
    layout = Layout(size, 2, 2)
    frame = compose(cells, [np.zeros((size, size, 3), np.uint8)] * 4, layout, "title")
    assert frame.shape == (*layout.shape, 3)
    gaps = [layout.place(1)[0] - 2, layout.place(1)[0] + size + 2]
    assert (frame[layout.line + 6 :, gaps] == frame[-1, -1]).all()


@pytest.mark.parametrize(("step", "red"), [(59, 1), (60, 2)])
def test_an_episode_that_failed_is_red_from_its_last_step(step: int, red: int) -> None:
    """The trial's last one, too, after which no other episode begins."""
    cell = cell_at(episode=2, step=step, succeeded_at=[None, None])
    frame = compose([cell], [np.zeros((240, 240, 3), np.uint8)], Layout(240, 1, 1))
    row = (frame == RED).all(-1).any(0)
    assert (np.diff(row.astype(int)) == 1).sum() == red


def test_repeats_of_the_best_attempt_are_told_from_attempts() -> None:
    cell = cell_at(episode=1, attempts=1, succeeded_at=[None])
    assert "attempt 1/2" in lines(cell)[1]
    cell = cell_at(episode=2, attempts=1, succeeded_at=[None, 3])
    assert "repeat 2/2" in lines(cell)[1]
    layout = Layout(120, 1, 1)
    picture = np.zeros((120, 120, 3), np.uint8)
    repeats = compose([cell], [picture], layout)
    cell.attempts = 0
    plain = compose([cell], [picture], layout)
    head = slice(0, layout.place(0)[1] - layout.line)  # without the line of words
    assert (repeats[head] != plain[head]).any()  # a round mark, not a square
