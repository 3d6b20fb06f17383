"""The inner step: weights adapted to one task by one policy gradient, differentiably.

Finn et al. 2017 (arXiv 1703.03400). Weights go in and come out as a dictionary, so nothing is
changed in place, and the outer gradient passes through the step (second order).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad

from agents.heads import gaussian_log_prob
from agents.input_layout import INPUT_DIM, OBS_DIM
from agents.rl2 import RL2Agent

NOISE = "agent.head.raw_log_std"
LAST_LAYER = ("agent.head.mean.weight", "agent.head.mean.bias")
Weights = dict[str, Tensor]
RIDGE = 1e-5


class Network(nn.Module):
    """An agent without memory as a function of its inputs.

    It sees the observation alone: with the last reward among its inputs a policy could adapt
    without a gradient step, and would be no baseline for one that remembers.
    """

    seen: Tensor

    def __init__(self, agent: RL2Agent) -> None:
        super().__init__()
        self.agent = agent
        seen = (torch.arange(INPUT_DIM) < OBS_DIM).float()
        self.register_buffer("seen", seen, persistent=False)

    def forward(
        self, inputs: Float[Tensor, "step input"]
    ) -> tuple[Float[Tensor, "step action"], Float[Tensor, " action"]]:
        """Mean actions, and the log σ that all states share."""
        rows = (inputs * self.seen).unsqueeze(1)
        outputs, _ = self.agent.unroll(rows, self.agent.initial_state(1))
        return outputs.mean.squeeze(1), outputs.log_std


class Samples(NamedTuple):
    """One batch of one task, n = R × H steps; with a first axis more, of several tasks.

    Attributes:
        inputs: packed inputs.
        actions: unclipped actions.
        advantages: of this batch, normalised within the task.
        log_probs: of the actions, by the policy that acted.
        mean, log_std: of that policy.
    """

    inputs: Float[Tensor, "*task step input"]
    actions: Float[Tensor, "*task step action"]
    advantages: Float[Tensor, "*task step"]
    log_probs: Float[Tensor, "*task step"]
    mean: Float[Tensor, "*task step action"]
    log_std: Float[Tensor, "*task action"]


def adapted_names(weights: Sequence[str], *, anil: bool) -> tuple[str, ...]:
    """The weights that the inner step changes.

    σ is not among them: a batch with one success would shrink it until nothing is explored.
    """
    return tuple(name for name in weights if name in LAST_LAYER or not (anil or name == NOISE))


def inner_loss(
    network: nn.Module, weights: Weights, batch: Samples, *, ratios: bool
) -> Float[Tensor, ""]:
    """The vanilla policy-gradient loss of one task.

    Args:
        network: gives mean and log σ of inputs.
        weights: of the network.
        batch: collected by the policy before this step.
        ratios: weigh advantages by probability ratios in place of log-probabilities. The value of
            the gradient is the same; its derivative also credits the policy that collected
            (Rothfuss et al. 2018, arXiv 1810.06784).
    """
    mean, log_std = functional_call(network, weights, (batch.inputs,))
    score = gaussian_log_prob(batch.actions, mean, log_std)
    if ratios:
        score = (score - batch.log_probs).exp()
    return -(score * batch.advantages).mean()


def adapt(
    network: nn.Module,
    weights: Weights,
    batch: Samples,
    *,
    names: Sequence[str],
    rate: float,
    ratios: bool = False,
) -> Weights:
    """The weights after one inner step on one task's batch; those not in `names` stay."""

    def loss(some: Weights) -> Tensor:
        return inner_loss(network, {**weights, **some}, batch, ratios=ratios)

    steepest = grad(loss)({name: weights[name] for name in names})
    return {**weights, **{name: weights[name] - rate * steepest[name] for name in names}}


def returns_to_go(
    rewards: Float[Tensor, "task episode step"], gamma: float
) -> Float[Tensor, "task episode step"]:
    """Discounted rewards from each step to the end of its episode."""
    found, following = torch.zeros_like(rewards), torch.zeros_like(rewards[..., 0])
    for t in range(rewards.shape[-1] - 1, -1, -1):
        following = rewards[..., t] + gamma * following
        found[..., t] = following
    return found


def baseline(
    obs: Float[Tensor, "task episode step obs"], returns: Float[Tensor, "task episode step"]
) -> Float[Tensor, "task episode step"]:
    """A linear fit of each task's returns, by ridge regression on that task's batch alone.

    Features are the observation, its square, 1, t, t² and t³ with t the step of the episode, as in
    Duan et al. 2016 (arXiv 1604.06778).
    """
    tasks, episodes, horizon = returns.shape
    t = torch.arange(horizon, dtype=torch.float64).expand(tasks, episodes, -1) / 100
    powers = torch.stack([t**n for n in range(4)], dim=-1)
    features = torch.cat((obs.double(), obs.double().square(), powers), dim=-1).flatten(1, 2)
    target = returns.double().flatten(1).unsqueeze(-1)
    square = features.mT @ features + RIDGE * torch.eye(features.shape[-1], dtype=torch.float64)
    fit = features @ torch.linalg.solve(square, features.mT @ target)
    return fit.reshape(returns.shape).to(returns.dtype)


def advantages(
    obs: Float[Tensor, "task episode step obs"],
    rewards: Float[Tensor, "task episode step"],
    gamma: float,
) -> Float[Tensor, "task episode step"]:
    """Returns minus the task's own baseline (λ = 1), normalised within each task.

    Equal returns leave nothing to learn from: a batch without any reward gives zeros.
    """
    returns = returns_to_go(rewards, gamma)
    found = (returns - baseline(obs, returns)).flatten(1)
    centred = found - found.mean(dim=1, keepdim=True)
    scale = found.std(dim=1, correction=0, keepdim=True) + 1e-6
    return (centred / scale).reshape(rewards.shape)
