"""Reference learners that hold weights near those of earlier tasks: L2 and online EWC.

Both pull by λ/2 Σ_i Ω_i (θ_i - θ*_i)², where θ* are the agent's weights at the end of the last
phase. They use the boundaries of a stream, which Strata's own arms do not. Only the policy is held,
never the critic, as in Continual World (Wołczyk et al. 2021, arXiv 2105.10919).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from agents.rl2 import RL2Agent
from memory.restored import check_tensors, chosen
from train.algorithms.rollout import Rollout
from train.long_term.contract import MinibatchView

FISHER_FLOOR = 1e-5  # as in Continual World: weights that no old task needs are held a little too

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class ReferenceConfig:
    """How strongly the reference learners hold. Not searched: see docs/decisions.md."""

    ewc: float = 100.0
    """Lambda of online EWC: at 1 its pull is the divergence from the old policy, in nats a step."""
    ewc_decay: float = 0.95
    """Gamma: what an older task's Fisher information keeps at each boundary."""
    l2: float = 0.01
    """Lambda of the L2 pull to the last phase's weights."""
    compress_epochs: int = 10
    """Progress & Compress: passes over a phase's last trials into the knowledge base."""
    compress_rate: float = 3e-4
    """Progress & Compress: Adam's step size in these passes."""

    def problems(self) -> list[str]:
        """Everything wrong with these values, each with the flag to change."""
        checks = {
            "--ewc must be 0 or more": 0 <= self.ewc < 1e9,
            "--ewc-decay must be in [0, 1]": 0 <= self.ewc_decay <= 1,
            "--l2 must be 0 or more": 0 <= self.l2 < 1e9,
            "--compress-epochs must be from 1 to 1000": 1 <= self.compress_epochs <= 1000,
            "--compress-rate must be a positive number": 0 < self.compress_rate < 1,
        }
        return [message for message, holds in checks.items() if not holds]


def quadratic(
    weights: Mapping[str, Tensor], anchor: Weights, importance: Weights
) -> Float[Tensor, ""]:
    """½ Σ_i Ω_i (θ_i - θ*_i)², over all weights."""
    parts = [
        (importance[name] * (weight - anchor[name]).square()).sum()
        for name, weight in weights.items()
    ]
    return 0.5 * torch.stack(parts).sum()


