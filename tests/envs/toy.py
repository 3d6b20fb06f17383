"""A suite that needs no simulator, for what only draws trials."""

from envs.metaworld.suites import Suite
from envs.metaworld.task_env import TASKS
from envs.trials.trial import Trial

LENGTH = {"episodes": 2, "horizon": 5}


def toy_suite(tasks: int = 3, goals: int = 4) -> Suite:
    """Made-up goals: sampling needs no simulator."""

    def split(offset: float) -> dict[str, tuple[tuple[float, ...], ...]]:
        return {TASKS[t]: tuple((offset, t, g) for g in range(goals)) for t in range(tasks)}

    return Suite("toy", 1, split(0.0), split(1.0))


def trials_of(suite: Suite, count: int, *, iteration: int = 0, seed: int = 1) -> list[Trial]:
    return suite.sample_trials(count, **LENGTH, iteration=iteration, seed=seed)
