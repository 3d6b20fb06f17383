"""The belief: it teaches the memory what the goal is, and tells the policy nothing."""

import pytest
import torch

from agents.belief import Belief, goal_statistics
from agents.heads import GOAL_DIM
from agents.input_layout import INPUT_DIM
from agents.rl2 import AgentConfig, RL2Agent, actor_weights
from train.algorithms.rollout import pad_goals

HIDDEN, TIME = 5, 4
TASK_IDS = torch.tensor([0, 1, 0, 1])


def goals() -> torch.Tensor:
    """50 goals of two tasks: one of three coordinates that differ, one of five and a constant."""
    torch.manual_seed(0)
    short = pad_goals((0.1 + 0.3 * torch.rand(50, 3)).tolist())
    long = 0.5 + 0.02 * torch.rand(50, 6)
    long[:, 2] = 0.02
    return torch.stack((short, long))


def make_belief() -> Belief:
    mean, scale = goal_statistics(goals())
    return Belief(2, goal_mean=mean, goal_scale=scale, hidden=HIDDEN)


def test_statistics_standardise_each_task() -> None:
    mean, scale = goal_statistics(goals())
    standard = (goals() - mean[:, None]) * scale[:, None]
    spread = standard.std(dim=1, correction=0)
    varies = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 1, 1]]).bool()
    torch.testing.assert_close(standard.mean(dim=1), torch.zeros(2, 6), rtol=0, atol=1e-3)
    torch.testing.assert_close(spread[varies], torch.ones(8), rtol=1e-3, atol=0)
    assert (spread[~varies] < 1e-3).all()


def test_one_is_a_guess_and_zero_is_certainty() -> None:
    """Coordinates that never differ, padding above all, must not thin out the error.

    An untrained belief says the mean goal of each task; its error is then the goals' own variance.
    """
    belief, all_goals = make_belief(), goals()
    for task in (0, 1):
        errors = belief.errors(
            torch.randn(TIME, 50, HIDDEN), all_goals[task], torch.full((50,), task)
        )
        assert errors.shape == (TIME, 50)
        assert float(errors.detach().mean()) == pytest.approx(1.0, rel=1e-3)
    mean = belief.goal_mean[TASK_IDS]
    assert (belief.errors(torch.randn(TIME, 4, HIDDEN), mean, TASK_IDS) < 1e-6).all()


def test_an_untrained_belief_guesses_the_kind_and_a_trained_one_is_certain() -> None:
    """The loss is log 3 for a guess among three; a memory that tells them apart brings it to 0."""
    mean, scale = goal_statistics(goals())
    belief = Belief(2, goal_mean=mean, goal_scale=scale, hidden=HIDDEN, kinds=3)
    kinds = torch.tensor([0, 1, 2, 1])
    hidden = torch.nn.functional.one_hot(kinds, HIDDEN).float().expand(TIME, -1, -1)
    guess = belief.kind_errors(hidden, kinds)
    assert guess.shape == (TIME, 4)
    torch.testing.assert_close(guess, torch.full((TIME, 4), 3.0).log())
    optimiser = torch.optim.Adam(belief.parameters(), lr=0.5)
    for _ in range(40):
        optimiser.zero_grad()
        belief.kind_errors(hidden, kinds).mean().backward()
        optimiser.step()
    assert (belief.kind_errors(hidden, kinds) < 0.01).all()
    assert (belief.kind_errors(hidden, kinds.roll(1)) > 1).any()


def test_each_task_is_read_by_its_own_rows() -> None:
    belief = make_belief()
    with torch.no_grad():
        belief.out.weight.normal_()
    hidden, some = torch.randn(TIME, 4, HIDDEN), goals()[0, :4]
    before = belief.errors(hidden, some, TASK_IDS)
    with torch.no_grad():
        belief.out.weight[GOAL_DIM:].normal_()  # task 1
    after = belief.errors(hidden, some, TASK_IDS)
    assert torch.equal(after[:, TASK_IDS == 0], before[:, TASK_IDS == 0])
    assert (after[:, TASK_IDS == 1] != before[:, TASK_IDS == 1]).all()


def test_it_shapes_the_memory_but_not_the_policy_s_head() -> None:
    torch.manual_seed(0)
    agent, belief = RL2Agent(AgentConfig(hidden=HIDDEN, encoder=6)), make_belief()
    with torch.no_grad():
        belief.out.weight.normal_()
    outputs, _ = agent.unroll(torch.randn(TIME, 4, INPUT_DIM), agent.initial_state(4))
    belief.errors(outputs.hidden, goals()[0, :4], TASK_IDS).sum().backward()
    for name, weight in agent.named_parameters():
        assert (weight.grad is None) == name.startswith("head."), name


def test_the_policy_holds_nothing_of_it() -> None:
    """Goals reach training losses only: the workers are not even sent the readout."""
    agent, belief = RL2Agent(AgentConfig(hidden=HIDDEN, encoder=6)), make_belief()
    policy = {weight.data_ptr() for weight in agent.parameters()}
    assert policy.isdisjoint(weight.data_ptr() for weight in belief.parameters())
    assert not any("belief" in name or "goal" in name for name in actor_weights(agent))
