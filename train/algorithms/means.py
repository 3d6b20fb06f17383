"""Averages of diagnostics over the minibatches of an iteration."""

from __future__ import annotations

import numpy as np
from torch import Tensor


class Means:
    """Collects numbers, most of them once per minibatch; sums of skipped steps, means else."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._once: dict[str, float] = {}

    def once(self, name: str, value: Tensor | float) -> None:
        """Note a number of the whole iteration."""
        self._once[name] = float(value)

    def add(self, values: dict) -> None:
        """Note the numbers of one minibatch."""
        for name, value in values.items():
            self._sums.setdefault(name, []).append(
                float(value.detach() if isinstance(value, Tensor) else value)
            )

    def result(self) -> dict[str, float]:
        """All of them, by name."""
        means = {name: float(np.mean(values)) for name, values in self._sums.items()}
        if "skipped_steps" in self._sums:
            means["skipped_steps"] = float(np.sum(self._sums["skipped_steps"]))
        return {**means, **self._once}
