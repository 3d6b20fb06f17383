"""No update may leave a NaN behind: the last healthy state is kept, and taken back when one does.

A NaN in one weight is in all of them an iteration later, and no error says so: elsewhere runs were
found dead after days. Learners leave out single steps whose gradient is not finite (`blame` and
`warn_left_out` name them); what gets past that, in weights, optimiser, normaliser or target
statistics, is caught by `Rollback`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from train.algorithms.learner import Learner

LIMIT = 3  # bad iterations in a row


class DivergedError(RuntimeError):
    """Learning has broken down for good; the message says where."""


class Rollback:
    """Watches the learner of one run.

    Args:
        learner: healthy when `keep` is called; `check` takes it back in place.

    Attributes:
        bad: updates undone in a row, so far; part of a checkpoint.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner, self.bad = learner, 0
        self._kept: dict[str, dict[str, Tensor]] = {}

    def keep(self) -> None:
        """Before every update: keep the state as it is, with all that consolidation has written."""
        self._kept = {
            group: {name: value.clone() for name, value in tensors.items()}
            for group, tensors in self._learner.tensors().items()
        }

    def check(self, metrics: dict[str, float]) -> dict[str, float]:
        """After every update: return to what was kept if the new state is not healthy.

        An update is bad if it leaves a number that is not finite, or if all of its optimiser steps
        had to be left out. The trials are lost, the counters go on; equal runs stay equal.

        Args:
            metrics: what `Learner.update` returned.

        Returns:
            ``rolled_back``: 1 if the update was undone, else 0.

        Raises:
            DivergedError: `LIMIT` updates in a row were bad; the state is the last healthy one.
        """
        found = [
            f"{group}.{name}"
            for group, tensors in self._learner.tensors().items()
            for name in not_finite(tensors)
        ]
        if not found and metrics.get("skipped_steps") and "loss" not in metrics:
            found = ["every gradient"]
        if not found:
            self.bad = 0
            return {"rolled_back": 0.0}
        self.bad += 1
        self._learner.restore(self._kept)
        text = f"not finite after the update: {', '.join(found[:5])}; rolled back"
        if self.bad >= LIMIT:
            raise DivergedError(f"{text}, {LIMIT} times in a row; try a lower --learning-rate")
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return {"rolled_back": 1.0}


def blame(losses: Mapping[str, Tensor], modules: Sequence[nn.Module]) -> list[str]:
    """Names of the losses, and of the parameters' gradients, that are not finite."""
    gradients = {
        f"gradient of {type(module).__name__}.{name}": parameter.grad
        for module in modules
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    return not_finite({**losses, **gradients})


def warn_left_out(steps: Sequence[Sequence[str]]) -> None:
    """Say how many optimiser steps of an update were left out, and what `blame` found first."""
    if steps:
        warnings.warn(
            f"{len(steps)} optimiser steps left out, not finite: {', '.join(steps[0][:5])}",
            RuntimeWarning,
            stacklevel=3,
        )


def not_finite(named: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity."""
    return [name for name, value in named.items() if not bool(torch.isfinite(value).all())]
