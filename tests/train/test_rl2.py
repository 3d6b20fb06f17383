"""What the training program says before and after."""

import importlib
import os
from pathlib import Path

import pytest

import train.run
from envs.metaworld.suites import Suite
from train.rl2 import last_words
from train.run.config import Config

GOALS = {"reach-v3": tuple((0.01 * i, 0.6, 0.02, 0.1, 0.8, 0.1) for i in range(3))}


def test_a_suite_without_a_test_split_is_evaluated_on_its_training_goals() -> None:
    config = Config(run=Path("my runs/x"))
    held_out = last_words(config, Suite("ML1", 1, GOALS, GOALS), 5)
    assert "python -m eval.evaluate 'my runs/x' --split test\n" in held_out
    nothing_held_out = last_words(config, Suite("MT10", 1, GOALS, {}), 5)
    assert "python -m eval.evaluate 'my runs/x' --split train\n" in nothing_held_out


def test_windows_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(SystemExit, match="on Windows use WSL"):
        importlib.reload(train.run)
