"""A suite's trials by Gymnasium id, one at a time or many in worker processes.

gymnasium.make("Strata/Trials", suite="ML10", seed=1)
gymnasium.make_vec("Strata/Trials", num_envs=25, suite="ML10", split="test")
"""

from __future__ import annotations

from typing import Any

from envs.memory_tests.fork import FORKS
from envs.metaworld.suites import GOALS_PER_TASK, make_suite
from envs.pool.vector_env import TrialVectorEnv
from envs.trials.trial import Trial
from envs.trials.trial_env import TrialEnv

TRIALS = 1000  # of training, before they come again


def trials_of(
    suite: str,
    split: str = "train",
    *,
    count: int = TRIALS,
    episodes: int = 4,
    horizon: int = 125,
    seed: int = 1,
    **tasks: Any,
) -> list[Trial]:
    """`count` training trials of a suite, or one trial of each goal of the test split.

    Args:
        suite: ``ML1``, ``ML10``, …
        split: ``train`` or ``test``.
        count: training trials.
        episodes: K, of a trial.
        horizon: H, steps of an episode.
        seed: of goals and trials.
        tasks: ``task``, ``tasks`` and ``test_tasks`` of `make_suite`.

    Raises:
        SuiteError: the suite, a task or the split does not exist.
        ValueError: it is a FORK suite, whose trials have ids of their own.
    """
    made = make_suite(suite, seed=seed, **tasks)
    if made.fork is not None:
        plain = next((name for name in FORKS if f"{suite}-".startswith(f"{name}-")), None)
        if plain is None:
            raise ValueError(f"{suite} has stores, which no Gymnasium id has: use eval.evaluate")
        knobs = "" if plain == suite else f', suite="{suite}"'
        raise ValueError(f'make("Strata/{plain}"{knobs}) makes the trials of {suite}')
    settings: dict[str, Any] = {"episodes": episodes, "horizon": horizon, "seed": seed}
    if split == "train":
        return made.sample_trials(count, iteration=0, **settings)
    return made.evaluation_trials(split, goals=GOALS_PER_TASK, **settings)


def make_trial_env(suite: str, split: str = "train", **settings: Any) -> TrialEnv:
    """One trial at a time. Arguments as of `trials_of`."""
    return TrialEnv(trials_of(suite, split, **settings))


def make_trial_vector_env(
    suite: str,
    split: str = "train",
    *,
    num_envs: int = 1,
    workers: int | None = None,
    count: int = TRIALS,
    **settings: Any,
) -> TrialVectorEnv:
    """`num_envs` trials at a time in `workers` processes. Other arguments as of `trials_of`.

    Training trials are rounded up to whole rounds of `num_envs`; those of the test split must
    divide by it.
    """
    whole = -(-count // num_envs) * num_envs
    trials = trials_of(suite, split, count=whole, **settings)
    return TrialVectorEnv(trials, num_envs, workers=workers)
