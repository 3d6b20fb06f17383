"""Timescales of processes whose timescale is known, at the lengths of FORK's trials."""

import numpy as np
import pytest

from eval.traces.acf import fit, shuffled, timescales

STEPS, TRIALS, UNITS, LAGS = 200, 200, 12, 50


def ornstein_uhlenbeck(tau: float, *, offset: float = 0.0, seed: int = 0) -> np.ndarray:
    """(T, N, U) stationary, of variance 1, plus a constant of each trial and unit."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-1 / tau)
    found = rng.standard_normal((STEPS, TRIALS, UNITS))
    for step in range(1, STEPS):
        found[step] = keep * found[step - 1] + np.sqrt(1 - keep**2) * found[step]
    return found + offset * rng.standard_normal((TRIALS, UNITS))


@pytest.mark.parametrize("tau", [2.0, 5.0, 12.0, 25.0])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_the_timescale_of_a_known_process(tau: float, offset: float) -> None:
    found = timescales(ornstein_uhlenbeck(tau, offset=offset), LAGS)
    assert found.rejected == 0
    assert found.median == pytest.approx(tau, rel=0.12)


def test_what_all_trials_do_at_a_step_does_not_count() -> None:
    movement = 30 * np.sin(np.arange(STEPS) / 20)[:, None, None]
    found = timescales(ornstein_uhlenbeck(5.0) + movement, LAGS)
    assert found.median == pytest.approx(5.0, rel=0.12)


def test_no_timescale_is_claimed_where_there_is_none() -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((STEPS, TRIALS, UNITS))
    constant = np.ones((STEPS, TRIALS, 1))
    assert timescales(noise, LAGS).rejected >= UNITS - 1
    assert timescales(constant, LAGS).rejected == 1
    assert timescales(shuffled(ornstein_uhlenbeck(12.0), rng), LAGS).rejected >= UNITS - 1


def test_what_is_longer_than_the_lags_is_rejected_as_long() -> None:
    found = timescales(ornstein_uhlenbeck(500.0), LAGS)
    assert found.rejected == found.long == UNITS
    assert np.isnan(found.median)


def test_an_exact_curve_is_fitted_exactly() -> None:
    steps = np.arange(1, LAGS + 1)[:, None]
    curve = 0.6 * (np.exp(-steps / 9.0) + 0.4)
    assert fit(curve).tau[0] == pytest.approx(9.0, rel=0.01)
    assert fit(-curve).rejected == 1
