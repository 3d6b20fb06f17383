"""The PPO update: on-policy at its first step, and in control of its own steps."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from agents.input_layout import INPUT_DIM
from memory.cores.registry import CORES
from tests.train.algorithms.learners import Pull, changed, rng, weights_of
from train.algorithms.ppo import Batch, policy_loss
from train.algorithms.ppo_config import PPOConfig
from train.algorithms.rollout import Sequences


@pytest.mark.parametrize("bptt", [5, 7, 21, 100])
@pytest.mark.parametrize("core", CORES)
def test_learning_starts_from_the_acting_policy(make_learner, act, core: str, bptt: int) -> None:
    """At the first minibatch old and new policy are one: the ratio is 1.

    Any slip in memory, normaliser, cutting or masking shows here before it shows as bad learning.
    The workers' own log-probabilities agree too. Checked again with weights that have moved.
    """
    learner = make_learner(core, bptt=bptt, learning_rate=0.01)
    for iteration in range(3):
        rollout = act(learner.agent, seed=iteration)
        metrics = learner.update(rollout, rng(iteration))
        assert metrics["first_ratio_error"] < 1e-5
        assert metrics["acting_error"] < 1e-4
        assert metrics["kl"] > 1e-6  # and then it does move
        learner.agent.encoder.normaliser.update(rollout.usable_obs())


def test_acting_by_other_weights_is_noticed(make_learner, act) -> None:
    """`acting_error` watches over the workers: stale weights there would be off-policy learning."""
    learner = make_learner()
    stale = act(learner.agent)
    learner.update(stale, rng())
    assert learner.update(stale, rng())["acting_error"] > 1e-2


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(("bptt", "offset"), [(5, 0), (7, 0), (7, 3), (100, 0)])
def test_stretches_start_from_the_memory_of_the_whole_trial(
    make_learner, act, core: str, bptt: int, offset: int
) -> None:
    """Back-propagation is truncated, memory is not: no stretch may start from nothing."""
    learner = make_learner(core, bptt=bptt)
    rollout = act(learner.agent)
    cut = Sequences(rollout.steps, 6, bptt, offset)
    with torch.no_grad():
        hidden, starts = learner._sweep(cut, rollout.inputs)
        whole, _ = learner.agent.unroll(rollout.inputs, learner.agent.initial_state(6))
        for (begin, _), start in zip(cut.bounds, starts.split(6), strict=True):
            state = learner.agent.initial_state(6)
            if begin:
                _, state = learner.agent.unroll(rollout.inputs[:begin], state)
            torch.testing.assert_close(start, state, rtol=0, atol=1e-6)
    torch.testing.assert_close(hidden, whole.hidden, rtol=0, atol=1e-6)
    if core != "none" and bptt < 21:
        assert starts[6:].abs().min(dim=0).values.max() > 1e-3


def test_every_pass_starts_from_the_memory_of_the_present_weights(make_learner, act) -> None:
    """Weights move between passes: starts of an earlier pass would be another agent's memory."""
    learner = make_learner(epochs=3, learning_rate=0.01, minibatches=1, stagger=False)
    seen, original = [], learner.agent.unroll

    def unroll(inputs: torch.Tensor, state: torch.Tensor) -> object:
        with torch.no_grad():
            cut = Sequences(rollout.steps, 6, 5)
            seen.append((state.clone(), learner._sweep(cut, rollout.inputs)[1]))
        return original(inputs, state)

    rollout = act(learner.agent)
    learner.agent.unroll = unroll  # type: ignore[method-assign]
    learner.update(rollout, rng())
    assert len(seen) == 3
    for used, present in seen:  # one shuffled minibatch: compared without their order
        torch.testing.assert_close(used.sort(dim=0).values, present.sort(dim=0).values)
    assert not torch.allclose(seen[0][1], seen[2][1], atol=1e-3)


@pytest.mark.parametrize("stagger", [True, False])
def test_staggered_cuts_leave_no_step_that_gradients_never_cross(
    make_learner, act, stagger: bool
) -> None:
    """Else, where L divides H, what the first episode shows is never learnt for the second."""
    learner = make_learner(bptt=7, epochs=60, learning_rate=0.0, stagger=stagger)
    crossed, original = set[int](), learner._sweep

    def sweep(cut: Sequences, *rest: torch.Tensor) -> object:
        crossed.update(set(range(1, cut.steps)) - {begin for begin, _ in cut.bounds})
        return original(cut, *rest)

    rollout = act(learner.agent)
    learner._sweep = sweep  # type: ignore[method-assign]
    learner.update(rollout, rng())
    never = set(range(1, rollout.steps)) - crossed
    assert never == (set() if stagger else {7, 14})


