"""Likeness of states whose relation is known."""

import numpy as np
import pytest

from eval.traces.geometry import collapse, decoder_drift
from eval.traces.similarity import cka_matrix, dormant, effective_rank, procrustes
from tests.eval.traces.made_up import HORIZON, make_recording

SAMPLES, UNITS = 300, 128


def cka(first: np.ndarray, second: np.ndarray) -> float:
    matrix = cka_matrix([first, second])
    assert matrix[0, 1] == matrix[1, 0] or np.isnan(matrix[0, 1])
    return matrix[0, 1]


@pytest.fixture(scope="module")
def states() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((SAMPLES, UNITS)) + 2.0


def test_rotated_and_scaled_copies_are_the_same(states: np.ndarray) -> None:
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((UNITS, UNITS)))[0]
    copy = 7.0 * states @ turn - 3.0
    assert cka(states, copy) == pytest.approx(1, abs=1e-9)
    assert procrustes(states, copy) == pytest.approx(1, abs=1e-9)


def test_independent_states_have_nothing_in_common(states: np.ndarray) -> None:
    """The plain estimator says about .3 here."""
    other = np.random.default_rng(2).standard_normal((SAMPLES, UNITS))
    assert abs(cka(states, other)) < 0.03
    np.testing.assert_allclose(np.diagonal(cka_matrix([states, other])), 1)


def test_states_that_share_half_of_their_units_lie_between(states: np.ndarray) -> None:
    half = states.copy()
    half[:, UNITS // 2 :] = np.random.default_rng(3).standard_normal((SAMPLES, UNITS // 2))
    assert 0.35 < cka(states, half) < 0.65


def test_constant_states_are_like_nothing(states: np.ndarray) -> None:
    assert np.isnan(cka(states, np.ones_like(states)))
    assert np.isnan(procrustes(states, np.ones_like(states)))
    assert effective_rank(np.ones_like(states)) == 0


def test_rank_and_dormant_units() -> None:
    rng = np.random.default_rng(0)
    wide = np.linalg.qr(rng.standard_normal((200, 10)))[0]
    wide -= wide.mean(axis=0)
    assert effective_rank(np.linalg.qr(wide)[0]) == pytest.approx(10, rel=0.02)
    line = np.outer(rng.standard_normal(200), np.ones(10))
    assert effective_rank(line) == pytest.approx(1, abs=1e-6)
    quiet = np.ones((50, 4))
    quiet[:, 3] = 1e-4
    assert dormant(quiet) == 0.25
    assert dormant(np.zeros((5, 3))) == 1.0


def test_keys_that_point_one_way_have_collapsed() -> None:
    rng = np.random.default_rng(0)
    assert collapse(np.ones((5, 3)) * np.arange(1, 6)[:, None]) == pytest.approx(1)
    assert abs(collapse(rng.standard_normal((200, 64))) or 0) < 0.02
    assert collapse(np.ones((1, 3))) is None


def test_a_decoder_fails_where_the_code_has_moved() -> None:
    recording = make_recording(trials=200)
    sign = 2.0 * recording.targets[:, 0] - 1.0
    rng = np.random.default_rng(0)

    def code(unit: int) -> np.ndarray:
        states = rng.standard_normal((3 * HORIZON, 200, 6))
        states[..., unit] += 4 * sign
        return states

    stable = decoder_drift(recording, [code(1), code(1)])
    moved = decoder_drift(recording, [code(1), code(2)])
    assert stable is not None
    assert moved is not None
    assert stable["by_distance"][1] > 0.97
    assert stable["half_life"] is None
    assert moved["by_distance"][0] > 0.97
    assert moved["by_distance"][1] < 0.7
    assert moved["half_life"] == 1.0
