"""MuJoCo's models of tasks, compiled once: that takes a quarter of a second each time.

Every environment gets a copy of its own, equal to the bit, whatever was done to another one's.
"""

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import mujoco
import pytest
from gymnasium.envs.mujoco import MujocoEnv

MODELS = 16  # of 20 MB each


@contextmanager
def compiled_once() -> Iterator[None]:
    """Environments made within it, in this process, share what was compiled."""
    official = MujocoEnv._initialize_simulation

    @functools.lru_cache(maxsize=MODELS)
    def compiled(**facts: Any) -> Any:
        model, _ = official(SimpleNamespace(**facts))
        return model

    def initialise(self: MujocoEnv) -> tuple[Any, Any]:
        facts = {name: getattr(self, name) for name in ("fullpath", "width", "height")}
        model = copy.copy(compiled(**facts))
        return model, mujoco.MjData(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MujocoEnv, "_initialize_simulation", initialise)
        yield
