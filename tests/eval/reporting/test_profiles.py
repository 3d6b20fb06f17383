"""Profiles and probabilities of improvement against rliable."""

import numpy as np
import pytest

from eval.reporting.profiles import enough, improvement, improvements, profile, profile_band
from tests.eval.others import rliable

RNG = np.random.default_rng(0)
ONE, OTHER = RNG.random((4, 5)).round(1), RNG.random((4, 3)).round(1)  # tasks × seeds, with ties


def test_the_profile_is_rliables() -> None:
    library, _ = rliable()
    thresholds = np.linspace(0, 1, 21)
    theirs = [library.run_score_deviation(ONE.T, threshold) for threshold in thresholds]
    np.testing.assert_allclose(profile(ONE, thresholds), theirs)
    low, high = profile_band(ONE, thresholds)
    assert (low <= theirs).all()
    assert (theirs <= high).all()


def test_the_probability_of_improvement_is_rliables() -> None:
    _, metrics = rliable()
    found = improvement(ONE, OTHER)
    theirs = metrics.probability_of_improvement(ONE.T, OTHER.T)
    assert found.value == pytest.approx(theirs)
    assert found.low <= found.value <= found.high


def test_pairs_come_once_and_few_seeds_say_nothing() -> None:
    kept = enough({"a": ONE, "b": OTHER, "c": ONE[:, :2], "d": None})
    assert list(kept) == ["a", "b"]
    assert [(one, other) for one, other, _ in improvements(kept)] == [("a", "b")]
