"""Every metric of a stream against a matrix worked out by hand."""

from math import inf, isnan

import numpy as np
import pytest

from eval.streams.retention import (
    Matrix,
    adaptation_gain,
    backward_transfer,
    episodes_to,
    final_performance,
    forgetting,
    incremental_performance,
    learned_forgetting,
    learned_performance,
    meta_forgetting,
    normalised_transfer,
    raw_transfer,
    savings,
    steps_to,
    zero_shot_transfer,
)

# Three tasks, one cycle, two episodes. Rows: untrained, after a, after b, after c.
LAST = [[0.1, 0.0, 0.2], [0.9, 0.1, 0.2], [0.5, 0.8, 0.4], [0.3, 0.6, 0.2]]
FIRST = [[0.1, 0.0, 0.1], [0.6, 0.1, 0.2], [0.5, 0.5, 0.4], [0.2, 0.6, 0.1]]


@pytest.fixture
def matrix() -> Matrix:
    return Matrix(("a", "b", "c"), (0, 1, 2), np.stack([FIRST, LAST], axis=-1))


def test_performance_and_forgetting_by_hand(matrix) -> None:
    assert final_performance(matrix) == pytest.approx([0.3, 0.6, 0.2])
    assert learned_performance(matrix) == pytest.approx([0.9, 0.8, 0.2])
    assert forgetting(matrix) == pytest.approx([0.6, 0.2, 0.0])
    assert forgetting(matrix).mean() == pytest.approx(0.8 / 3)
    assert backward_transfer(matrix) == pytest.approx([-0.6, -0.2])
    assert backward_transfer(matrix).mean() == pytest.approx(-0.4)


def test_backward_transfer_is_forgetting_but_for_the_last_phase(matrix) -> None:
    phases = len(matrix.phases)
    expected = -forgetting(matrix).mean() * phases / (phases - 1)
    assert backward_transfer(matrix).mean() == pytest.approx(expected)


def test_a_task_never_learned_is_not_called_retained(matrix) -> None:
    """c reached .2 only: its forgetting of 0 says nothing."""
    lost = learned_forgetting(matrix)
    assert lost[:2] == pytest.approx([0.6, 0.2])
    assert isnan(lost[2])
    assert learned_forgetting(matrix, level=0.1)[2] == 0


def test_incremental_performance_by_hand(matrix) -> None:
    """a; a and b; all three. In a second cycle all tasks have been met, whichever is on."""
    assert incremental_performance(matrix) == pytest.approx([0.9, 1.3 / 2, 1.1 / 3])
    rows = [[0.0, 0.0], [0.8, 0.4], [0.2, 0.6], [1.0, 0.3], [0.7, 0.9]]
    twice = Matrix(("a", "b"), (0, 1, 0, 1), np.array(rows)[..., None])
    assert incremental_performance(twice) == pytest.approx([0.8, 0.4, 0.65, 0.8])


def test_zero_shot_transfer_by_hand(matrix) -> None:
    """b before its phase: .1 - .0; c: .4 - .2."""
    assert zero_shot_transfer(matrix) == pytest.approx([0.1, 0.2])


def test_forgetting_splits_into_skill_and_search(matrix) -> None:
    assert adaptation_gain(matrix)[1] == pytest.approx([0.3, 0.0, 0.0])
    assert meta_forgetting(matrix) == pytest.approx([0.3 - 0.1, 0.3 - 0.0, 0.1 - 0.1])
    total = forgetting(matrix, 0) + meta_forgetting(matrix)
    assert forgetting(matrix) == pytest.approx(total)


def test_two_cycles_count_phases_as_continual_world_does() -> None:
    """CW20 has 20 columns: a task's two phases are compared with the same end."""
    rows = [[0.0, 0.0], [0.8, 0.0], [0.2, 0.6], [1.0, 0.3], [0.7, 0.9]]
    matrix = Matrix(("a", "b"), (0, 1, 0, 1), np.array(rows)[..., None])
    assert learned_performance(matrix) == pytest.approx([0.8, 0.6, 1.0, 0.9])
    assert forgetting(matrix) == pytest.approx([0.1, -0.3, 0.3, 0.0])
    assert zero_shot_transfer(matrix) == pytest.approx([0.0])


def test_continual_worlds_own_arithmetic() -> None:
    """`ft` and `normalized_ft` of tables.py on (seed, task) volumes: seeds are averaged first."""
    rng = np.random.default_rng(0)
    areas, alone = rng.uniform(0, 0.9, (2, 5, 10))  # 5 seeds, 10 tasks

    def ft(x, y, a):
        return np.mean(x, axis=a) - np.mean(y, axis=a)

    def normalized_ft(x, y, a):
        return (np.mean(x, axis=a) - np.mean(y, axis=a)) / (1 - np.mean(y, axis=a))

    means = areas.mean(axis=0), alone.mean(axis=0)
    assert raw_transfer(*means) == pytest.approx(ft(areas, alone, 0))
    assert normalised_transfer(*means) == pytest.approx(normalized_ft(areas, alone, 0))


def test_normalised_transfer_explodes_where_there_is_no_room() -> None:
    areas, alone = np.array([0.1, 0.85, 1.0]), np.array([0.2, 0.95, 1.0])
    assert raw_transfer(areas, alone) == pytest.approx([-0.1, -0.1, 0.0])
    found = normalised_transfer(areas, alone)
    assert found[:2] == pytest.approx([-0.125, -2.0])
    assert isnan(found[2])


def test_zero_learning_rate_forgets_nothing() -> None:
    """An agent that never changes has one row, again and again."""
    row = np.random.default_rng(1).random((1, 3, 4))
    matrix = Matrix(("a", "b", "c"), (0, 1, 2), np.repeat(row, 4, axis=0))
    for metric in (forgetting, backward_transfer, zero_shot_transfer, meta_forgetting):
        assert (metric(matrix) == 0).all()


@pytest.mark.parametrize(
    ("curve", "episodes"), [([0.9, 0.2], 1), ([0.1, 0.5, 0.9], 2), ([0.5], 1), ([0.4, 0.49], None)]
)
def test_episodes_to_threshold(curve, episodes) -> None:
    found = episodes_to(np.array(curve), 0.5)
    assert isnan(found) if episodes is None else found == episodes


def test_steps_to_a_level_are_of_the_moving_average() -> None:
    steps = np.array([10.0, 20.0, 30.0, 40.0])
    success = np.array([0.0, 1.0, 1.0, 1.0])
    assert steps_to(steps, success, 0.5, window=2) == 20
    assert steps_to(steps, success, 0.75, window=2) == 30
    assert steps_to(steps, success, 0.7, window=4) == 40
    assert steps_to(steps, success, 0.8, window=4) == inf


def test_savings_count_what_was_not_reached() -> None:
    assert savings([100, 200], [50, 100], 1000) == pytest.approx(0.5)
    assert savings([100], [100], 1000) == 0
    assert savings([100], [300], 1000) == pytest.approx(-2)
    # Never reached the first time, at 400 of 1000 the second: 60 % saved at least.
    assert savings([inf], [400], 1000) == pytest.approx(0.6)
    assert savings([inf, 500], [inf, 500], 1000) == 0
    assert isnan(savings([], [], 1000))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"is \(3, 2, K\), not \(2, 2, 1\)"):
        Matrix(("a", "b"), (0, 1), np.zeros((2, 2, 1)))
