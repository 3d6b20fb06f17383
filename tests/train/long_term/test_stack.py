"""The stack of levels under the trainer: who may write what, what zero means, and what is saved."""

import copy
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.rl2 import RL2Agent
from envs.trials.trial import Trial
from memory.cascade import CascadeConfig
from memory.episodic import summarise
from memory.gaussian import gaussian_kl
from memory.reservoir import TrialStore
from train.algorithms.ppo import PPO
from train.algorithms.rollout import Rollout
from train.long_term.arms import ARMS
from train.long_term.config import MemoryConfig
from train.long_term.contract import LongTerm
from train.long_term.episodic import with_recall
from train.long_term.level import LevelSetting
from train.long_term.replay import ReplayLevel
from train.long_term.slow_policies import SlowPolicies
from train.long_term.stack import Stack, make_stack

LONG_TERM = [name for name, arm in ARMS.items() if arm.long_term]
EPISODIC = [name for name, arm in ARMS.items() if arm.episodic]
SMALL: dict[str, Any] = {"reservoir": 5, "recent": 4, "reencode_every": 3, "recent_iterations": 1}


@pytest.fixture
def build(make_learner) -> Callable[..., tuple[PPO, Stack]]:
    def make(name: str, *, seed: int = 0, rate: float = 1e-2, **memory: Any) -> tuple:
        arm = ARMS[name]
        options = {"entries": 9} if arm.episodic else {}
        core = "gru" if arm.short else "none"
        learner = make_learner(core, seed=seed, learning_rate=rate, **options)
        config = MemoryConfig(**{**SMALL, **memory})
        ppo = learner.config
        setting = LevelSetting(learner.agent, config, ppo.learning_rate, ppo.bptt, 3, 7)
        return learner, make_stack(arm, setting)

    return make


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def lucky(rollout: Rollout, seed: int = 0) -> Rollout:
    """The same with some successes."""
    found = torch.rand(rollout.successes.shape, generator=torch.Generator().manual_seed(seed))
    return dataclasses.replace(rollout, successes=found < 0.1)


def iterate(learner: PPO, long_term: Stack | None, act: Callable, times: int) -> list[dict]:
    metrics = []
    for iteration in range(times):
        rollout = lucky(act(learner.agent, seed=iteration), iteration)
        found = learner.update(rollout, rng(iteration), long_term)
        learner.agent.encoder.normaliser.update(rollout.usable_obs())
        if long_term is not None:
            found |= long_term.consolidate(learner.agent, rollout, rng(100 + iteration))
        metrics.append(found)
    return metrics


def store_of(stack: Stack) -> TrialStore:
    return next(level.store for level in stack.levels if isinstance(level, ReplayLevel))


def slow_policies(stack: Stack) -> list[Any]:
    return next(level.cascade.policies for level in stack.levels if isinstance(level, SlowPolicies))


def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {
        n
        for n in one.keys() | other.keys()
        if n not in one or n not in other or not torch.equal(one[n], other[n])
    }


def stored(learner: PPO, long_term: Stack) -> dict[str, Tensor]:
    """Everything that only consolidation may write."""
    agent = learner.agent
    frozen = {n for n, w in agent.named_parameters() if not w.requires_grad}
    frozen |= {n for n, _ in agent.named_buffers() if n.startswith("recall")}
    return copies(
        long_term.tensors() | {n: w for n, w in agent.state_dict().items() if n in frozen}
    )


@pytest.mark.parametrize("name", LONG_TERM)
def test_it_is_a_long_term_memory(build, name: str) -> None:
    _, long_term = build(name)
    assert isinstance(long_term, LongTerm)
    assert not long_term.uses_boundaries


@pytest.mark.parametrize("name", ["short+replay", "long", "cascade", "cascade+replay"])
def test_zero_coefficients_give_the_flat_agent(build, make_learner, act, name: str) -> None:
    """Bit for bit, over iterations in which slow policies and the reservoir live on unheard."""
    core = "gru" if ARMS[name].short else "none"
    flat = make_learner(core, learning_rate=1e-2)
    iterate(flat, None, act, 3)
    learner, long_term = build(name, anchor=0.0, replay=0.0)
    iterate(learner, long_term, act, 3)
    assert differing(flat.agent.state_dict(), learner.agent.state_dict()) == set()
    assert differing(flat.critic.state_dict(), learner.critic.state_dict()) == set()
    heard, other = build(name)
    iterate(heard, other, act, 3)
    assert differing(flat.agent.state_dict(), heard.agent.state_dict())


