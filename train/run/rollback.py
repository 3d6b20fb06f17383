"""No update may leave a NaN behind: the last healthy state is kept, and taken back when one does.

A NaN in one weight is in all of them an iteration later, and no error says so: elsewhere runs were
found dead after days. PPO leaves out single steps whose gradient is not finite (`PPO.update`); what
gets past that, in weights, optimiser, normaliser or target statistics, is caught here.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

from train.run.finite import not_finite
from train.run.state import TrainState

LIMIT = 3  # bad iterations in a row


class DivergedError(RuntimeError):
    """Learning has broken down for good; the message says where."""


class Guard:
    """Watches the learner of one run.

    Args:
        state: the learner, healthy when `keep` is called; `check` rolls it back in place.
    """

    def __init__(self, state: TrainState) -> None:
        self._state, self._bad = state, 0
        self._modules = {"agent": state.agent, "critic": state.critic, "belief": state.belief}
        self._kept: dict[str, Any] = {}

    def keep(self) -> None:
        """Before every update: keep the state as it is, with all that consolidation has written."""
        self._kept = {
            name: {key: value.clone() for key, value in module.state_dict().items()}
            for name, module in self._modules.items()
        }
        self._kept["optimiser"] = copy.deepcopy(self._state.ppo.optimiser.state_dict())

    def check(self, metrics: dict[str, float]) -> dict[str, float]:
        """After every update: return to what was kept if the new state is not healthy.

        An update is bad if it leaves a number that is not finite, or if all of its optimiser steps
        had to be left out. The trials are lost, the counters go on; equal runs stay equal.

        Args:
            metrics: what `PPO.update` returned.

        Returns:
            ``rolled_back``: 1 if the update was undone, else 0.

        Raises:
            DivergedError: `LIMIT` updates in a row were bad; the state is the last healthy one.
        """
        found = self._not_finite()
        if not found and metrics.get("skipped_steps") and "loss" not in metrics:
            found = ["every gradient"]
        if not found:
            self._bad = 0
            return {"rolled_back": 0.0}
        self._bad += 1
        for name, module in self._modules.items():
            module.load_state_dict(self._kept[name])
        self._state.ppo.optimiser.load_state_dict(self._kept["optimiser"])
        text = f"not finite after the update: {', '.join(found[:5])}; rolled back"
        if self._bad >= LIMIT:
            raise DivergedError(f"{text}, {LIMIT} times in a row; try a lower --learning-rate")
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return {"rolled_back": 1.0}

    def _not_finite(self) -> list[str]:
        named = {
            f"{name}.{key}": value
            for name, module in self._modules.items()
            for key, value in module.state_dict().items()
        }
        for index, slots in self._state.ppo.optimiser.state_dict()["state"].items():
            named |= {f"optimiser.{index}.{key}": value for key, value in slots.items()}
        return not_finite(named)
