"""Settings of the PPO meta-trainer."""

from __future__ import annotations

from dataclasses import dataclass

from train.algorithms.rollout import Boundary


@dataclass(frozen=True)
class PPOConfig:
    """How one iteration is learnt from."""

    learning_rate: float = 5e-4
    """Adam's step size at the start of training."""
    final_learning_rate: float = 5e-5
    """The same at total_steps."""
    anneal: float = 0.2
    """Share of training, at its end, in which the step sizes fall to the final one, linearly."""
    critic_learning_rate: float = 2e-3
    """The same of the critic: one that lags leaves the advantages full of noise."""
    gamma: float = 0.99
    """Discount per step."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    boundary: Boundary = "carry"
    """At the end of an inner episode: carry the return on into the next one, or cut it."""
    clip: float = 0.2
    """Clipping range of the probability ratio."""
    epochs: int = 5
    """Passes over each iteration's data."""
    minibatches: int = 8
    """Optimiser steps per pass."""
    bptt: int = 125
    """Steps of back-propagation through time."""
    stagger: bool = True
    """Cut trials into stretches of `bptt` steps elsewhere in each pass, so that gradients cross
    every step, the start of an episode too, in some pass."""
    entropy: float = 5e-3
    """Weight of the entropy bonus."""
    value: float = 0.5
    """Weight of the value loss."""
    belief: float = 0.0
    """Weight of the belief loss, which teaches the memory to infer the goal, or the target of
    --act posterior (0: plain RL²)."""
    kind: float = 0.1
    """Weight of the loss by which the memory learns to tell proposed tasks from the suite's own (0:
    none; without proposed tasks there is nothing to tell)."""
    max_grad_norm: float = 1.0
    """Gradient norm limit, for policy and critic separately."""
    kl_stop: float = 0.1
    """Stop an iteration's passes once KL(old || new) of one pass exceeds this, in nats."""

    def problems(self) -> list[str]:
        """Everything wrong with these values, each with the flag to change."""
        checks = {
            "--learning-rate must be a positive number": 0 < self.learning_rate < 1,
            "--final-learning-rate must be a number from 0 to 1": 0 <= self.final_learning_rate < 1,
            "--anneal must be above 0 and at most 1": 0 < self.anneal <= 1,
            "--critic-learning-rate must be a positive number": 0 < self.critic_learning_rate < 1,
            "--gamma must be in (0, 1]": 0 < self.gamma <= 1,
            "--gae-lambda must be in [0, 1]": 0 <= self.gae_lambda <= 1,
            "--clip must be in (0, 1)": 0 < self.clip < 1,
            "--epochs must be from 1 to 1000": 1 <= self.epochs <= 1000,
            "--minibatches must be from 1 to 10000": 1 <= self.minibatches <= 10_000,
            "--bptt must be from 1 to 50000": 1 <= self.bptt <= 50_000,
            "--entropy must be a number from 0 to 1": 0 <= self.entropy <= 1,
            "--value must be a number from 0 to 100": 0 <= self.value <= 100,
            "--belief must be a number from 0 to 100": 0 <= self.belief <= 100,
            "--kind must be a number from 0 to 100": 0 <= self.kind <= 100,
            "--max-grad-norm must be a positive number": 0 < self.max_grad_norm < 1e6,
            "--kl-stop must be a positive number": 0 < self.kl_stop < 1e6,
        }
        return [message for message, holds in checks.items() if not holds]
