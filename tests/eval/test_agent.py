"""A trained agent in somebody's own loop does what it does in our workers."""

from pathlib import Path

import numpy as np
import pytest

from agents.acting.numpy_actor import NumpyActor
from agents.rl2 import actor_weights
from envs.trials.trial import Trial, TrialRunner
from eval.agent import load_agent
from train.run import checkpoint, state

ROOT = Path(__file__).resolve().parents[2]


def test_it_acts_as_in_a_trial(run: Path) -> None:
    """Two episodes: the inputs of memory are those of training, through the end of the first."""
    trial = Trial("reach-v3", (0.1, 0.6, 0.02, 0.1, 0.8, 0.2), 0, "train", 2, 6, 1)
    mine = load_agent(run, deterministic=True)
    agent, _ = state.load_agent(checkpoint.load(run))
    weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
    actor = NumpyActor(agent.config.core, weights, 1, deterministic=True)
    runner = TrialRunner("reach-v3")
    inputs = runner.begin(trial)
    reward, done = 123.0, False  # of no action: without meaning
    for _ in range(trial.steps):
        wanted, _ = actor.act(inputs[None].copy(), np.zeros((1, 4), np.float32))
        action = mine.act(inputs[:39].astype(np.float64), reward, done)
        assert np.array_equal(action, wanted[0].clip(-1, 1))
        step = runner.step(action)
        inputs, reward, done = runner.inputs, step.reward, step.done


def test_an_agent_of_fork_is_refused() -> None:
    """Its aims and its still steps belong to FORK's rules, which a bare environment has not."""
    with pytest.raises(checkpoint.CheckpointError, match=r"use eval\.api\.evaluate_fork"):
        load_agent(ROOT / "results/fork-reach-2/short/seed1")


def test_resetting_forgets(run: Path) -> None:
    agent = load_agent(run, deterministic=True)
    observations = np.random.default_rng(0).random((3, 39))
    first = [agent.act(o, 1.0) for o in observations]
    assert not np.array_equal(agent.act(observations[0], 1.0), first[0])
    agent.reset()
    assert np.array_equal([agent.act(o, 1.0) for o in observations], first)


def test_bad_input_is_named(run: Path) -> None:
    agent = load_agent(run)
    with pytest.raises(ValueError, match=r"observation must be \(39,\), not \(40,\)"):
        agent.act(np.zeros(40))
    with pytest.raises(ValueError, match="must be finite"):
        agent.act(np.zeros(39), float("nan"))