def fisher_diagonal(agent: RL2Agent, rollout: Rollout, rng: np.random.Generator) -> Weights:
    """Diagonal Fisher information of the policy's weights, a mean over steps; floored.

    F_i = E[(∂ log π(a | x) / ∂θ_i)²] with inputs x of the trials and actions a drawn afresh from
    the policy. One draw per step and one backward pass per trial: given the inputs the scores of
    different steps are independent with mean zero, so (Σ_t s_t)² has the expectation Σ_t s_t², and
    no step needs a pass of its own. For a Gaussian policy this is the (‖∂μ‖² + 2 ‖∂σ‖²) / σ² of
    Continual World's EWC. Of an agent that acts on a drawn target the belief is part of the policy:
    where it is read, the score of a target drawn afresh is added, so that its part is a mean too.

    Args:
        agent: the policy; nothing in it changes.
        rollout: trials whose inputs are used, those without a physics fault.
        rng: draws the actions.
    """
    weights = dict(agent.named_parameters())
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    rollout = rollout.without_faults()
    inputs, counts = rollout.inputs.to(next(iter(weights.values())).device), rollout.belief_counts()
    trials = inputs.shape[1]
    for trial in range(trials):
        outputs, _ = agent.unroll(inputs[:, trial : trial + 1], agent.initial_state(1))
        noise = rng.standard_normal(outputs.mean.shape, dtype=np.float32)
        z = torch.from_numpy(noise).to(inputs.device)
        std = outputs.log_std.exp()
        actions = (outputs.mean + std * z).detach()
        # log π without its constant; agents.heads.gaussian_log_prob has the same gradient.
        score = -0.5 * ((actions - outputs.mean) / std).square().sum()
        score = score - len(inputs) * outputs.log_std.sum()
        beliefs = agent.behaviour(outputs).scores
        if beliefs is not None and counts is not None:
            drawn = _drawn_target_scores(beliefs[:, 0], rng)
            score = score + (counts[:, trial].sqrt().to(inputs.device) * drawn).sum()
        gradients = torch.autograd.grad(score, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
    scale = 1 / max(trials * len(inputs), 1)
    return {name: (value * scale).clamp(min=FISHER_FLOOR) for name, value in total.items()}


def _drawn_target_scores(
    scores: Float[Tensor, "time target"], rng: np.random.Generator
) -> Float[Tensor, " time"]:
    """Log b(z) of a target z drawn from the belief at each step."""
    log_belief = scores.log_softmax(dim=-1)
    lots = torch.from_numpy(rng.random(len(scores))).to(scores.device)
    reached = log_belief.detach().double().exp().cumsum(dim=-1)
    drawn = (reached < lots[:, None]).sum(dim=-1).clamp(max=scores.shape[-1] - 1)
    return log_belief.gather(-1, drawn[:, None])[:, 0]


class Anchored:
    """A pull of the policy's weights to where the last phase left them: the common part.

    Args:
        agent: whose weights are held.
        weight: lambda.
    """

    cap = inf  # as published: nothing bounds the pull but PPO's own clipping of the whole gradient
    uses_boundaries = True

    def __init__(self, agent: nn.Module, weight: float) -> None:
        self.weight = weight
        self._like = {
            name: torch.empty_like(weight, device="meta", requires_grad=False)
            for name, weight in agent.named_parameters()
        }
        self.anchor: Weights = {}
        self.importance: Weights = {}

    def importance_of(self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator) -> Weights:
        """Ω for the phases up to now."""
        raise NotImplementedError

    def loss(self, view: MinibatchView) -> Tensor | None:
        """λ/2 Σ_i Ω_i (θ_i - θ*_i)²; None before the first boundary."""
        if not self.anchor or not self.weight:
            return None
        self._join(view.agent)
        pull = quadratic(dict(view.agent.named_parameters()), self.anchor, self.importance)
        return self.weight * pull

    def consolidate(
        self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator
    ) -> dict[str, float]:
        """Nothing is written between boundaries; how far the weights have gone is measured."""
        if not self.anchor:
            return {}
        self._join(agent)
        with torch.no_grad():
            pull = quadratic(dict(agent.named_parameters()), self.anchor, self.importance)
        return {"memory/pull": self.weight * float(pull)}

    def end_phase(self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator) -> None:
        """Take the phase's last trials into Ω, and the present weights as θ*."""
        self._join(agent)
        self.importance = self.importance_of(agent, rollout, rng)
        self.anchor = {n: weight.detach().clone() for n, weight in agent.named_parameters()}

    def _join(self, agent: RL2Agent) -> None:
        """Be where the agent is: what a checkpoint brings back is on the CPU."""
        device = next(agent.parameters()).device
        self.anchor = {name: value.to(device) for name, value in self.anchor.items()}
        self.importance = {name: value.to(device) for name, value in self.importance.items()}

    def tensors(self) -> Weights:
        """θ* and Ω; none before the first boundary."""
        return {f"anchor.{n}": w for n, w in self.anchor.items()} | {
            f"importance.{n}": w for n, w in self.importance.items()
        }

    def state(self) -> dict[str, Any]:
        """Nothing beside the tensors."""
        return {}

    def restore(self, tensors: Weights, state: dict[str, Any]) -> None:
        """Inverse of `tensors`.

        Raises:
            ValueError: they are of another kind of memory or another agent, or pull the wrong way.
        """
        like = {
            f"{part}.{n}": w for part in ("anchor", "importance") for n, w in self._like.items()
        }
        if tensors:  # there are none before the first boundary
            check_tensors(tensors, like)
            not_negative(tensors, "importance.")
        self.anchor = _copied(tensors, "anchor.")
        self.importance = _copied(tensors, "importance.")


def not_negative(tensors: Weights, prefix: str) -> None:
    """Raise ValueError where a weight would be pushed away from where it was."""
    for name, value in tensors.items():
        if name.startswith(prefix) and bool((value < 0).any()):
            raise ValueError(f"{name} must not be negative")


def _copied(tensors: Weights, prefix: str) -> Weights:
    return {name: weight.clone() for name, weight in chosen(tensors, prefix).items()}


class L2(Anchored):
    """All weights are held alike: Ω = 1 (the L2 baseline of Continual World)."""

    def importance_of(self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator) -> Weights:
        """One for every weight."""
        return {n: torch.ones_like(w, requires_grad=False) for n, w in agent.named_parameters()}


class OnlineEWC(Anchored):
    """Weights are held as the old tasks need them: Ω_k = γ Ω_{k-1} + F_k.

    Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796) in its online form
    with one anchor and a decaying sum of Fisher information (Schwarz et al. 2018, arXiv
    1805.06370, section 4).

    Args:
        agent: whose weights are held.
        weight: lambda.
        decay: gamma.
    """

    def __init__(self, agent: nn.Module, weight: float, decay: float) -> None:
        super().__init__(agent, weight)
        self.decay = decay

    def importance_of(self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator) -> Weights:
        """The decayed sum with this phase's Fisher information added."""
        found = fisher_diagonal(agent, rollout, rng)
        if not self.importance:
            return found
        return {name: self.decay * self.importance[name] + new for name, new in found.items()}
