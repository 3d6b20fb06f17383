"""Long-term memory of agents that act on a drawn target: it keeps what they believe, too."""

import numpy as np
import pytest
import torch

from agents.rl2 import AgentConfig, RL2Agent
from memory.reservoir import TrialStore
from train.algorithms.rollout import Rollout, Sequences
from train.long_term.contract import MinibatchView
from train.long_term.level import IterationView
from train.long_term.reference import FISHER_FLOOR, fisher_diagonal
from train.long_term.replay import ReplayLevel

STEPS, TRIALS, TARGETS = 12, 5, 3


@pytest.fixture
def agent() -> RL2Agent:
    torch.manual_seed(0)
    made = RL2Agent(AgentConfig(hidden=8, encoder=6, slopes=0.0, act="posterior", targets=TARGETS))
    assert made.belief is not None
    torch.nn.init.normal_(made.belief.out.weight)
    return made


@pytest.fixture
def rollout(agent) -> Rollout:
    nothing = torch.zeros(STEPS, TRIALS)
    return Rollout(
        inputs=torch.randn(STEPS, TRIALS, agent.input_width),
        actions=torch.zeros(STEPS, TRIALS, 4),
        log_probs=nothing,
        rewards=nothing,
        successes=torch.ones(STEPS, TRIALS, dtype=torch.bool),
        usable=torch.ones(TRIALS, dtype=torch.bool),
        task_ids=torch.zeros(TRIALS, dtype=torch.long),
        goals=torch.zeros(TRIALS, 6),
        episodes=2,
        choices=torch.zeros(2, TRIALS, dtype=torch.long),
        targets=torch.zeros(2, TRIALS, dtype=torch.long),
        practised=torch.arange(TRIALS) == 0,
    )


def minibatch(agent: RL2Agent, rollout: Rollout) -> MinibatchView:
    """All trials at once, whole."""
    start, index = agent.initial_state(TRIALS), torch.arange(TRIALS)
    outputs, _ = agent.unroll(rollout.inputs, start)
    cut, rng = Sequences(STEPS, TRIALS, STEPS), np.random.default_rng(0)
    return MinibatchView(agent, rollout.inputs, start, outputs, torch.ones(STEPS, TRIALS), index,
                         rollout, cut, epoch=0, number=0, count=1, rng=rng)  # fmt: skip


def test_replay_pulls_a_changed_belief_back_and_leaves_the_policy_alone(agent, rollout) -> None:
    store = TrialStore(TRIALS, 0, steps=STEPS, inputs=agent.input_width, actions=4, targets=TARGETS)
    level = ReplayLevel(store, weight=1.0, share=1.0, replay_from="successful", length=STEPS)
    seen, rng = torch.full((TRIALS,), 2), np.random.default_rng(0)
    level.consolidate(IterationView(agent, rollout, rollout.inputs, seen, 1, rng))
    assert agent.belief is not None
    with torch.no_grad():
        agent.belief.out.weight.neg_()
    pull = level.loss(minibatch(agent, rollout))
    assert pull is not None
    pull.backward()
    weight, memory = agent.belief.out.weight.grad, agent.memory.net.weight_ih_l0.grad
    assert weight.abs().max() > 1e-2
    assert memory.abs().max() > 1e-4
    assert agent.head.mean.weight.grad.abs().max() < 1e-6


class Half(np.random.Generator):
    """A generator whose every draw is one half."""

    def random(self, *size: int, **_: object) -> np.ndarray:
        return np.full(size, 0.5)


def test_the_best_trials_are_kept_and_count_by_their_success(agent, rollout) -> None:
    """A chance of one for all episodes right, of a sixteenth for half of them, of none for none."""
    rollout.successes[:] = False
    rollout.successes[:, 1] = True
    rollout.successes[STEPS // 2 :, 2] = True
    found = {}
    for rule in ("best", "successful"):
        store = TrialStore(TRIALS, 0, steps=STEPS, inputs=agent.input_width, actions=4, targets=3)
        level = ReplayLevel(store, weight=1.0, share=1.0, replay_from=rule, length=STEPS)
        seen, rng = torch.full((TRIALS,), 2), Half(np.random.PCG64(0))
        level.consolidate(IterationView(agent, rollout, rollout.inputs, seen, 1, rng))
        found[rule] = store.weight[store.filled].tolist()
    assert found == {"best": [1.0], "successful": [1.0, 0.5]}


def test_the_belief_counts_where_it_is_taught(rollout) -> None:
    counts = rollout.belief_counts()
    assert counts.mean(dim=0).tolist() == [0, 1, 1, 1, 1]
    assert torch.nonzero(counts[:, 1]).flatten().tolist() == [4, 10]


def test_elastic_weights_know_what_the_belief_needs(agent, rollout) -> None:
    found = fisher_diagonal(agent, rollout, np.random.default_rng(0))
    for name in ("belief.out.weight", "memory.net.weight_hh_l0", "body.first.weight"):
        assert (found[name] > 10 * FISHER_FLOOR).any(), name
