"""What a file gives back is checked before it becomes anybody's state.

A checkpoint may be a stranger's: names, shapes, types and ranges are compared with what is asked
for, so that nothing is broadcast, cast or counted on from a number that cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MOST = 2**53  # of a counter


def check_tensors(found: Mapping[str, Tensor], asked: Mapping[str, Tensor]) -> None:
    """Compare tensors with others of the same names, shapes and types; the numbers are finite.

    Args:
        found: out of a file.
        asked: what is to take their place; without numbers (device ``meta``) will do.

    Raises:
        ValueError: naming the first tensor that is wrong, and how.
    """
    for name in sorted(found.keys() ^ asked.keys()):
        raise ValueError(f"{name} {'is missing' if name in asked else 'does not belong here'}")
    for name, like in asked.items():
        value = found[name]
        if value.dtype != like.dtype or value.shape != like.shape:
            raise ValueError(f"{name} must be {_kind(like)}, not {_kind(value)}")
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} must be finite")


def adam_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments as ``<number of the weight>.<name>``, which `restore_adam` takes."""
    states = optimiser.state_dict()["state"]
    return {f"{i}.{name}": value for i, slots in states.items() for name, value in slots.items()}


def chosen(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name starts with `prefix`, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def restore_adam(optimiser: torch.optim.Optimizer, found: Mapping[str, Tensor]) -> None:
    """Give Adam back its moments, saved as ``<number of the weight>.<name>``; they are copied.

    A weight that never had a gradient has none.

    Raises:
        ValueError: naming the first moment that is wrong, and how.
    """
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in found.items():
        index, _, name = key.partition(".")
        if not index.isdecimal() or int(index) >= len(weights):
            raise ValueError(f"{key} is the moment of no weight")
        slots.setdefault(int(index), {})[name] = value.clone()  # steps are counted in place
    for index, own in slots.items():
        like = {"step": torch.zeros(()), "exp_avg": weights[index], "exp_avg_sq": weights[index]}
        named = {f"{index}.{name}": value for name, value in own.items()}
        check_tensors(named, {f"{index}.{name}": value for name, value in like.items()})
        if not 0 <= float(own["step"]) <= MOST or bool((own["exp_avg_sq"] < 0).any()):
            raise ValueError(f"{index}.step and {index}.exp_avg_sq must not be negative")
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})


def whole(values: Mapping[str, Any], name: str) -> int:
    """A counter out of JSON values.

    Raises:
        KeyError: it is missing.
        ValueError: it is no whole number from 0 to 2^53.
    """
    value = values[name]
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError(f"{name} must be a whole number from 0 to 2^53, not {value!r:.40}")
    return value


def number(values: Mapping[str, Any], name: str, least: float, most: float) -> float:
    """A number within bounds out of JSON values.

    Raises:
        KeyError: it is missing.
        ValueError: it is no such number.
    """
    value = values[name]
    if type(value) not in (int, float) or not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, not {value!r:.40}")
    return float(value)


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
