"""One policy on the evaluation trials of a FORK suite: what it touched, and what counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.rl2 import RL2Agent
from envs.memory_tests.fork import STILL
from envs.memory_tests.fork_table import bayes, play
from envs.metaworld.suites import Suite
from envs.pool.pool import Policy
from envs.trials.block import Runners
from envs.trials.trial import Trial
from eval.goals.measure import LANES, Runner, chunk_size


@dataclass(frozen=True)
class ForkOutcomes:
    """What happened in N trials of K attempts; attempts in another scene are left out.

    Attributes:
        scenes: (N,) the task of each trial.
        choices: (N, K) target touched, -1 for none and from a physics fault on.
        targets: (N, K) target that counted.
        faults: (N,) bool, the physics became unstable; later attempts then count as failed.
        believed: (N, K) the likeliest target by the agent's belief at the last still step, when
            the last outcome was shown and nothing was touched; None where there is no belief.
        places: (N,) number of the object's placement, which trials of joints share; None: no two
            trials have one layout.
    """

    scenes: tuple[str, ...]
    choices: np.ndarray
    targets: np.ndarray
    faults: np.ndarray
    believed: np.ndarray | None = None
    places: np.ndarray | None = None

    def of(self, scene: str) -> ForkOutcomes:
        """The trials of one scene."""
        rows = np.array(self.scenes) == scene
        believed = None if self.believed is None else self.believed[rows]
        places = None if self.places is None else self.places[rows]
        names = (scene,) * int(rows.sum())
        return ForkOutcomes(
            names, self.choices[rows], self.targets[rows], self.faults[rows], believed, places
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "axes": ["trial", "attempt"],
            "scenes": list(self.scenes),
            "choices": self.choices.tolist(),
            "targets": self.targets.tolist(),
            "faults": self.faults.astype(int).tolist(),
            "believed": None if self.believed is None else self.believed.tolist(),
        }


def measure_fork(
    policy: Policy,
    trials: Sequence[Trial],
    *,
    pool: Runner,
    believer: RL2Agent | None = None,
) -> ForkOutcomes:
    """Run FORK trials, all of one suite; a pure function of all but the pool.

    Args:
        policy: an agent (`train.collect.acting_policy`) or ``random``. One that is told and acts on
            its memory is shown the targets in its input, as in practice.
        trials: with forks.
        pool: runs them.
        believer: the agent, where its belief is to be read from the inputs of its trials.

    Raises:
        WorkerError: a worker failed for good.
    """
    if policy.told and not policy.aims:
        trials = [dataclasses.replace(trial, practise=True, shown=True) for trial in trials]
    horizon, size = trials[0].horizon, chunk_size(trials[0].steps, len(trials), pool.workers)
    choices, faults, believed = [], [], []
    for first in range(0, len(trials), size):
        batch = pool.run(trials[first : first + size], policy, lanes=LANES)
        choices.append(batch.choices[horizon - 1 :: horizon].T.astype(int))
        faults.append(batch.faults[-1])
        if believer is not None and believer.belief is not None:
            believed.append(likeliest(believer, torch.from_numpy(batch.inputs), horizon))
    return fork_outcomes(
        trials,
        np.concatenate(choices),
        np.concatenate(faults),
        np.concatenate(believed) if believed else None,
    )


@torch.no_grad()
def likeliest(
    agent: RL2Agent, inputs: Tensor, horizon: int, *, store: Tensor | None = None
) -> np.ndarray:
    """(B, K): the target that the belief holds likeliest at the last still step of each attempt.

    Later in an attempt the belief follows the hand: in practice the hand moves to the truth.

    Args:
        agent: with a belief.
        inputs: (K × H, B, input) of whole trials.
        horizon: H.
        store: what each trial may recall (`memory.lifetimes`), of an agent that reads one.
    """
    assert agent.belief is not None
    hidden, _ = agent.remember(inputs, agent.initial_state(inputs.shape[1], store=store))
    return agent.belief(hidden[STILL - 1 :: horizon]).argmax(dim=-1).T.numpy()


def play_table(
    suite: Suite, trials: Sequence[Trial], *, seed: int, report: Callable[[int], None]
) -> ForkOutcomes:
    """Trials of an agent that moves by script and remembers what it tried, as Bayes would.

    Args:
        suite: the trials'.
        trials: with forks.
        seed: of its choices among targets that are alike.
        report: called with the environment steps done so far.
    """
    assert suite.fork is not None
    runners, rng = Runners(), np.random.default_rng([seed, 18])
    choose, choices = bayes(suite.fork.switch), []
    try:
        for number, trial in enumerate(trials, start=1):
            choices.append(play(runners.idle(trial, ()), trial, choose, rng))
            report(number * trial.steps)
    finally:
        runners.close()
    return fork_outcomes(trials, np.array(choices), np.zeros(len(trials), dtype=bool), None)


def fork_outcomes(
    trials: Sequence[Trial], choices: np.ndarray, faults: np.ndarray, believed: np.ndarray | None
) -> ForkOutcomes:
    """Outcomes of N trials out of (N, K) choices and beliefs and (N,) faults."""
    forks = [trial.fork for trial in trials if trial.fork is not None]
    own = list(forks[0].attempts)
    targets = np.array([fork.targets for fork in forks])
    met = [(trial.task, tuple(trial.goal)) for trial in trials]  # goals come round again
    shared = not any(fork.sites for fork in forks)  # sites differ in every trial
    return ForkOutcomes(
        tuple(trial.task for trial in trials),
        choices[:, own],
        targets[:, own],
        faults,
        None if believed is None else believed[:, own],
        np.array([list(dict.fromkeys(met)).index(one) for one in met]) if shared else None,
    )
