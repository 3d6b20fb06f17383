"""Trackers: services that are fed with a run's numbers, and may fail without harm."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Service = Literal["none", "wandb"]


class Wandb:
    """A run in Weights & Biases, by its own environment variables: WANDB_MODE=offline, and so on.

    A run that is resumed goes on in the same place there, which ignores steps that it already has.

    Args:
        run: the run folder; wandb writes into ``RUN/wandb``.
        config: JSON values of the configuration.

    Raises:
        Exception: from here on wandb may raise any.
    """

    def __init__(self, run: Path, config: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project="strata",
            dir=str(run),
            id=hashlib.sha256(str(run.absolute()).encode()).hexdigest()[:16],
            name=run.name,
            resume="allow",
            config=dict(config),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log `numbers` under their names."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """Hand over what waits, and end."""
        self._run.finish()


def tracker_problems(service: str) -> list[str]:
    """Why the service cannot be used here, one sentence each."""
    if service == "wandb" and importlib.util.find_spec("wandb") is None:
        return ["--track wandb needs a package: pip install -e '.[track]'"]
    return []
