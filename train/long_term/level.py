"""The contract of a level: one store above short-term memory, in a file of its own.

To add a level, subclass `Level`, write what it has, and name a function that makes it in an arm
(`train.long_term.arms.Arm.levels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from agents.rl2 import RL2Agent
from train.algorithms.rollout import Rollout
from train.long_term.config import MemoryConfig
from train.long_term.contract import MinibatchView


@dataclass(frozen=True)
class LevelSetting:
    """What a level may need to know when it is made.

    Attributes:
        agent: the fast policy as the run begins.
        memory: settings of long-term memory.
        learning_rate: the fast policy's, at the start of training.
        length: steps of back-propagation through time.
        episodes, horizon: K and H of training trials.
        slots: in which the lifetimes of RECALL run; 0 elsewhere.
    """

    agent: RL2Agent
    memory: MemoryConfig
    learning_rate: float
    length: int
    episodes: int
    horizon: int
    slots: int = 0


@dataclass(frozen=True)
class IterationView:
    """One iteration as a level sees it when it consolidates: learning from it is done.

    Attributes:
        agent: the fast policy as it is now; its learnt weights are not to be changed.
        rollout: the iteration's trials, those with physics faults left out; at least one.
        inputs: packed inputs of the trials, on the agent's device.
        recall: what of episodic memory each trial was allowed to see.
        number: iterations consolidated so far, this one included.
        rng: a function of (seed, iteration), shared by all levels in their order.
    """

    agent: RL2Agent
    rollout: Rollout
    inputs: Float[Tensor, "time trial input"]
    recall: Int[Tensor, " trial"]
    number: int
    rng: np.random.Generator


class Level:
    """A store that does nothing yet: subclasses write what they have.

    A level that is read while acting hangs in the agent, which workers copy (`agents.recall`); all
    others are read by their `loss` alone. Names of tensors and of state must differ between levels.
    """

    def loss(self, view: MinibatchView) -> Tensor | None:
        """Read: a scalar that pulls the fast policy, or None; see `LongTerm.loss`."""
        return None

    def consolidate(self, view: IterationView) -> dict[str, float]:
        """Write, once per iteration. Returns metrics, logged under ``memory/``."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that a checkpoint must hold to restore it exactly."""
        return {}

    def state(self) -> dict[str, Any]:
        """The same for JSON values."""
        return {}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take its own out of the tensors and the state of all levels.

        Raises:
            KeyError, RuntimeError, ValueError: they are of another configuration.
        """
