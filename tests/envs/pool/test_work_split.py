"""How trials are dealt to workers: all of them once, and evenly."""

import pytest
import torch

from agents.rl2 import AgentConfig, RL2Agent, actor_weights
from envs.pool.pool import Policy
from envs.pool.shared_rollout import PER_TRIAL
from envs.pool.work_split import pieces
from tests.envs.pool_trials import assert_same, make_trials


@pytest.mark.parametrize("trials", [1, 5, 40, 48])
@pytest.mark.parametrize("lanes", [1, 3, 10])
@pytest.mark.parametrize("workers", [1, 2, 3, 16, 64])
def test_every_trial_is_dealt_once_in_its_block(trials, lanes, workers) -> None:
    plan = pieces(trials, lanes, workers)
    dealt = [i for _, _, piece in plan for i in range(piece.start, piece.stop)]
    assert dealt == list(range(trials))
    for first, count, piece in plan:
        assert first % lanes == 0
        assert count == min(lanes, trials - first)
        assert first <= piece.start < piece.stop <= first + count


@pytest.mark.parametrize(
    ("workers", "sizes"),
    [
        (1, {10}),
        (2, {10}),  # two blocks each
        (3, {2}),  # 7 of 20 pieces; four blocks of 10 would leave two workers idle half the time
        (4, {10}),
        (8, {5}),
        (16, {2, 3}),
        (40, {1}),
        (64, {1}),
    ],
)
def test_forty_trials_keep_the_workers_busy(workers: int, sizes: set[int]) -> None:
    assert {piece.stop - piece.start for _, _, piece in pieces(40, 10, workers)} == sizes


def test_a_piece_has_the_bits_of_its_block(make_pool, lone) -> None:
    """With the default agent's widths, whose products take the matrix library's fast kernels."""
    torch.manual_seed(1)
    weights = actor_weights(RL2Agent(AgentConfig()))
    policy = Policy("agent", "gru", {name: weight.numpy() for name, weight in weights.items()})
    trials = make_trials(7, horizon=6)
    assert {piece.stop - piece.start for _, _, piece in pieces(7, 7, 3)} == {2, 3}
    whole = lone.run(trials, policy, lanes=7)
    assert_same(make_pool(3).run(trials, policy, lanes=7), whole)


@pytest.mark.parametrize(("lanes", "workers"), [(10, 1), (10, 3), (3, 2)])
def test_parts_are_dealt_in_the_blocks_of_the_whole(lanes: int, workers: int) -> None:
    """Learners deal their shares of the trials each by itself."""
    for part in (slice(0, 14), slice(14, 27), slice(27, 40)):
        plan = pieces(40, lanes, workers, part)
        dealt = [i for _, _, piece in plan for i in range(piece.start, piece.stop)]
        assert dealt == list(range(part.start, part.stop))
        assert all(first % lanes == 0 for first, _, _ in plan)
        assert all(first <= p.start < p.stop <= first + count for first, count, p in plan)


def test_a_part_has_the_bits_that_it_has_in_the_whole(lone) -> None:
    torch.manual_seed(1)
    weights = actor_weights(RL2Agent(AgentConfig()))
    policy = Policy("agent", "gru", {name: weight.numpy() for name, weight in weights.items()})
    trials = make_trials(5, horizon=4)
    whole = lone.run(trials, policy, lanes=3)
    part = lone.run(trials, policy, lanes=3, part=slice(2, 5))
    for name, array in vars(part).items():
        among = getattr(whole, name)
        assert (array == (among[2:5] if name in PER_TRIAL else among[:, 2:5])).all(), name
