"""Which evaluation stands for a run on FORK."""

from types import SimpleNamespace
from typing import Any, cast

from envs.memory_tests.fork import fork_settings
from eval.reporting.fork_tables import latest
from eval.reporting.runs import Run


def evaluation(goals: int, index: float, **how: Any) -> dict[str, Any]:
    settings = {"split": "test", "goals": goals, "episodes": 4, "horizon": 50, **how}
    policies = {"agent": {"summary": {"memory_index": [index, 0, 1]}}}
    return {"checkpoint": {"step": 100}, "settings": settings, "policies": policies}


def test_neither_a_slow_policy_nor_another_protocol_stands_for_the_agent() -> None:
    """Their files come before the usual one's in order of their names."""
    forks = {
        "eval-test-100-episodes8.json": evaluation(200, 0.1, episodes=8),
        "eval-test-100-level3.json": evaluation(400, 0.2, level=3),
        "eval-test-100-seed5.json": evaluation(200, 0.3, seed=5),
        "eval-test-100.json": evaluation(200, 0.9, seed=1),
    }
    config = SimpleNamespace(fork=fork_settings("FORK-reach-2"), adapts=False)
    run = cast(Run, SimpleNamespace(config=config))
    found = latest(run, forks, "test", "agent")
    assert found is not None
    assert found["memory_index"][0] == 0.9
    assert latest(run, forks, "train", "agent") is None
    assert latest(run, forks, "test", "told") is None
