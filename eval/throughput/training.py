"""End-to-end training, collection and learning together: sb3-contrib's RecurrentPPO and ours."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from agents.rl2 import AgentConfig
from envs.pool.pool import WorkerPool, available_cores
from eval.throughput.rivals import Entry, Setup, missing
from train.algorithms.ppo_config import PPOConfig
from train.collect import collect
from train.loop import iterate
from train.run.config import MAX_STEPS, Config
from train.run.origin import Origin
from train.run.program import started
from train.run.state import initialise


class RecurrentPPO:
    """sb3-contrib's recurrent PPO with an LSTM as wide as our memory and a critic like ours.

    Args:
        setup: tasks and environments.
        copies: environments per environment of the setup.
        options: hyperparameters that differ from its defaults.
    """

    def __init__(self, setup: Setup, *, copies: int = 1, **options: Any) -> None:
        from sb3_contrib import RecurrentPPO as Learner
        from stable_baselines3.common.vec_env import DummyVecEnv

        agent = AgentConfig()
        setup = dataclasses.replace(setup, envs=setup.envs * copies)
        torch.set_num_threads(available_cores())
        shape = {"pi": [], "vf": [agent.critic, agent.critic]}
        self._learner = Learner(
            "MlpLstmPolicy",
            DummyVecEnv(setup.makers),
            policy_kwargs={"lstm_hidden_size": agent.hidden, "net_arch": shape},
            device="cpu",
            seed=setup.seed,
            verbose=0,
            **options,
        )

    def run(self, steps: int) -> int:
        """Collect and learn for at least `steps` steps, in whole rollouts; returns how many."""
        torch.set_num_threads(available_cores())
        before = self._learner.num_timesteps
        self._learner.learn(steps, reset_num_timesteps=False)
        return self._learner.num_timesteps - before

    def close(self) -> None:
        """Free the environments."""
        self._learner.get_env().close()  # type: ignore[union-attr]


def our_config(setup: Setup, epochs: int, horizon: int = 250, core: str = "gru") -> Config:
    """Our defaults but for epochs and trials of 2 episodes; an iteration has 2 × envs trials."""
    config = Config(
        suite="custom",
        tasks=setup.suite.tasks,
        seed=setup.seed,
        trials=2 * setup.envs,  # as many as the tuned rival has environments: 40 on ML10
        episodes=2,
        horizon=horizon,
        agent=AgentConfig(core=core),
        ppo=PPOConfig(epochs=epochs, kl_stop=1e5),  # all passes, as the rival makes
        device="cpu",
    )
    return config.resolved(len(setup.suite.tasks))


class OurTraining:
    """Our own loop at its defaults but for epochs and trials of 2 episodes; see `train.rl2.train`.

    Args:
        setup: tasks and environments; an iteration has twice as many trials.
        epochs: passes over each iteration's data.
        horizon: steps of an episode; an iteration has two of them per trial.
        core: of the short-term memory.
    """

    def __init__(self, setup: Setup, *, epochs: int, horizon: int = 250, core: str = "gru") -> None:
        self._suite = setup.suite
        self._config = our_config(setup, epochs, horizon, core)
        self._state = initialise(self._config, setup.suite)
        self._pool = WorkerPool(self._config.workers)

    def run(self, steps: int) -> int:
        """Collect and learn for at least `steps` steps, in whole iterations; returns how many."""
        torch.set_num_threads(self._config.threads)
        config, state, began = self._config, self._state, self._state.steps
        while state.steps - began < steps:
            trials = self._suite.sample_trials(
                config.trials or 0,
                episodes=config.episodes,
                horizon=config.horizon,
                iteration=state.iteration,
                seed=config.seed,
            )
            policy, tasks = state.learner.policy(), self._suite.tasks
            rollout = collect(self._pool, policy, trials, tasks=tasks, lanes=config.lanes)
            state.learner.update(rollout, state.minibatch_rng(config.seed))
            state.learner.observe(rollout)
            state.iteration += 1
            state.steps += rollout.rewards.numel()
        return state.steps - began

    def close(self) -> None:
        """End the workers."""
        self._pool.close()


class OurLearners:
    """The same training, shared by one learner a core (docs/scaling.md).

    Args:
        setup: tasks and environments.
        epochs: passes over each iteration's data.
    """

    def __init__(self, setup: Setup, *, epochs: int) -> None:
        self._open = ExitStack()
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        self._config = dataclasses.replace(
            our_config(setup, epochs),
            learners=available_cores(),
            balance=False,
            run=folder / "run",
            total_steps=MAX_STEPS,
            evaluate_every=0,
        )
        self._suite = self._config.make_suite()  # as the other learners do
        state = self._open.enter_context(started(self._config, self._suite, Origin()))
        workers = state.ranks.workers(self._config.workers or 1)
        self._pool = self._open.enter_context(WorkerPool(workers))
        self._state = state

    def run(self, steps: int) -> int:
        """Collect and learn for at least `steps` steps, in whole iterations; returns how many."""
        torch.set_num_threads(self._config.threads)
        state, began = self._state, self._state.steps
        while state.steps - began < steps:
            state.ranks.any(False)  # the others go on, as `train.rl2` does
            where = self._pool, self._config, self._suite, state
            iterate(*where, tasks=self._suite.tasks, progress=state.steps / MAX_STEPS)
        return state.steps - began

    def close(self) -> None:
        """End all learners and their workers."""
        self._state.ranks.any(True)  # the others stop
        self._open.close()


# The best setting found on two cores: as many environments and as large minibatches as still help.
_TUNED = {"n_steps": 128, "batch_size": 1280, "n_epochs": 5}

TRAINING: dict[str, Entry] = {
    "rppo": Entry(
        "RecurrentPPO at its defaults (10 epochs)",
        RecurrentPPO,
        lambda: missing("sb3_contrib"),
    ),
    "rppo-tuned": Entry(
        "RecurrentPPO tuned for speed (5 epochs)",
        lambda setup: RecurrentPPO(setup, copies=2, **_TUNED),
        lambda: missing("sb3_contrib"),
    ),
    "train-10": Entry("Strata training (10 epochs)", lambda setup: OurTraining(setup, epochs=10)),
    "train-5": Entry("Strata training (5 epochs)", lambda setup: OurTraining(setup, epochs=5)),
    "train-5-learners": Entry(
        "Strata training (5 epochs), --learners: one a core",
        lambda setup: OurLearners(setup, epochs=5),
        lambda: "" if available_cores() > 1 else "there is only one core",
    ),
    "train-10-lstm": Entry(
        "Strata training (10 epochs), an LSTM as the rival's",
        lambda setup: OurTraining(setup, epochs=10, core="lstm"),
    ),
    "train-5-lstm": Entry(
        "Strata training (5 epochs), an LSTM as the rival's",
        lambda setup: OurTraining(setup, epochs=5, core="lstm"),
    ),
}
