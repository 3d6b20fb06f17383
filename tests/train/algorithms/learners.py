"""What the tests of PPO ask of a learner."""

from collections.abc import Callable

import numpy as np
import torch

from train.algorithms.ppo import PPO
from train.algorithms.rollout import Rollout
from train.long_term.contract import MinibatchView


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def weights_of(learner: PPO) -> dict[str, torch.Tensor]:
    """Copies of everything that learning may change."""
    state = learner.optimiser.state_dict()["state"]
    found = {f"agent.{n}": w for n, w in learner.agent.state_dict().items()}
    found |= {f"belief.{n}": w for n, w in learner.belief.state_dict().items()}
    found |= {f"critic.{n}": w for n, w in learner.critic.state_dict().items()}
    found |= {f"adam.{i}.{n}": w for i, slots in state.items() for n, w in slots.items()}
    return {name: weight.clone() for name, weight in found.items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() <= after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


class Pull:
    """A long-term memory that is only a loss."""

    uses_boundaries = False

    def __init__(self, loss: Callable[[], torch.Tensor | None], cap: float = 1e9) -> None:
        self._loss, self.cap = loss, cap
        self.views: list[MinibatchView] = []

    def loss(self, view: MinibatchView) -> torch.Tensor | None:
        self.views.append(view)
        return self._loss()

    def consolidate(self, agent: object, rollout: Rollout, rng: np.random.Generator) -> dict:
        raise AssertionError("PPO must never write long-term memory")

    def end_phase(self, agent: object, rollout: Rollout, rng: np.random.Generator) -> None:
        raise AssertionError("PPO knows no phases")

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def state(self) -> dict:
        return {}

    def restore(self, tensors: dict, state: dict) -> None: ...