def test_policy_loss_by_hand() -> None:
    """One step, one dimension at work: ratio e^0.5 ≈ 1.65 is clipped to 1.2 only where it gains."""
    mean, log_std = torch.zeros(1, 2, 4), torch.zeros(4)
    actions = torch.ones(1, 2, 4)
    log_prob = -0.5 * 4 - 2 * np.log(2 * np.pi)
    batch = Batch(
        inputs=torch.zeros(1, 2, INPUT_DIM),
        actions=actions,
        old_log_probs=torch.full((1, 2), log_prob - 0.5),
        old_mean=mean + 0.1,
        advantages=torch.tensor([[1.0, -1.0]]),
        mask=torch.ones(1, 2),
        targets=torch.zeros(1, 2),
        critic_inputs=torch.zeros(1, 2, 1),
    )
    loss, found = policy_loss(mean, log_std, log_std, batch, PPOConfig(clip=0.2, entropy=0.0))
    assert float(loss) == pytest.approx(-(1.2 - np.exp(0.5)) / 2, rel=1e-5)
    assert float(found["clip_fraction"]) == 1.0
    assert float(found["ratio_error"]) == pytest.approx(np.exp(0.5) - 1, rel=1e-5)
    assert float(found["kl"]) == pytest.approx(4 * 0.1**2 / 2, rel=1e-4)
    bonus, _ = policy_loss(mean, log_std, log_std, batch, PPOConfig(clip=0.2, entropy=0.1))
    entropy = 4 * (0.5 + 0.5 * np.log(2 * np.pi))
    assert float(loss - bonus) == pytest.approx(0.1 * entropy, rel=1e-5)


def test_masked_steps_have_no_say() -> None:
    """The mean is over real steps: padding neither adds to it nor thins it out."""
    torch.manual_seed(0)
    parts = {
        "inputs": torch.randn(3, 2, INPUT_DIM),
        "actions": torch.randn(3, 2, 4),
        "old_log_probs": -4 * torch.rand(3, 2),
        "old_mean": torch.randn(3, 2, 4),
        "advantages": torch.randn(3, 2),
        "targets": torch.zeros(3, 2),
        "critic_inputs": torch.zeros(3, 2, 1),
    }
    mean, log_std, config = torch.randn(3, 2, 4), torch.zeros(4), PPOConfig()
    mask = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    short = Batch(**{n: v[:2] for n, v in parts.items()}, mask=mask[:2])
    expected, found = policy_loss(mean[:2], log_std, log_std, short, config)
    padded, same = policy_loss(mean, log_std, log_std, Batch(**parts, mask=mask), config)
    torch.testing.assert_close(padded, expected)
    torch.testing.assert_close(same, found)


@pytest.mark.parametrize(("kl_stop", "epochs"), [(1e-9, 1), (1e6, 4)])
def test_kl_stops_the_passes(make_learner, act, kl_stop: float, epochs: int) -> None:
    learner = make_learner(epochs=4, kl_stop=kl_stop)
    assert learner.update(act(learner.agent), rng())["epochs"] == epochs


def test_kl_counts_the_passes_until_it_is_too_large(make_learner, act) -> None:
    """Between the extremes: it stops after the first pass whose own KL exceeds the limit."""
    kls = []
    for epochs in (1, 2):
        learner = make_learner(epochs=epochs, learning_rate=0.01)
        kls.append(learner.update(act(learner.agent), rng())["kl_last"])
    assert kls[0] < kls[1]
    learner = make_learner(epochs=4, learning_rate=0.01, kl_stop=sum(kls) / 2)
    metrics = learner.update(act(learner.agent), rng())
    assert (metrics["epochs"], metrics["kl_last"]) == (2, kls[1])


def test_learning_rate_falls_linearly_at_the_end(make_learner, act) -> None:
    """And the rate set is the rate used: a tenth of it makes a tenth of Adam's first step."""
    rates = {"learning_rate": 1e-2, "final_learning_rate": 2e-3, "critic_learning_rate": 3e-2}
    for anneal, fraction, rate in (
        *((1.0, f, r) for f, r in ((0, 1e-2), (0.5, 6e-3), (1, 2e-3), (1.7, 2e-3), (-1, 1e-2))),
        *((0.2, f, r) for f, r in ((0, 1e-2), (0.8, 1e-2), (0.9, 6e-3), (1, 2e-3))),
    ):
        learner = make_learner(anneal=anneal, **rates)
        learner.set_progress(fraction)
        policy, critic = learner.optimiser.param_groups
        assert policy["lr"] == pytest.approx(rate)
        assert critic["lr"] == pytest.approx(3 * rate)
    moved = []
    for fraction in (0.0, 1.0):
        learner = make_learner(
            learning_rate=1e-2, final_learning_rate=1e-3, epochs=1, minibatches=1
        )
        learner.set_progress(fraction)
        before = learner.agent.memory.net.weight_hh_l0.detach().clone()
        metrics = learner.update(act(learner.agent), rng())
        moved.append(learner.agent.memory.net.weight_hh_l0.detach() - before)
        assert metrics["learning_rate"] == pytest.approx(1e-2 if fraction == 0 else 1e-3)
    torch.testing.assert_close(moved[1], 0.1 * moved[0], rtol=1e-2, atol=1e-7)


