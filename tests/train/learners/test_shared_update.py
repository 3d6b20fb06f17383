"""Several learners that share an update learn what one learns, up to the order of sums."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from memory.episodic import NOTHING, OLD
from tests.train.algorithms.learners import rng, weights_of
from tests.train.learners.threads import together
from train.algorithms.ppo import PPO
from train.algorithms.rollout import Rollout
from train.learners.ranks import ALONE, Ranks
from train.long_term.arms import ARMS
from train.long_term.config import MemoryConfig
from train.long_term.level import LevelSetting
from train.long_term.stack import make_stack


def new(make_learner: Callable[..., PPO], arm: str, count: int = 1) -> list[PPO]:
    """So many learners of an arm, all alike; made here, as threads share torch's generator."""
    entries = {"entries": 9} if ARMS[arm].episodic else {}
    options = {"kinds": 3, "belief": 0.5, "learning_rate": 1e-3, **entries}
    return [make_learner(**options) for _ in range(count)]


def updated(
    learner: PPO, arm: str, act: Callable[..., Rollout], ranks: Ranks = ALONE
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Weights and metrics after two iterations of an arm, long-term memory included."""
    learner.ranks = ranks
    memory = MemoryConfig(reservoir=5, recent=4, pull_cap=0.3)
    long_term = make_stack(ARMS[arm], LevelSetting(learner.agent, memory, 1e-3, 5, 3, 7))
    metrics: dict[str, float] = {}
    for iteration in range(2):
        rollout = act(learner.agent, seed=iteration)
        rollout.successes[::3] = True
        metrics = learner.update(rollout, rng(iteration), long_term)
        learner.observe(rollout)
        metrics |= long_term.consolidate(learner.agent, rollout, rng(10 + iteration))
    kept = {f"memory.{name}": value.clone() for name, value in long_term.tensors().items()}
    return weights_of(learner) | kept, metrics


@pytest.mark.parametrize(
    ("arm", "learners"),
    [("short", 2), ("short", 12), ("hierarchical", 2), ("cascade+replay", 3)],
)
def test_learners_together_learn_what_one_learns(make_learner, act, arm, learners) -> None:
    """With 12 there are more learners than trials, and than rows of a minibatch."""
    alone, told = updated(new(make_learner, arm)[0], arm, act)
    made = new(make_learner, arm, learners)
    found = together(learners, lambda ranks: updated(made[ranks.rank], arm, act, ranks))
    for weights, metrics in found:
        assert weights.keys() == alone.keys()
        for name, weight in weights.items():
            assert torch.equal(weight, found[0][0][name]), f"learners differ in {name}"
            torch.testing.assert_close(weight, alone[name], rtol=1e-4, atol=1e-5, msg=name)
        assert metrics == found[0][1]
        assert metrics.keys() == told.keys()
        for name, value in metrics.items():
            assert value == pytest.approx(told[name], rel=1e-2, abs=1e-4), name


def test_a_share_that_recalls_nothing_sends_what_the_others_send(make_learner, act) -> None:
    """One trial recalls: only its learner has a gradient of the reader."""

    def worked(learner: PPO, ranks: Ranks = ALONE) -> dict[str, torch.Tensor]:
        learner.ranks = ranks
        rollout = act(learner.agent, seed=0)
        assert rollout.recall is not None
        rollout.recall[:] = NOTHING
        rollout.recall[-1] = OLD
        learner.update(rollout, rng(0))
        return weights_of(learner)

    alone = worked(new(make_learner, "episodic")[0])
    made = new(make_learner, "episodic", 2)
    for weights in together(2, lambda ranks: worked(made[ranks.rank], ranks)):
        for name, weight in weights.items():
            torch.testing.assert_close(weight, alone[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_share_that_is_left_out_would_show(make_learner, act, monkeypatch) -> None:
    """The comparison above can fail: without one learner's gradients the weights are others."""
    alone, _ = updated(new(make_learner, "short")[0], "short", act)
    made = new(make_learner, "short", 2)

    def work(ranks: Any) -> dict[str, torch.Tensor]:
        monkeypatch.setattr(ranks, "total", lambda tensors: [2.0 * tensor for tensor in tensors])
        return updated(made[ranks.rank], "short", act, ranks)[0]

    apart = together(2, work)[0]
    worst = max(float((apart[n] - alone[n]).abs().max()) for n in alone if n[:5] == "agent")
    assert worst > 1e-4


def test_one_learner_without_a_finite_gradient_stops_the_step_of_all(make_learner, act) -> None:
    made = [make_learner(), make_learner()]

    def work(ranks: Ranks) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        learner = made[ranks.rank]
        learner.ranks = ranks
        before = weights_of(learner)
        loss = next(iter(learner.agent.parameters())).sum()
        found = learner._step(loss * (np.nan if ranks.rank else 1.0))
        after = weights_of(learner)
        return {n: after[n] for n in before if not torch.equal(before[n], after[n])}, found

    for moved, found in together(2, work):
        assert not moved
        assert found["skipped_steps"] == 1
