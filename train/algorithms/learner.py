"""The contract of an algorithm: what the loop, the rollback guard and checkpoints know of it.

A new algorithm is one file: a class with these methods, and a function that makes it from the
configuration and the suite, named in `train.algorithms.registry` or on the command line as
``--algorithm my_module:make``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from agents.rl2 import RL2Agent
from envs.pool.pool import Policy
from envs.trials.trial import Trial
from train.algorithms.rollout import Rollout
from train.learners.ranks import Ranks
from train.long_term.contract import LongTerm

Run = Callable[[Policy, Sequence[Trial]], Rollout]
"""Runs trials by one policy in the workers and gives them back in their order."""


@runtime_checkable
class Learner(Protocol):
    """What learns: it owns its networks and optimisers and changes them in place.

    Attributes:
        agent: the network that acts and that long-term memory consolidates. Checkpoints hold it
            as group ``agent``, from which evaluation loads it.
    """

    agent: RL2Agent

    def policy(self) -> Policy:
        """A copy of the present weights, as workers take them."""
        ...

    def collect(self, run: Run, trials: Sequence[Trial]) -> Rollout:
        """Have this iteration's trials run, all by one policy or each group by its own.

        A `Policy` holds one set of weights. An algorithm that adapts its weights to a task calls
        `run` once for each group of trials and joins the parts with `Rollout.join`; it may call
        `run` again after it has learnt from the first parts.
        """
        ...

    def set_progress(self, fraction: float) -> None:
        """Tell the fraction of the learning-rate schedule that is gone, before each update."""
        ...

    def update(
        self, rollout: Rollout, rng: np.random.Generator, long_term: LongTerm | None = None
    ) -> dict[str, float]:
        """Learn from one iteration.

        Args:
            rollout: what `collect` gave, faulted trials included (see `Rollout.without_faults`).
            rng: a function of (seed, iteration); all draws come from it.
            long_term: what keeps old knowledge; its `loss` may pull, up to its cap.

        Returns:
            Metrics. ``loss`` is there if anything was learnt, ``skipped_steps`` counts optimiser
            steps that were left out because a gradient was not finite.
        """
        ...

    def observe(self, rollout: Rollout) -> None:
        """Renew what scales the inputs; called after `update`, never inside it."""
        ...

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything that learning changes, in named groups; the tensors are live, not copies.

        Checkpoints write one file a group. An update that leaves a number in them that is not
        finite is undone.
        """
        ...

    def restore(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """Inverse of `tensors`.

        Raises:
            KeyError, RuntimeError, ValueError: they are of another architecture.
        """
        ...


@runtime_checkable
class SharesGradients(Protocol):
    """A `Learner` that computes only its share of each gradient where several share a run.

    One without `ranks` learns on each of them from the whole rollout: the trials alone are shared.

    Attributes:
        ranks: the learners of the run; set from outside.
    """

    ranks: Ranks


def learner_device(name: str) -> torch.device:
    """The device that ``--device`` names: with ``auto`` a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
