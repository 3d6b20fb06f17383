"""MAML as a learner: who acts in which batch, and what is learnt from it."""

import dataclasses

import numpy as np
import pytest
import torch

from agents.rl2 import AgentConfig, RL2Agent
from envs.metaworld.suites import Suite
from tests.lent import LentPool
from train.algorithms.adaptation import LAST_LAYER, NOISE
from train.algorithms.batches import cut, in_turn, part, single_episodes, stacked
from train.algorithms.maml import Maml
from train.algorithms.maml_options import MamlOptions
from train.collect import collect

GOALS = {"reach-v3": tuple((0.01 * i, 0.6, 0.02, 0.1, 0.8, 0.1) for i in range(3))}
SUITE = Suite("ML1", 1, GOALS, GOALS)
RNG = np.random.default_rng(0)
TRIALS = SUITE.sample_trials(3, episodes=6, horizon=8, iteration=0, seed=1)


def make(**options: object) -> Maml:
    torch.manual_seed(0)
    agent = RL2Agent(AgentConfig(core="none", hidden=8, encoder=8, slopes=0.0))
    with torch.no_grad():
        agent.head.mean.weight.normal_()
    return Maml(agent, MamlOptions(rollouts=3, **options))  # type: ignore[arg-type]


def acted(learner: Maml):
    """A rollout, and the policies and trials that `collect` asked for."""
    asked = []
    with LentPool(1) as pool:

        def run(policy, few):
            asked.append((policy, few))
            return collect(pool, policy, few, tasks=SUITE.tasks, lanes=4)

        return learner.collect(run, TRIALS), asked


@pytest.fixture(scope="module")
def found():
    learner = make()
    return learner, *acted(learner)


def test_each_trial_is_acted_before_and_after_its_own_adaptation(found) -> None:
    learner, rollout, asked = found
    assert rollout.rewards.shape == (48, 3)
    assert [len(few) for _, few in asked] == [9, 3, 3, 3]
    assert [few[0].goal for _, few in asked[1:]] == [trial.goal for trial in TRIALS]
    heads = [policy.weights["head.weight"].tolist() for policy, _ in asked]
    assert heads[0] == learner.agent.head.mean.weight.tolist()
    assert all(heads[i] != heads[j] for i in range(4) for j in range(i))
    assert len({trial.seed for _, few in asked for trial in few}) == 18


def test_sigma_does_not_collapse_in_the_inner_step(found) -> None:
    learner, _, asked = found
    for policy, _ in asked:
        assert policy.weights["head.log_std"].tolist() == learner.agent.head.log_std().tolist()


def test_inner_advantages_are_of_the_batch_before_adaptation(found) -> None:
    """Whatever came after, the adapted weights are the same."""
    learner, rollout, _ = found
    before, after = (part(rollout, few) for few in cut(6, 3))
    _, weights = learner._follow([before])
    changed = in_turn([before, dataclasses.replace(after, rewards=after.rewards * 7 - 3)])
    _, same = learner._follow([part(changed, range(3))])
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not torch.equal(before.rewards, after.rewards)


def test_the_surrogate_begins_at_ratios_of_the_policy_that_acted(found) -> None:
    """Old log-probabilities are those of the adapted weights: at the start every ratio is 1."""
    learner, rollout, _ = found
    before, after = (part(rollout, few) for few in cut(6, 3))
    samples, weights = learner._follow([before])
    post = learner._samples(after, weights, inner=False)
    acted = after.log_probs.transpose(0, 1)
    assert torch.allclose(post.log_probs, acted, atol=1e-4)
    unadapted = {n: w.expand(3, *w.shape) for n, w in learner.weights().items()}
    assert not torch.allclose(
        learner._samples(after, unadapted, inner=False).log_probs, acted, atol=1e-3
    )
    loss, kl, moved = learner.objective(learner.weights(), samples, post)
    assert float(loss) == pytest.approx(0.0, abs=1e-5)  # advantages are centred
    assert float(kl) == pytest.approx(0.0, abs=1e-6)
    assert float(moved) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("outer", ["trpo", "ppo"])
