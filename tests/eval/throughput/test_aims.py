"""Aims are ratios within repeats, and are told only where both sides were measured."""

import pytest

from eval.throughput.__main__ import ENTRIES
from eval.throughput.aims import AIMS, aims_table, reached


def test_ratios_are_of_the_same_repeat() -> None:
    rates = {"ours-policy": [8.0, 2.0, 9.0], "physics": [10.0, 10.0, 10.0]}
    found = reached(rates)
    assert found == {"collection with the policy, of bare physics": pytest.approx(0.8)}
    assert "| 0.80 | met |" in aims_table(rates)
    assert "| 0.70 | not met |" in aims_table({**rates, "ours-policy": [7.0] * 3})


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert aims_table({"ours": [1.0]}) == ""


def test_aims_are_of_contenders() -> None:
    assert {name for aim in AIMS for name in (aim.name, aim.other)} <= ENTRIES.keys()
