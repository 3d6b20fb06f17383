"""Progress & Compress (Schwarz et al. 2018, arXiv 1805.06370): a fast and a slow policy.

Progress: the active column, the agent itself, learns the phase's task by PPO alone. Compress: at
the phase's end it is distilled into the knowledge base, which online EWC holds near what it was.
Two simplifications are declared in docs/decisions.md: the active column starts each phase from the
knowledge base instead of reading it through lateral connections, and compression uses the phase's
last trials instead of new ones.
"""

from __future__ import annotations

import copy
from math import inf
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agents.rl2 import RL2Agent
from memory.adam import Adam
from memory.behaviour import Behaviour, divergence
from memory.restored import check_tensors, chosen, number
from train.algorithms.rollout import Rollout
from train.long_term.contract import MinibatchView
from train.long_term.reference import (
    ReferenceConfig,
    Weights,
    fisher_diagonal,
    not_negative,
    quadratic,
)

TRIALS = 10  # of one step of distillation


def policy_divergence(
    teacher: Behaviour, student: Behaviour, read: Tensor | None = None
) -> Float[Tensor, ""]:
    """Mean over steps and trials of KL(teacher || student), in nats (`memory.behaviour`)."""
    return divergence(teacher, student, read).mean()


class ProgressAndCompress:
    """The knowledge base of one agent, and what holds it.

    After `end_phase` agent and knowledge base are the same policy, so an evaluation at the end of
    a phase is one of the knowledge base and one in mid-phase is one of the active column.

    Args:
        agent: as the stream begins; the knowledge base begins as its copy.
        config: passes, step size, lambda and gamma.
    """

    cap = inf
    uses_boundaries = True

    def __init__(self, agent: RL2Agent, config: ReferenceConfig) -> None:
        self.config = config
        self.base = copy.deepcopy(agent)
        self.fisher: Weights = {}
        self.divergence = 0.0

    def loss(self, view: MinibatchView) -> Tensor | None:
        """None: while it progresses, nothing holds the active column."""
        return None

    def consolidate(
        self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator
    ) -> dict[str, float]:
        """Nothing is written between boundaries."""
        return {"memory/compressed_kl": self.divergence} if self.fisher else {}

    def end_phase(self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator) -> None:
        """Compress, renew the Fisher information, and let the agent go on from the result.

        The knowledge base minimises, over the trials x of the phase's end,

            E_x KL(π_active(· | x) || π_base(· | x)) + λ/2 Σ_i γ Ω_i (θ_i - θ_i^old)²

        and then Ω ← γ Ω + F, with F the Fisher information of the new knowledge base. Where physics
        faults have left no trial, nothing is compressed and the active column goes on as it is.
        """
        usable = rollout.without_faults()
        if not len(usable.task_ids):
            return
        base, gamma = self.base, self.config.ewc_decay
        # The inputs' scaling is no weight: both columns read the same numbers from here on.
        base.encoder.normaliser.load_state_dict(agent.encoder.normaliser.state_dict())
        device = next(base.parameters()).device  # what a checkpoint brings back is on the CPU
        held = {name: gamma * value.to(device) for name, value in self.fisher.items()}
        anchor = {name: weight.detach().clone() for name, weight in base.named_parameters()}
        inputs, counts = usable.inputs.to(device), usable.belief_counts()
        read = None if counts is None else counts.to(device)
        with torch.no_grad():
            outputs, _ = agent.unroll(inputs, agent.initial_state(inputs.shape[1]))
            teacher = agent.behaviour(outputs)
        optimiser = Adam(base.parameters(), lr=self.config.compress_rate)
        for _ in range(self.config.compress_epochs):
            order = torch.from_numpy(rng.permutation(inputs.shape[1]))
            for part in order.split(TRIALS):
                outputs, _ = base.unroll(inputs[:, part], base.initial_state(len(part)))
                target = teacher.changed(lambda x, some=part: x[:, some])
                some = None if read is None else read[:, part]
                loss = policy_divergence(target, base.behaviour(outputs), some)
                if held and self.config.ewc:
                    weights = dict(base.named_parameters())
                    loss = loss + self.config.ewc * quadratic(weights, anchor, held)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                base.head.project()
        with torch.no_grad():
            outputs, _ = base.unroll(inputs, base.initial_state(inputs.shape[1]))
            self.divergence = float(policy_divergence(teacher, base.behaviour(outputs), read))
        found = fisher_diagonal(base, usable, rng)
        self.fisher = {n: held[n] + new if held else new for n, new in found.items()}
        agent.load_state_dict(base.state_dict())

    def tensors(self) -> Weights:
        """The knowledge base and its Fisher information."""
        return {f"base.{name}": value for name, value in self.base.state_dict().items()} | {
            f"fisher.{name}": value for name, value in self.fisher.items()
        }

    def state(self) -> dict[str, Any]:
        """How well the last compression went, in nats."""
        return {"divergence": self.divergence}

    def restore(self, tensors: Weights, state: dict[str, Any]) -> None:
        """Inverse of `tensors` and `state`.

        Raises:
            KeyError, ValueError: they are of another kind of memory or another architecture.
        """
        base = chosen(tensors, "base.")
        check_tensors(base, self.base.state_dict())
        fisher = chosen(tensors, "fisher.")
        if fisher:  # there is none before the first boundary
            check_tensors(fisher, dict(self.base.named_parameters()))
            not_negative(fisher, "")
        self.divergence = number(state, "divergence", -1e9, 1e9)
        self.base.load_state_dict(base)
        self.fisher = {name: value.clone() for name, value in fisher.items()}