def test_the_value_loss_does_not_move_the_policy(make_learner, act) -> None:
    """The critic knows task and goal; through no gradient and no clipping may that leak."""
    results = []
    for weight in (0.5, 50.0):
        learner = make_learner(value=weight, privileged=False)
        rollout = act(learner.agent)
        learner.update(rollout, rng())
        results.append(weights_of(learner))
    touched = changed(*results)
    assert any(name.startswith("critic.body") for name in touched)
    assert not any(name.startswith("agent") for name in touched)


def test_both_parts_learn(make_learner, act) -> None:
    """Every weight of policy and critic moves; the normaliser, frozen in the update, does not."""
    learner = make_learner(belief=1.0)
    before = weights_of(learner)
    learner.update(act(learner.agent), rng())
    untouched = before.keys() - changed(before, weights_of(learner))
    frozen = {"agent.encoder.normaliser." + name for name in ("mean", "var", "count")}
    frozen |= {f"{part}.goal_{name}" for part in ("critic", "belief") for name in ("mean", "scale")}
    assert untouched == frozen | {"belief.varies"}


def test_the_belief_loss_teaches_the_memory(make_learner, act) -> None:
    """It reaches the recurrent weights; with weight 0 nothing of it is left."""
    plain, off = make_learner(belief=1.0), make_learner(belief=0.0)
    moved = []
    for learner in (plain, off):
        before = weights_of(learner)
        learner.update(act(learner.agent), rng())
        moved.append("belief.out.weight" in changed(before, weights_of(learner)))
    assert moved == [True, False]
    assert "agent.memory.net.weight_hh_l0" in changed(weights_of(off), weights_of(plain))


def test_the_memory_learns_to_tell_kinds_of_task(make_learner, act) -> None:
    """By its own weight, where kinds are known; nothing of it is left at 0."""
    learners = {
        "on": make_learner(kinds=3, kind=0.5),
        "off": make_learner(kinds=3, kind=0.0),
        "unknown": make_learner(kinds=3, kind=0.5),
    }
    found = {}
    for name, learner in learners.items():
        before = weights_of(learner)
        rollout = act(learner.agent)
        if name == "unknown":
            rollout = dataclasses.replace(rollout, kinds=None)
        found[name] = learner.update(rollout, rng())
        assert ("belief.kind.weight" in changed(before, weights_of(learner))) == (name == "on")
    assert 0 < found["on"]["kind_loss"] < 2
    assert "kind_loss" not in found["off"]
    assert "kind_loss" not in found["unknown"]
    on, off, unknown = (weights_of(learner) for learner in learners.values())
    assert "agent.memory.net.weight_hh_l0" in changed(off, on)
    assert not changed(off, unknown)
    plain = make_learner(kind=0.5)  # a suite without proposals has no such readout
    assert "kind_loss" not in plain.update(act(plain.agent), rng())


def test_an_update_is_a_function_of_its_arguments(make_learner, act) -> None:
    """No hidden randomness: torch's global generator has no say."""
    results = []
    for seed in (1, 2):
        learner = make_learner()
        rollout = act(learner.agent)
        kept = copy.deepcopy(rollout)
        torch.manual_seed(seed)
        learner.update(rollout, rng(5))
        results.append(weights_of(learner))
        for field in dataclasses.fields(rollout):
            value, before = getattr(rollout, field.name), getattr(kept, field.name)
            if before is None:  # what only other kinds of trials have
                assert value is None, field.name
                continue
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(before)), field.name
    assert changed(*results) == set()


def test_the_deviation_stays_in_its_bounds(make_learner, act) -> None:
    """Projected after every step, so that a long push against a bound does not wind up."""
    learner = make_learner(learning_rate=0.5)
    push = learner.agent.head.raw_log_std
    learner.update(act(learner.agent), rng(), Pull(lambda: -1e3 * push.sum()))
    assert (push == learner.agent.head.bounds[1]).all()


@pytest.mark.parametrize("privileged", [True, False])
def test_the_critic_learns_the_return(make_learner, act, privileged: bool) -> None:
    """Repeated on one batch the value error falls, or advantages would be noise for ever."""
    learner = make_learner(privileged=privileged, learning_rate=0.003, epochs=8)
    rollout = act(learner.agent)
    errors = [learner.update(rollout, rng(i))["value_loss"] for i in range(4)]
    assert errors[-1] < 0.7 * errors[0]
