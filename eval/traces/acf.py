"""Intrinsic timescales: how long a unit's activity goes on resembling itself.

For unit u let x̃ be its activity minus the mean over trials at the same step, which takes out what
movement does in every trial alike. R(k) is the correlation of x̃(t) with x̃(t + k) over steps and
trials, and τ is fitted in R(k) = A [exp(-k/τ) + B] (Murray et al. 2014, Nature Neuroscience
17:1661). B holds what stays the same throughout a trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRID = 400  # values of τ that are tried
LEAST_TAU = 0.3  # steps
GOOD = 0.5  # share of the variance of R that a fit must explain


@dataclass(frozen=True)
class Timescales:
    """Fits of U units.

    Attributes:
        tau: (U,) steps; NaN where the fit was rejected.
        rejected: units whose fit was rejected: R falls no exponential way, or no way at all.
        long: those of them whose τ would be longer than the lags that were looked at.
    """

    tau: np.ndarray
    rejected: int
    long: int

    @property
    def median(self) -> float:
        """Of the accepted units; NaN where there is none."""
        known = self.tau[np.isfinite(self.tau)]
        return float(np.median(known)) if len(known) else float("nan")


def residuals(values: np.ndarray) -> np.ndarray:
    """Values (T, N, U) minus their mean over trials at the same step, float64."""
    return values - values.mean(axis=1, keepdims=True, dtype=np.float64)


def autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """R(1) … R(lags), (lags, U), of residuals (T, N, U); NaN for a unit that never varies."""
    found = np.empty((lags, values.shape[2]))
    power = np.einsum("tnu,tnu->tu", values, values)
    for lag in range(1, lags + 1):
        shared = np.einsum("tnu,tnu->u", values[:-lag], values[lag:])
        scale = np.sqrt(power[:-lag].sum(axis=0) * power[lag:].sum(axis=0))
        with np.errstate(invalid="ignore", divide="ignore"):
            found[lag - 1] = np.where(scale > 1e-12 * power.size, shared / scale, np.nan)
    return found


def fit(correlation: np.ndarray) -> Timescales:
    """Timescales of R (lags, U); for each τ of a grid A and A B are exact least squares.

    Rejected: A is not positive, the fit explains less than `GOOD` of R's variance, or τ stands at
    an end of the grid, whose upper end is the number of lags.
    """
    lags, units = correlation.shape
    steps = np.arange(1, lags + 1)
    grid = np.geomspace(LEAST_TAU, lags, GRID)
    known = np.isfinite(correlation).all(axis=0)
    centred = correlation - correlation.mean(axis=0)
    spread = (centred**2).sum(axis=0)
    best = np.full(units, np.inf)
    tau, height = np.full(units, np.nan), np.zeros(units)
    for candidate in grid:
        decay = np.exp(-steps / candidate)
        decay -= decay.mean()
        slope = decay @ centred / (decay @ decay)
        error = spread - slope**2 * (decay @ decay)
        better = known & (error < best)
        best[better], tau[better], height[better] = error[better], candidate, slope[better]
    with np.errstate(invalid="ignore", divide="ignore"):
        falls = known & (height > 0) & (best < (1 - GOOD) * spread)
    good = falls & (tau > grid[0]) & (tau < grid[-1])
    long = falls & (tau == grid[-1])
    return Timescales(np.where(good, tau, np.nan), int((~good).sum()), int(long.sum()))


def timescales(values: np.ndarray, lags: int) -> Timescales:
    """Timescales of activity (T, N, U)."""
    return fit(autocorrelation(residuals(values), lags))


def shuffled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same states (T, N, U) in another order of time, drawn for each trial."""
    order = rng.permuted(np.tile(np.arange(len(values))[:, None], values.shape[1]), axis=0)
    return np.take_along_axis(values, order[..., None], axis=0)
