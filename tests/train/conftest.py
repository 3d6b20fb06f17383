"""Made-up rollouts with the shapes of real ones: learning needs no simulator to be tested."""

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from agents.acting.numpy_actor import NumpyActor
from agents.belief import Belief
from agents.heads import GOAL_DIM, Critic
from agents.input_layout import ACTION_DIM, INPUT_DIM
from agents.rl2 import AgentConfig, RL2Agent, actor_weights
from train import loop
from train.algorithms.ppo import PPO
from train.algorithms.ppo_config import PPOConfig
from train.algorithms.rollout import Rollout

TASK_IDS = (0, 1, 0, 1, 1, 0)
EPISODES, HORIZON = 3, 7  # 21 steps: not a multiple of the tests' stretches


@pytest.fixture(scope="module", autouse=True)
def _lent(lent: None) -> None:
    """Programs run in this process share workers and goals."""


@pytest.fixture
def make_learner() -> Callable[..., PPO]:
    """A PPO with agent and critic, small, seeded, with all heads away from their zero start."""

    def make(
        core: str = "gru",
        *,
        privileged: bool = True,
        seed: int = 0,
        entries: int = 0,
        kinds: int = 0,
        **ppo: object,
    ) -> PPO:
        torch.manual_seed(seed)
        agent = RL2Agent(
            AgentConfig(core=core, hidden=12, encoder=10, entries=entries, read_every=3)
        )
        goals = {"goal_mean": torch.zeros(2, GOAL_DIM), "goal_scale": torch.ones(2, GOAL_DIM)}
        critic = Critic(2, **goals, memory_width=12, width=16, privileged=privileged)
        belief = Belief(2, **goals, hidden=12, kinds=kinds)
        with torch.no_grad():
            for layer in (agent.head.mean, critic.out, belief.out):
                layer.weight.normal_()
        agent.encoder.normaliser.update(0.5 + 2 * torch.randn(50, 39))
        options = {"bptt": 5, "minibatches": 3, "epochs": 2, "kl_stop": 1e4, **ppo}
        return PPO(agent, critic, belief, PPOConfig(**options))  # type: ignore[arg-type]

    return make


@pytest.fixture
def act() -> Callable[..., Rollout]:
    """A rollout of random inputs and rewards, acted by the NumPy path as in the workers."""

    def make(agent: RL2Agent, *, seed: int = 0) -> Rollout:
        rng = np.random.default_rng(seed)
        steps, trials = EPISODES * HORIZON, len(TASK_IDS)
        inputs = rng.standard_normal((steps, trials, INPUT_DIM), dtype=np.float32)
        noise = rng.standard_normal((steps, trials, ACTION_DIM), dtype=np.float32)
        weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
        actor = NumpyActor(agent.memory.stepper, weights, trials, recall=[0, 1, 2, 2, 1, 0])
        taken = [actor.act(x, n) for x, n in zip(inputs, noise, strict=True)]
        return Rollout(
            inputs=torch.from_numpy(inputs),
            actions=torch.from_numpy(np.stack([action for action, _ in taken])),
            log_probs=torch.from_numpy(np.stack([log_prob for _, log_prob in taken])),
            rewards=torch.from_numpy(rng.uniform(0, 10, (steps, trials)).astype(np.float32)),
            successes=torch.zeros(steps, trials, dtype=torch.bool),
            usable=torch.ones(trials, dtype=torch.bool),
            task_ids=torch.tensor(TASK_IDS),
            goals=torch.from_numpy(rng.random((trials, GOAL_DIM)).astype(np.float32)),
            episodes=EPISODES,
            recall=torch.tensor([0, 1, 2, 2, 1, 0]),
            kinds=torch.tensor([0, 0, 1, 1, 2, 2]),
        )

    return make


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sends this process a real SIGTERM in the middle of the given iteration, once."""

    def arrange(iterations: int) -> None:
        original, seen = loop.collect, []

        def collect(*args: Any, **options: Any) -> Any:
            seen.append(1)
            if len(seen) == iterations:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(*args, **options)

        monkeypatch.setattr(loop, "collect", collect)

    return arrange