@pytest.mark.parametrize("name", LONG_TERM)
def test_consolidation_is_the_only_writer(build, act, name: str) -> None:
    """PPO's passes read it dozens of times; no bit of it moves before the iteration's end."""
    learner, long_term = build(name)
    iterate(learner, long_term, act, 2)
    before = stored(learner, long_term)
    rollout = lucky(act(learner.agent, seed=7))
    learner.update(rollout, rng(), long_term)
    long_term.end_phase(learner.agent, rollout, rng())
    assert differing(before, stored(learner, long_term)) == set()
    learnt = {n: w.clone() for n, w in learner.agent.named_parameters() if w.requires_grad}
    normaliser = copies(learner.agent.encoder.normaliser.state_dict())
    long_term.consolidate(learner.agent, rollout, rng())
    assert differing(before, stored(learner, long_term))
    assert (
        differing(learnt, {n: w for n, w in learner.agent.named_parameters() if n in learnt})
        == set()
    )
    assert differing(normaliser, learner.agent.encoder.normaliser.state_dict()) == set()


@pytest.mark.parametrize("name", LONG_TERM)
def test_zero_learning_rate_forgets_nothing(build, act, name: str) -> None:
    """Nothing moves: neither the fast policy nor, where it follows it, a slow one."""
    learner, long_term = build(name, rate=0.0)
    actions = []
    for seed in (0, 1):
        with torch.no_grad():
            probe = act(learner.agent, seed=9)
            start = learner.agent.initial_state(6, torch.zeros(6, dtype=torch.long))
            actions.append(learner.agent.unroll(probe.inputs, start)[0].mean)
        rollout = lucky(act(learner.agent, seed=seed))
        learner.update(rollout, rng(), long_term)
        found = long_term.consolidate(learner.agent, rollout, rng())
        assert all(value == pytest.approx(0, abs=1e-6) for n, value in found.items() if "kl" in n)
    assert torch.equal(*actions)


@pytest.mark.parametrize("name", LONG_TERM)
def test_learning_stays_on_policy(build, act, name: str) -> None:
    """Workers and learner read one store, trial by trial what each may see."""
    learner, long_term = build(name)
    for metrics in iterate(learner, long_term, act, 4):
        assert metrics["first_ratio_error"] < 1e-5
        assert metrics["acting_error"] < 1e-4
    if learner.agent.recall is not None:  # and it is not for want of anything to read
        with torch.no_grad():
            learner.agent.recall.store.from_value.normal_()
        wrong = dataclasses.replace(act(learner.agent, seed=9), recall=torch.full((6,), 0))
        assert learner.update(wrong, rng())["acting_error"] > 1e-3


def test_the_anchor_holds_the_fast_policy(build, act) -> None:
    """After the same trials it is nearer to the slow policy than without."""
    apart = []
    for anchor in (0.0, 50.0):
        learner, long_term = build("cascade", anchor=anchor, pull_cap=5.0)
        apart.append(iterate(learner, long_term, act, 4)[-1]["memory/kl_2"])
    assert apart[1] < 0.7 * apart[0]


def test_replay_retains(build, act) -> None:
    """What was done in old trials is done again, after learning from others."""
    kept = []
    for weight in (0.0, 50.0):
        learner, long_term = build("short+replay", replay=weight, pull_cap=5.0, replay_share=1.0)
        iterate(learner, long_term, act, 4)
        old = store_of(long_term).at(store_of(long_term).filled)
        with torch.no_grad():
            now, _ = learner.agent.unroll(old.inputs, learner.agent.initial_state(old.count))
        kl = gaussian_kl(old.mean, old.log_std, now.mean, now.log_std.expand_as(old.mean[0]))
        kept.append(float((kl.mean(dim=0) * old.weight).mean()))
    assert kept[1] < 0.7 * kept[0]


def test_slow_policies_are_slower(build, act) -> None:
    learner, long_term = build("cascade")
    first = [copies(level.state_dict()) for level in slow_policies(long_term)]
    start = copies(learner.agent.state_dict())
    iterate(learner, long_term, act, 3)

    def moved(before: dict[str, Tensor], policy: RL2Agent) -> float:
        return sum(
            float((w.detach() - before[n]).square().sum()) for n, w in policy.named_parameters()
        )

    second, third = (moved(b, p) for b, p in zip(first, slow_policies(long_term), strict=True))
    assert 0 < third < second < moved(start, learner.agent)
    for level in slow_policies(long_term):  # the same inputs mean the same to every level
        seen = learner.agent.encoder.normaliser.state_dict()
        assert differing(seen, level.encoder.normaliser.state_dict()) == set()


