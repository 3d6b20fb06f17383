"""An agent of `train.maml` on the evaluation trials: before adaptation, and after each batch.

Episode 1 of the tables is acted by the weights that were learnt, episode e + 1 by the weights after
e inner steps on batches of episodes. No episode that is measured has been adapted to before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from agents.acting.place_aims import AIM_NUMBERS
from agents.rl2 import RL2Agent
from envs.pool.pool import Policy, WorkerPool
from envs.pool.shared_rollout import TrialBatch
from envs.trials.trial import Trial
from eval.goals.config import Settings, Subject
from eval.goals.measure import LANES, note
from eval.goals.metrics import Outcomes
from eval.memory_tests.fork_measure import ForkOutcomes, fork_outcomes
from train.algorithms.maml import Maml
from train.algorithms.rollout import Rollout
from train.collect import collect
from train.run.config import Config
from train.run.maml_config import MamlConfig

CHUNK = 20  # trials adapted to side by side


def adapting(agent: RL2Agent, config: Config, rollouts: int) -> Maml:
    """What adapts `agent` after each batch of `rollouts` episodes; it trains nothing."""
    assert isinstance(config, MamlConfig)
    return Maml(agent, dataclasses.replace(config.maml, rollouts=rollouts))


def run_adapted(learner: Maml, trials: Sequence[Trial], pool: WorkerPool) -> list[Rollout]:
    """Whole trials with adaptation, in chunks; a pure function of all but the pool.

    Raises:
        WorkerError: a worker failed for good.
    """
    tasks = tuple(dict.fromkeys(trial.task for trial in trials))

    def run(policy: Policy, few: Sequence[Trial]) -> Rollout:
        return collect(pool, policy, few, tasks=tasks, lanes=LANES)

    starts = range(0, len(trials), CHUNK)
    return [learner.collect(run, trials[first : first + CHUNK]) for first in starts]


def measure_adapted(subject: Subject, settings: Settings, pool: WorkerPool) -> Outcomes:
    """One trial per (task, goal): one episode before adaptation and one after each batch.

    Raises:
        WorkerError: a worker failed for good.
    """
    assert isinstance(subject.config, MamlConfig)
    rollouts, tasks = subject.config.maml.rollouts, tuple(subject.suite.split(settings.split))
    trials = subject.suite.evaluation_trials(
        settings.split,
        goals=settings.goals,
        episodes=(settings.episodes - 1) * rollouts + 1,
        horizon=settings.horizon,
        seed=settings.seed,
    )
    outcomes = Outcomes.empty(tasks, settings.goals, settings.episodes, settings.horizon)
    learner = adapting(subject.agent, subject.config, rollouts)
    for number, rollout in enumerate(run_adapted(learner, trials, pool)):
        chunk = trials[number * CHUNK : (number + 1) * CHUNK]
        few = [dataclasses.replace(trial, episodes=settings.episodes) for trial in chunk]
        note(outcomes, few, first_of_batches(rollout, rollouts))
    return outcomes


def first_of_batches(rollout: Rollout, rollouts: int) -> TrialBatch:
    """The first episode of each batch: what the weights do that are adapted to the ones before.

    A trial with a physics fault counts as faulted from its start.
    """

    def kept(values: np.ndarray) -> np.ndarray:
        apart = values.reshape(rollout.episodes, rollout.horizon, *values.shape[1:])
        return np.concatenate(apart[::rollouts])

    steps, trials = rollout.rewards.shape
    names = ("inputs", "actions", "log_probs", "rewards", "successes")
    return TrialBatch(
        **{name: kept(getattr(rollout, name).numpy()) for name in names},
        faults=kept(np.broadcast_to(~rollout.usable.numpy(), (steps, trials))),
        targets=np.zeros((trials, 3), np.float32),
        aims=np.zeros((trials, AIM_NUMBERS), np.float32),
        choices=kept(np.full((steps, trials), -1, np.int8)),
    )


def measure_adapted_fork(
    subject: Subject, trials: Sequence[Trial], pool: WorkerPool
) -> ForkOutcomes:
    """FORK trials whose attempts but the last are the one batch that is adapted to.

    Raises:
        WorkerError: a worker failed for good.
    """
    learner = adapting(subject.agent, subject.config, trials[0].episodes - 1)
    found = run_adapted(learner, trials, pool)
    choices = [rollout.choices.T.numpy() for rollout in found if rollout.choices is not None]
    faults = [~rollout.usable.numpy() for rollout in found]
    return fork_outcomes(trials, np.concatenate(choices), np.concatenate(faults), None)
