"""What the agent is shown of a step."""

import numpy as np
import pytest
import torch

from agents.encoder import Encoder
from agents.input_layout import (
    FRAME,
    INPUT_DIM,
    LAYOUT_VERSION,
    OBS,
    PREV_REWARD,
    REWARD_CHANGE,
    SLICES,
    WIDTHS,
    input_width,
    pack,
    slopes,
)


def step(hand: tuple[float, ...], thing: tuple[float, ...], change: float) -> np.ndarray:
    """A packed input in which the hand and the first object moved by these metres."""
    obs = np.random.default_rng(0).uniform(-0.5, 0.5, 39)
    obs[FRAME : 2 * FRAME] = obs[:FRAME]
    obs[0:3] += hand
    obs[4:7] += thing
    out = np.zeros(INPUT_DIM, dtype=np.float32)
    pack(obs, np.zeros(4), 5.0, False, change, out=out)
    return out


def test_the_first_layout_stays_as_it_was() -> None:
    """Agents in the world read these places; a new input goes behind them."""
    first = [(place.start, place.stop) for place in SLICES.values()][:5]
    assert list(SLICES)[:5] == ["obs", "prev_action", "prev_reward", "prev_done", "reward_change"]
    assert first == [(0, 39), (39, 43), (43, 44), (44, 45), (45, 46)]
    assert WIDTHS[1] == 46
    assert WIDTHS[LAYOUT_VERSION] == INPUT_DIM


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="inputs of layout 99; this Strata has layouts 1"):
        input_width(99)


def test_an_agent_of_an_older_layout_reads_no_newer_inputs() -> None:
    torch.manual_seed(0)
    encoder, inputs = Encoder(4, slopes=0.3, inputs=1), torch.randn(3, WIDTHS[1])
    newer = torch.cat((inputs, torch.randn(3, 2)), dim=-1)
    assert torch.equal(encoder(newer), encoder(inputs))


def test_slopes_by_hand() -> None:
    """0.05 more reward over 1 cm is 5 per metre, less what is lost to the 1 mm; × 0.3."""
    hand, thing = slopes(step((0.0, 0.01, 0.0), (0.003, 0.0, -0.004), change=0.05), 0.3)
    np.testing.assert_allclose(hand, [0, 0.3 * 0.05 * 0.01 / 1.01e-4, 0], atol=1e-4)
    np.testing.assert_allclose(thing, 0.3 * 0.05 * np.array([0.003, 0, -0.004]) / 2.6e-5, rtol=1e-3)


def test_slopes_tell_a_direction_far_from_a_goal() -> None:
    """Four tenths of a metre away rewards rise by some units a metre: that must be heard."""
    hand, _ = slopes(step((0.0, 0.01, 0.0), (0.0, 0.0, 0.0), change=0.01 * 4.5), 0.3)
    assert hand[1] > 0.9


def test_slopes_are_bounded_and_nothing_where_nothing_moved() -> None:
    hand, thing = slopes(step((1e-3, 0.0, 0.0), (0.0, 0.0, 0.0), change=2.9), 0.3)
    assert hand.tolist() == [3.0, 0.0, 0.0]
    assert thing.tolist() == [0.0, 0.0, 0.0]


def test_acting_and_training_see_the_same_slopes() -> None:
    """One function for both: NumPy in the workers, torch in the learner."""
    inputs = np.random.default_rng(0).normal(0, 0.02, (7, 5, INPUT_DIM)).astype(np.float32)
    for ours, theirs in zip(
        slopes(inputs, 0.3), slopes(torch.from_numpy(inputs), 0.3), strict=True
    ):
        assert ours.shape == (7, 5, 3)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_slopes_point_at_a_hidden_goal() -> None:
    """Summed over movements in all directions, under a reward that falls with distance."""
    rng = np.random.default_rng(1)
    goal, hand, total = np.array([0.1, 0.8, 0.2]), np.array([0.0, 0.6, 0.2]), np.zeros(3)

    def reward(place: np.ndarray) -> float:
        return 10 / (1 + 10 * float(np.linalg.norm(place - goal)))

    for moved in rng.normal(0, 0.005, (200, 3)):
        obs = np.zeros(39)
        obs[FRAME : FRAME + 3], obs[0:3] = hand, hand + moved
        out = np.zeros(INPUT_DIM, dtype=np.float32)
        now, before = reward(hand + moved), reward(hand)
        pack(obs, np.zeros(4), now, False, now - before, out=out)
        total += slopes(out, 0.3)[0]
    way = goal - hand
    assert total @ way / np.linalg.norm(total) / np.linalg.norm(way) > 0.95


def test_slopes_need_no_more_than_rl2_sees() -> None:
    """Nothing but two frames of the observation and the reward's change."""
    some = step((0.01, 0.0, 0.0), (0.0, 0.02, 0.0), change=0.3)
    other = some.copy()
    other[OBS][2 * FRAME :] = 9.0
    other[PREV_REWARD] = 9.0
    for one, two in zip(slopes(some, 0.3), slopes(other, 0.3), strict=True):
        np.testing.assert_array_equal(one, two)
    other[REWARD_CHANGE] = 0.0
    assert not np.any(slopes(other, 0.3))
