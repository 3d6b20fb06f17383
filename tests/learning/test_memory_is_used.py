"""The point of RL²: what the first episode of a trial showed is used in the next ones."""

import numpy as np
import pytest
from toys import EPISODES, HORIZON, collect, make_trials, success_by_episode, train

from agents.input_layout import INPUT_DIM
from agents.rl2 import AgentConfig, RL2Agent
from memory.cores.registry import CORES
from train.algorithms.ppo_config import PPOConfig


def trained(core: str) -> RL2Agent:
    """Plain RL²: no belief loss, so that reinforcement alone has to teach the memory."""
    agent = AgentConfig(core=core, hidden=32, encoder=32, critic=32)
    rates = {"learning_rate": 5e-3, "final_learning_rate": 1e-3, "anneal": 1.0}
    ppo = PPOConfig(**rates, belief=0.0, minibatches=4, bptt=EPISODES * HORIZON)
    return train(agent, ppo, iterations=30, trials=48)


OTHERS = [core for core in CORES if core not in ("gru", "none")]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "core", ["gru", *(pytest.param(core, marks=pytest.mark.slow) for core in OTHERS)]
)
def test_a_recurrent_agent_remembers_across_episodes(core: str) -> None:
    """Chance in the first episode, where nothing can be known, and certainty in the others.

    Fresh trials, fixed seeds. Memory cleared at inner boundaries, rewards or actions not shown, or
    credit cut there would each leave the agent at chance.
    """
    first, second, last = success_by_episode(trained(core))
    assert 0.35 <= first <= 0.65
    assert second >= 0.95
    assert last >= 0.95


@pytest.mark.timeout(1200)
def test_without_memory_it_stays_at_chance() -> None:
    """The same training with `none`: the toy has no other way from one episode to the next."""
    assert success_by_episode(trained("none"))[-1] < 0.65


def test_the_toy_says_nothing_at_the_start_of_an_episode() -> None:
    """Guards the guard: an input that gave the sign away would make memory look used."""
    agent = RL2Agent(AgentConfig(hidden=8, encoder=8))
    rollout = collect(agent, make_trials(64, np.random.default_rng(0)))
    assert rollout.inputs.shape == (EPISODES * HORIZON, 64, INPUT_DIM)
    starts = rollout.inputs[::HORIZON]
    assert (starts == starts[:, :1]).all()
    assert 0.3 < float(rollout.success_by_episode().mean()) < 0.7
    assert float(rollout.rewards[::HORIZON].max()) == 10.0
    assert (rollout.rewards.reshape(EPISODES, HORIZON, -1)[:, 1:] == 0).all()
