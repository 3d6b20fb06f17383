"""The inner step and its derivative, and the mistakes that MAML is known for."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from agents.heads import gaussian_log_prob
from agents.rl2 import AgentConfig, RL2Agent
from train.algorithms.adaptation import (
    LAST_LAYER,
    NOISE,
    Network,
    Samples,
    adapt,
    adapted_names,
    advantages,
    baseline,
    inner_loss,
    returns_to_go,
)


class Bandit(nn.Module):
    """A bandit's policy of two parameters: the mean of all actions, and their log σ."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.log_std = nn.Parameter(torch.tensor(-0.2, dtype=torch.float64))

    def forward(self, inputs):
        return self.mean * inputs[:, :4], self.log_std.expand(4)


def weights(bandit: nn.Module):
    return {name: weight.detach() for name, weight in bandit.named_parameters()}


def batch(seed: int, bandit: nn.Module, steps: int = 12) -> Samples:
    """What `bandit` does, with made-up advantages."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(steps, 46, generator=generator, dtype=torch.float64)
    noise = torch.randn(steps, 4, generator=generator, dtype=torch.float64)
    gains = torch.randn(steps, generator=generator, dtype=torch.float64)
    mean, log_std = functional_call(bandit, weights(bandit), (inputs,))
    actions = mean + log_std.exp() * noise
    return Samples(inputs, actions, gains, gaussian_log_prob(actions, mean, log_std), mean, log_std)


def outer(bandit, before, after, of, *, ratios=False, first_order=False):
    """The outer loss as a function of the weights `of`."""
    step = {"names": ("mean", "log_std"), "rate": 0.1, "ratios": ratios}
    own = adapt(bandit, of, before, **step)
    if first_order:
        own = {n: w + (own[n] - w).detach() for n, w in of.items()}
    return inner_loss(bandit, own, after, ratios=True)


def gradient(loss_of, at) -> torch.Tensor:
    leaves = {name: weight.clone().requires_grad_() for name, weight in at.items()}
    return torch.stack(torch.autograd.grad(loss_of(leaves), list(leaves.values())))


@pytest.mark.parametrize("ratios", [False, True])
def test_the_outer_gradient_passes_through_the_inner_step(ratios: bool) -> None:
    """It equals finite differences, and a first-order gradient does not."""
    bandit = Bandit()
    before, after, at = batch(1, bandit), batch(2, bandit), weights(bandit)

    def loss(some):
        return outer(bandit, before, after, some, ratios=ratios)

    found, expected = gradient(loss, at), []
    for name in at:
        up, down = ({**at, name: at[name] + h} for h in (1e-6, -1e-6))
        expected.append((loss(up) - loss(down)) / 2e-6)
    assert torch.allclose(found, torch.stack(expected), rtol=1e-5)
    first_order = gradient(
        lambda some: outer(bandit, before, after, some, ratios=ratios, first_order=True), at
    )
    assert not torch.allclose(found, first_order, rtol=0.05)


def test_ratios_credit_the_policy_that_collected() -> None:
    """ProMP's inner step is MAML's, and its derivative is another."""
    bandit = Bandit()
    before, after, at = batch(1, bandit), batch(2, bandit), weights(bandit)
    plain, credited = (
        adapt(bandit, at, before, names=tuple(at), rate=0.1, ratios=r) for r in (False, True)
    )
    assert all(torch.allclose(plain[name], credited[name]) for name in at)
    slopes = [
        gradient(lambda some, r=r: outer(bandit, before, after, some, ratios=r), at)
        for r in (False, True)
    ]
    assert not torch.allclose(*slopes, rtol=0.01)


def test_nothing_is_changed_in_place() -> None:
    bandit = Bandit()
    at = weights(bandit)
    kept = {name: weight.clone() for name, weight in at.items()}
    after = adapt(bandit, at, batch(1, bandit), names=("mean",), rate=0.1)
    assert all(torch.equal(at[name], kept[name]) for name in at)
    assert not torch.equal(after["mean"], kept["mean"])


def test_sigma_stays_and_anil_adapts_the_last_layer_alone() -> None:
    network = Network(RL2Agent(AgentConfig(core="none", hidden=8, encoder=8, slopes=0.0)))
    names = list(dict(network.named_parameters()))
    assert set(names) - set(adapted_names(names, anil=False)) == {NOISE}
    assert set(adapted_names(names, anil=True)) == set(LAST_LAYER)


def test_what_was_earned_is_not_seen() -> None:
    """With the last reward among its inputs a policy would adapt without a gradient step."""
    network = Network(RL2Agent(AgentConfig(core="none", hidden=8, encoder=8, slopes=0.0)))
    inputs = torch.randn(5, 46)
    other = inputs.clone()
    other[:, 39:] += 1
    assert torch.equal(network(inputs)[0], network(other)[0])


def test_returns_end_with_their_episode() -> None:
    rewards = torch.tensor([[[1.0, 2.0, 4.0], [0.0, 0.0, 8.0]]])
    found = returns_to_go(rewards, 0.5)
    assert found.tolist() == [[[3.0, 4.0, 4.0], [2.0, 4.0, 8.0]]]


def test_the_baseline_is_fit_to_each_tasks_own_batch() -> None:
    """It sees the step of the episode, and nothing of another task."""
    obs = torch.randn(2, 3, 30, 39, generator=torch.Generator().manual_seed(0))
    t = torch.arange(30) / 100
    returns = torch.stack([2 - t + 0 * obs[0, :, :, 0], obs[1, :, :, 3].square()])
    assert torch.allclose(baseline(obs, returns), returns, atol=1e-2)
    alone = baseline(obs[:1], returns[:1])
    assert torch.allclose(alone, baseline(obs, returns)[:1], atol=1e-5)


def test_advantages_are_normalised_within_each_task() -> None:
    """A loud task does not drown a quiet one, and one without reward teaches nothing."""
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(3, 4, 50, 39, generator=generator)
    rewards = torch.rand(3, 4, 50, generator=generator)
    rewards *= torch.tensor([1.0, 1000.0, 0.0])[:, None, None]
    found = advantages(obs, rewards, 0.99).flatten(1)
    assert torch.allclose(found.mean(dim=1), torch.zeros(3), atol=1e-4)
    assert found.std(dim=1, correction=0).tolist() == pytest.approx([1, 1, 0], abs=1e-3)
    assert math.isclose(float(found[2].abs().max()), 0.0, abs_tol=1e-6)
