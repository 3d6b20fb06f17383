"""The PPO update is deaf to garbage: no number that is not finite reaches the weights."""

import math
from collections.abc import Callable

import pytest

from tests.train.algorithms.learners import Pull, changed, rng, weights_of
from train.algorithms.rollout import Rollout


@pytest.mark.parametrize("kind", ["agent", "critic"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_gradient_changes_nothing(make_learner, act, kind: str, bad: float) -> None:
    """Clipping would spread one NaN over all weights, without an error: the step is left out.

    Weights and Adam's moments stay to the last bit, and the next healthy step works.
    """
    learner = make_learner()
    rollout = act(learner.agent)
    learner.update(rollout, rng())  # so that Adam has moments to lose
    before = weights_of(learner)
    weight = learner.agent.head.mean.weight if kind == "agent" else learner.critic.out.weight
    found = learner._step((weight * bad).sum())
    assert changed(before, weights_of(learner)) == set()
    assert found["skipped_steps"] == 1.0
    assert learner.update(rollout, rng())["skipped_steps"] == 0.0


def test_skipped_steps_are_counted(make_learner, act) -> None:
    """What is left out silently is a run that stands still unnoticed."""
    learner = make_learner(epochs=2, minibatches=3)
    rollout, before = act(learner.agent), weights_of(learner)
    poison = learner.agent.head.mean.weight
    metrics = learner.update(rollout, rng(), Pull(lambda: (poison * float("nan")).sum()))
    assert metrics["skipped_steps"] == 6.0
    assert "grad_norm" not in metrics  # an average of no step
    assert all(math.isfinite(value) for value in metrics.values())
    touched = changed(before, weights_of(learner))
    assert not any(name.startswith(("agent", "belief", "adam", "critic.body")) for name in touched)


GARBAGE = {
    "huge": 1e30,
    "infinite": float("inf"),
    "nan": float("nan"),
}


@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("privileged", [True, False])
def test_a_faulted_trial_teaches_nothing(make_learner, act, value: float, privileged: bool) -> None:
    """Bit for bit the same update whatever numbers an unstable simulation left behind.

    Multiplying by a mask of 0 is not enough: 0 × inf is NaN.
    """

    def learn(poison: Callable[[Rollout], None]) -> tuple[dict, dict]:
        learner = make_learner(privileged=privileged)
        rollout = act(learner.agent)
        rollout.usable[[1, 2]] = False
        poison(rollout)
        return learner.update(rollout, rng()), weights_of(learner)

    def garbage(rollout: Rollout) -> None:
        for tensor in (rollout.inputs, rollout.actions, rollout.log_probs, rollout.rewards):
            tensor[9:, [1, 2]] = value

    clean, expected = learn(lambda _: None)
    metrics, weights = learn(garbage)
    assert changed(expected, weights) == set()
    assert metrics["skipped_steps"] == 0.0
    assert metrics == clean
    whole, _ = learn(lambda rollout: rollout.usable.fill_(True))
    assert whole["loss"] != clean["loss"]


def test_an_iteration_of_faults_teaches_nothing(make_learner, act) -> None:
    """Where no trial is usable there is nothing to learn, not even more entropy."""
    learner = make_learner()
    rollout, before = act(learner.agent), weights_of(learner)
    rollout.usable[:] = False
    learner.update(rollout, rng())
    assert changed(before, weights_of(learner)) == set()
