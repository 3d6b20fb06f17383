"""The contract of everything that keeps old knowledge: what it may do to learning, and when.

Stacks of levels (`train.long_term.stack`) and reference learners (EWC, L2, Progress & Compress)
are all a `LongTerm`, so one trainer runs them and none can do what another may not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agents.rl2 import RL2Agent, Unrolled
from train.algorithms.rollout import Rollout, Sequences


@dataclass(frozen=True)
class MinibatchView:
    """One PPO minibatch as the extra loss sees it: the forward pass is done and can be reused.

    `rollout` is the same object in all minibatches of one iteration, so what is frozen for an
    iteration may be computed at its first minibatch and kept until `rollout` is another. `cut` is
    another in each pass.

    Attributes:
        agent: the agent whose weights learn; `loss` must be differentiable in them.
        inputs: packed inputs of the minibatch's stretches.
        starts: the agent's memory before each stretch.
        outputs: of the agent on `inputs` from `starts`, with gradient.
        mask: 1 for real steps, 0 for padding.
        index: which stretches of the iteration these are.
        rollout: the iteration's trials, those with physics faults left out.
        cut: how the rollout is cut in this pass; ``cut.cut(x)[:, index]`` is the minibatch's part.
        epoch: pass over the iteration's data, from 0.
        number: minibatch of the pass, from 0.
        count: minibatches of the pass.
        rng: draws of its own: nothing taken here changes what PPO draws.
    """

    agent: RL2Agent
    inputs: Float[Tensor, "step n input"]
    starts: Float[Tensor, "n state"]
    outputs: Unrolled
    mask: Float[Tensor, "step n"]
    index: Int[Tensor, " n"]
    rollout: Rollout
    cut: Sequences
    epoch: int
    number: int
    count: int
    rng: np.random.Generator

    @property
    def trials(self) -> Int[Tensor, " n"]:
        """Column of `rollout` that each stretch is of."""
        return self.cut.trials_of(self.index)


@runtime_checkable
class LongTerm(Protocol):
    """What keeps old knowledge while PPO learns new.

    Attributes:
        cap: rho; the gradient of `loss` is scaled down until its norm is at most rho times the
            norm of PPO's own gradient of the agent and its readouts, so that it can hold back but
            not take over.
        uses_boundaries: whether `end_phase` does anything. False for every arm whose results are
            claimed without knowledge of when tasks change.
    """

    cap: float
    uses_boundaries: bool

    def loss(self, view: MinibatchView) -> Tensor | None:
        """A further scalar loss, differentiable in the agent's weights; changes nothing.

        None where there is nothing to add; then the step is PPO's own, bit for bit. It may keep
        what it computes for an iteration, but nothing that outlives the iteration.
        """
        ...

    def consolidate(
        self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator
    ) -> dict[str, float]:
        """Write what is to be kept: the only writer of long-term memory.

        Called once per iteration, after PPO's update and after the normaliser moved, never inside
        PPO's passes. Faulted trials are still in `rollout` (see `Rollout.without_faults`).

        Args:
            agent: as it is now; its learnt weights are not to be changed.
            rollout: the trials of the iteration.
            rng: a function of (seed, iteration).

        Returns:
            Metrics, logged as they are named, e.g. ``memory/entries``.
        """
        ...

    def end_phase(self, agent: RL2Agent, rollout: Rollout, rng: np.random.Generator) -> None:
        """A phase of a stream has ended with `rollout`; a no-op unless `uses_boundaries`."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that a checkpoint must hold to restore it exactly."""
        ...

    def state(self) -> dict[str, Any]:
        """The same for JSON values."""
        ...

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Inverse of `tensors` and `state`.

        Raises:
            KeyError, RuntimeError, ValueError: they are of another configuration.
        """
        ...


def pull_gradient(pull: Tensor, weights: Sequence[nn.Parameter]) -> dict[nn.Parameter, Tensor]:
    """Gradient of `pull` in those of `weights` that it moves; its graph stays for PPO's loss."""
    gradients = torch.autograd.grad(pull, weights, retain_graph=True, allow_unused=True)
    return {w: g for w, g in zip(weights, gradients, strict=True) if g is not None}


def add_capped(
    pulled: Mapping[nn.Parameter, Tensor], cap: float, weights: Sequence[nn.Parameter]
) -> dict[str, Tensor | float]:
    """Add `pulled` to the gradients of `weights`, at most `cap` times as long as they are.

    After the gradient guard of CRL_CW: long-term memory may hold learning back, not replace it.

    Returns:
        ``pull_ratio``, the norm of `pulled` over that of the present gradients before it is
        capped, and ``pull_cosine``, the cosine between them.
    """
    own = [w.grad for w in weights if w.grad is not None]
    norm = torch.stack([g.norm() for g in own]).norm() if own else torch.zeros(())
    pull = torch.stack([g.norm() for g in pulled.values()]).norm() if pulled else 0 * norm
    dot = sum(
        ((w.grad * g).sum() for w, g in pulled.items() if w.grad is not None), norm.new_zeros(())
    )
    cosine = dot / (norm * pull).clamp(min=1e-20)
    scale = cap * norm / pull if bool(pull > cap * norm) else 1.0
    for weight, gradient in pulled.items():
        gradient = gradient * scale  # a copy too: autograd's may be an expanded scalar
        weight.grad = gradient if weight.grad is None else weight.grad + gradient
    return {"pull_ratio": pull / norm.clamp(min=1e-20), "pull_cosine": cosine}