@pytest.mark.parametrize("name", EPISODIC)
def test_keys_and_values_never_go_stale(build, act, name: str) -> None:
    """At any moment each entry is what the reader's own encoder makes of its raw trial."""
    learner, long_term = build(name)
    encoders = []
    for times in range(7):
        iterate(learner, long_term, act, 1)
        recall, store = learner.agent.recall, store_of(long_term)
        slots = store.filled
        keys, values = summarise(recall.encode(store.at(slots).inputs), 7)
        torch.testing.assert_close(recall.store.raw_keys[slots], keys, rtol=0, atol=1e-6)
        torch.testing.assert_close(recall.store.raw_values[slots], values, rtol=0, atol=1e-6)
        assert recall.store.filled.sum() == len(slots)
        young = store.written[slots] == times + 1
        assert torch.equal(recall.store.recent[slots], young)
        encoders.append(recall.memory.net.weight_hh_l0.clone())
    renewed = [not torch.equal(a, b) for a, b in itertools.pairwise(encoders)]
    assert renewed == [False, True, False, False, True, False]  # in iterations 3 and 6


def test_faulted_trials_are_not_remembered(build, act) -> None:
    learner, long_term = build("hierarchical")
    rollout = lucky(act(learner.agent))
    rollout.usable[[1, 4]] = False
    rollout.inputs[:, [1, 4]] = float("nan")
    long_term.consolidate(learner.agent, rollout, rng())
    assert all(bool(torch.isfinite(t.float()).all()) for t in long_term.tensors().values())
    assert all(bool(torch.isfinite(t.float()).all()) for t in learner.agent.state_dict().values())
    rollout.usable[:] = False
    assert long_term.consolidate(learner.agent, rollout, rng()) == {}


@pytest.mark.parametrize("name", LONG_TERM)
def test_restored_it_goes_on_to_the_bit(build, act, name: str) -> None:
    one, memory = build(name)
    iterate(one, memory, act, 3)
    other, restored = build(name, seed=5)
    other.agent.load_state_dict(one.agent.state_dict())
    other.critic.load_state_dict(one.critic.state_dict())
    other.belief.load_state_dict(one.belief.state_dict())
    other.optimiser.load_state_dict(copy.deepcopy(one.optimiser.state_dict()))
    restored.restore(copies(memory.tensors()), memory.state())
    results = [iterate(*pair, act, 2) for pair in ((one, memory), (other, restored))]
    assert results[0] == results[1]
    assert differing(memory.tensors(), restored.tensors()) == set()
    assert differing(one.agent.state_dict(), other.agent.state_dict()) == set()
    assert memory.state() == restored.state()


def test_averages_instead_of_kl(build, act) -> None:
    learner, long_term = build("cascade", cascade=CascadeConfig(consolidation="ema"))
    before = copies(slow_policies(long_term)[0].state_dict())
    start = learner.agent.head.mean.weight.detach().clone()
    iterate(learner, long_term, act, 1)
    keep = 0.5 ** (1 / 10)
    expected = keep * start + (1 - keep) * learner.agent.head.mean.weight.detach()
    torch.testing.assert_close(slow_policies(long_term)[0].head.mean.weight, expected)
    assert differing(before, slow_policies(long_term)[0].state_dict())


def test_guards_hide_the_store_from_some_trials() -> None:
    """A quarter may recall nothing, half of the others nothing recent; by the trial's own seed."""
    trials = [Trial("reach-v3", (0.0,), 0, "train", 1, 5, seed) for seed in range(4000)]
    found = with_recall(trials, MemoryConfig())
    counts = Counter(trial.recall for trial in found)
    for level, share in ((0, 0.25), (1, 0.375), (2, 0.375)):
        assert counts[level] / 4000 == pytest.approx(share, abs=0.03)
    backwards = with_recall(trials[::-1], MemoryConfig())
    assert [t.recall for t in backwards] == [t.recall for t in found][::-1]
    assert [dataclasses.replace(t, recall=2) for t in found] == trials