@pytest.mark.parametrize("anil", [False, True])
def test_an_update_learns(outer: str, anil: bool) -> None:
    learner = make(outer=outer, anil=anil)
    rollout, _ = acted(learner)
    names = learner.network.state_dict().keys() & {*learner.weights()}
    adapted = learner._follow([part(rollout, range(3))])[1]
    changed = {name for name in names if not torch.equal(adapted[name][0], learner.weights()[name])}
    assert (changed == set(LAST_LAYER)) is anil
    assert NOISE not in changed
    before = {name: weight.clone() for name, weight in learner.weights().items()}
    told = learner.update(rollout, RNG)
    assert told["improvement"] > 0
    assert told["acting_error"] < 1e-4
    assert outer == "ppo" or told["kl"] <= learner.options.delta
    moved = {name for name in before if not torch.equal(before[name], learner.weights()[name])}
    assert moved == names
    assert not learner.agent.encoder.layer.weight[:, 39:].any()


def test_a_trial_with_a_fault_is_kept_out() -> None:
    learner = make()
    rollout, _ = acted(learner)
    usable = torch.tensor([True, False, True])
    broken = rollout.inputs.clone()
    broken[:, 1] = float("nan")
    bad = dataclasses.replace(rollout, usable=usable, inputs=broken)
    weights = learner._follow([part(bad, range(3))])[1]
    assert all(torch.equal(weights[name][1], learner.weights()[name]) for name in weights)
    told = learner.update(bad, RNG)
    assert all(value == value for value in told.values())
    nothing = dataclasses.replace(bad, usable=torch.zeros(3, dtype=torch.bool))
    assert learner.update(nothing, RNG) == {}


def test_a_learner_that_is_restored_learns_the_same() -> None:
    one, other = make(outer="ppo"), make(outer="ppo")
    rollout, _ = acted(one)
    one.update(rollout, RNG)
    saved = {g: {n: t.clone() for n, t in ts.items()} for g, ts in one.tensors().items()}
    other.restore(saved)
    for learner in (one, other):
        learner.update(rollout, RNG)
    assert all(
        torch.equal(a, other.tensors()[group][name])
        for group, tensors in one.tensors().items()
        for name, a in tensors.items()
    )


def test_batches_come_apart_and_together(found) -> None:
    _, rollout, _ = found
    parts = [part(rollout, few) for few in cut(6, 3)]
    assert torch.equal(in_turn(parts).inputs, rollout.inputs)
    assert cut(7, 3) == [range(3), range(3, 6), range(6, 7)]
    singles = single_episodes(TRIALS, range(3, 6))
    assert [trial.goal for trial in singles] == [t.goal for t in TRIALS for _ in range(3)]
    assert {trial.episodes for trial in singles} == {1}


def test_the_outcome_alone_is_adapted_to_on_fork(found) -> None:
    """An agent on FORK is not shown the reward for training, and without success nothing is
    learnt: the adapted weights are the old ones."""
    learner, rollout, _ = found
    before = part(rollout, range(3))
    fork = dataclasses.replace(
        before,
        targets=torch.zeros(3, 3, dtype=torch.long),
        choices=torch.full((3, 3), -1),
        successes=torch.zeros_like(before.successes),
    )
    weights = learner._follow([fork])[1]
    assert all(torch.equal(weights[name][0], learner.weights()[name]) for name in weights)
    successes = fork.successes.clone()
    successes[4:8, 0] = True  # the first attempt of the first trial
    right = learner._follow([dataclasses.replace(fork, successes=successes)])[1]
    assert not torch.equal(right[LAST_LAYER[0]][0], learner.weights()[LAST_LAYER[0]])
    assert torch.equal(right[LAST_LAYER[0]][1], learner.weights()[LAST_LAYER[0]])


def test_stacking_keeps_who_did_what(found) -> None:
    _, rollout, _ = found
    apart = dataclasses.replace(
        rollout,
        episodes=1,
        **{n: getattr(rollout, n)[:8] for n in ("inputs", "actions", "log_probs", "rewards")},
        successes=rollout.successes[:8],
    )
    whole = stacked(apart, 3)
    assert torch.equal(whole.rewards[:, 0], apart.rewards.T.flatten())
