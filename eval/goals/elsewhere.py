"""Evaluating a trained agent on other tasks than those of its run."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from envs.memory_tests.fork import fork_settings
from envs.metaworld.suites import SUITES, Suite, make_suite, suite_problems
from envs.metaworld.task_env import TASKS
from train.run.command_line import spelt, spelt_suite
from train.run.config import Config

_NAMED = 3  # tasks that a file's name may list


def file_name_of(tasks: Sequence[str]) -> str:
    """Tasks as a part of a file's name; empty where there are none."""
    names = "+".join(tasks)
    return names if len(tasks) <= _NAMED else f"{len(tasks)}-tasks-{zlib.crc32(names.encode()):08x}"


@dataclass(frozen=True)
class Elsewhere:
    """Tasks that are asked for instead of the run's own.

    Attributes:
        suite: name of the suite; None: what `task` or `tasks` say.
        task: the one task, of ML1.
        tasks: the tasks, of a custom suite, tested on unseen goals.
    """

    suite: str | None = None
    task: str | None = None
    tasks: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.suite or self.task or self.tasks)

    @property
    def name(self) -> str:
        """The suite that is meant."""
        if self.suite is not None:
            return spelt_suite(self.suite, SUITES)
        return "ML1" if self.task else "custom"

    @property
    def label(self) -> str:
        """A part of a file's name: ``-on-ML1-reach-v3``; empty where nothing is asked for."""
        if not self:
            return ""
        tasks = [self.task] if self.task else list(self.tasks)
        names = file_name_of([spelt(task, TASKS) for task in tasks])
        return "-".join(["-on", self.name, *([names] if names else [])])

    def problems(self, config: Config) -> list[str]:
        """Why the agent of the run `config` cannot be evaluated there."""
        if not self:
            return []
        asked, own = fork_settings(self.name), config.fork
        if asked is not None and own is not None:
            if (own.scenes, own.options) != (asked.scenes, asked.options):
                return [f"--suite {self.name}: the agent of {config.suite} has other targets"]
            if own.lifetimes is not None and asked.lifetimes is None:
                return [f"--suite {self.name}: a run on {config.suite} is evaluated on RECALL only"]
            return []
        if asked is not None:
            return [f"--suite {self.name}: FORK is for runs that were trained on it"]
        if config.fork is not None:
            return [f"--suite {self.name}: a run on {config.suite} is evaluated there only"]
        return suite_problems(self.name, **self._tasks)

    def make_suite(self, seed: int, train_goals: int, *, missing: float = 0.0) -> Suite:
        """The suite, with goals of the run's seed. Raises SuiteError where there is none."""
        return make_suite(
            self.name, **self._tasks, seed=seed, train_goals=train_goals, missing=missing
        )

    @property
    def _tasks(self) -> dict:
        return {
            "task": self.task and spelt(self.task, TASKS),
            "tasks": tuple(spelt(task, TASKS) for task in self.tasks),
            "test_tasks": (),
        }
