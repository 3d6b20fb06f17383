"""The recipe for FORK learns to remember, and without a memory nothing is remembered."""

from pathlib import Path

import pytest

import train.rl2
from eval.api import evaluate_fork
from eval.memory_tests.fork_metrics import ForkSummary

TRIALS = 150
CHANCE = 0.5 + 3 * (0.25 / TRIALS) ** 0.5


def trained(folder: Path, arm: str, steps: int, act: str = "posterior") -> ForkSummary:
    """What an arm does on unseen trials of FORK-reach-2 after `steps` steps of the recipe."""
    arguments = f"--suite FORK-reach-2 --arm {arm} --act {act} --total-steps {steps}"
    arguments += " --evaluate-every 0"
    assert train.rl2.main([*arguments.split(), "--run", str(folder)]) == 0
    return evaluate_fork(folder, preset="quick", goals=TRIALS).policies["agent"].summary


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("act", "steps"), [("posterior", 400_000), ("direct", 700_000)])
def test_two_sites_are_learnt_from_scratch(tmp_path: Path, act: str, steps: int) -> None:
    summary = trained(tmp_path / "short", "short", steps, act)
    assert summary.memory_index.value >= 0.8
    assert summary.success[0].value <= CHANCE


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_without_memory_it_stays_at_chance(tmp_path: Path) -> None:
    """In every attempt, though it commits."""
    summary = trained(tmp_path / "none", "none", 300_000)
    assert all(rate.value <= CHANCE for rate in summary.success)
    assert summary.committed[-1].value >= 0.5
