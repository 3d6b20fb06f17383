"""Settings of the gradient-based meta-learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MamlOptions:
    """How weights are adapted to a task (inner step), and how their start is learnt (outer)."""

    rollouts: int = 10
    """Episodes of one batch of a task; after each batch but the last comes one inner step."""
    inner_learning_rate: float = 0.1
    """Step size of the inner policy-gradient step."""
    anil: bool = False
    """Adapt the last layer only (ANIL); the outer step still learns all layers."""
    outer: Literal["trpo", "ppo"] = "trpo"
    """Outer step: trpo (a trust region), or ppo (ProMP: clipped ratios, a penalty on the inner KL,
    and credit to the policy that collected the batch before adaptation)."""
    gamma: float = 0.99
    """Discount per step."""
    delta: float = 0.01
    """trpo: bound of the mean KL(old || new) of the adapted policies, in nats."""
    conjugate_gradients: int = 10
    """trpo: steps of the conjugate-gradient method."""
    outer_steps: int = 5
    """ppo: optimiser steps of an iteration, each on all of its data."""
    outer_learning_rate: float = 1e-3
    """ppo: step size of Adam."""
    outer_clip: float = 0.3
    """ppo: clipping range of the probability ratio."""
    inner_kl: float = 5e-4
    """ppo: weight of the KL between the policy that collected and the new one before adaptation."""

    def problems(self) -> list[str]:
        """Everything wrong with these values, each with the flag to change."""
        checks = {
            "--rollouts must be from 1 to 50": 1 <= self.rollouts <= 50,
            "--inner-learning-rate must be above 0 and at most 100": (
                0 < self.inner_learning_rate <= 100
            ),
            "--gamma must be in (0, 1]": 0 < self.gamma <= 1,
            "--delta must be a positive number below 1": 0 < self.delta < 1,
            "--conjugate-gradients must be from 1 to 1000": 1 <= self.conjugate_gradients <= 1000,
            "--outer-steps must be from 1 to 1000": 1 <= self.outer_steps <= 1000,
            "--outer-learning-rate must be a positive number": 0 < self.outer_learning_rate < 1,
            "--outer-clip must be in (0, 1)": 0 < self.outer_clip < 1,
            "--inner-kl must be a number from 0 to 100": 0 <= self.inner_kl <= 100,
        }
        return [message for message, holds in checks.items() if not holds]
