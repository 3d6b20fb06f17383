"""What is not finite, by name: for the steps that are left out and the updates that are undone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


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
