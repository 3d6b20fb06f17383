"""Evaluate an agent of other people's: ``python -m eval.evaluate --agent my_module:load``.

The same trials, tables and JSON as for our own agents.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import tyro

from agents.acting.own import ActionsError, OwnAgent
from envs.memory_tests.fork import fork_settings
from envs.metaworld.suites import (
    GOALS_PER_TASK,
    SUITES,
    Suite,
    SuiteError,
    make_suite,
    suite_problems,
)
from envs.metaworld.task_env import TASKS
from envs.pool.pool import Policy, WorkerError, WorkerPool
from eval.goals.config import Settings, chosen_preset, defaults, fork_problems, nearest_folder
from eval.goals.elsewhere import file_name_of
from eval.goals.measure import measure, watch
from eval.goals.metrics import Outcomes, summarise
from eval.goals.progress import progress
from eval.goals.results import Evaluation, Measured, table_console
from eval.memory_tests.fork_evaluation import evaluate_own_on_fork
from eval.memory_tests.fork_results import ForkEvaluation
from eval.outcome import write_and_show
from eval.own_agents.load import file_name, load_own_agent, results_of
from eval.own_agents.runner import OwnAgentRunner
from train.run.checkpoint import Checkpoint
from train.run.command_line import read, read_some, shown_first, spelt, spelt_suite
from train.run.input_error import InputError
from train.run.run_folder import foreign_problems
from train.run.signals import INTERRUPTED
from train.run.verified_folder import environment

Hidden = tyro.conf.Suppress
_OURS = (
    "repeating", "deterministic", "untrained", "told", "forgetting", "lesions", "official",
    "official_rounds",
)  # fmt: skip
"""Options of a preset that only agents of ours have."""


@shown_first("agent", "preset", "split", "out", "workers", "suite", "task")
@dataclass(frozen=True)
class AgentSettings(Settings):
    """Measure an agent of your own on Meta-World's goals, with floor and ceiling."""

    agent: str = "my_module:load"
    """Module and function that gives the agent; see eval/own_agents and agents/acting/own.py."""
    suite: str = "ML10"
    """ML1 (with --task), ML10, ML25, ML45, MT10, MT50, a FORK suite such as FORK-reach-2, or custom
    (with --tasks)."""
    task: str | None = None
    """The task of ML1, e.g. reach-v3."""
    tasks: tuple[str, ...] = ()
    """Training tasks of a custom suite."""
    test_tasks: tuple[str, ...] = ()
    """Held-out tasks of a custom suite."""
    goals_seed: int = 1
    """Seed of the goals: the --seed of the runs to compare with."""
    # What only agents of ours have.
    source: Hidden[Path] = Path()
    which: Hidden[Literal["newest", "best"]] = "newest"
    core: Hidden[str | None] = None
    level: Hidden[int] = 1
    repeating: Hidden[bool] = False
    attempts: Hidden[int | None] = None
    lifetime: Hidden[int | None] = None
    deterministic: Hidden[bool] = False
    untrained: Hidden[bool] = False
    told: Hidden[bool] = False
    forgetting: Hidden[bool] = False
    lesions: Hidden[bool] = False
    official: Hidden[bool] = False
    official_rounds: Hidden[int | None] = None

    settled: ClassVar[frozenset[str]] = frozenset(_OURS)

    @property
    def name(self) -> str:
        """The agent's name as a part of a file's."""
        return file_name(self.agent)

    @property
    def what(self) -> str:
        """Suite, tasks and goals as a part of a file's name: ``ML1-reach-v3``."""
        tasks = (self.task,) if self.task else (*self.tasks, *self.test_tasks)
        goals = f"goals-seed{self.goals_seed}" if self.goals_seed != 1 else ""
        return "-".join(filter(None, (self.suite, file_name_of(tasks), goals)))

    def make_suite(self) -> Suite:
        """Tasks and goals. Raises InputError, which lists every problem."""
        kind = {"task": self.task, "tasks": self.tasks, "test_tasks": self.test_tasks}
        problems = self.problems() + suite_problems(self.suite, **kind)
        if (fork := fork_settings(self.suite)) is not None:
            problems += fork_problems(self, fork)
            if fork.lifetimes is not None:
                problems.append(
                    f"--suite {self.suite}: its stores are those of our agents: use a FORK suite"
                )
        if problems:
            raise InputError(problems)
        goals = max(GOALS_PER_TASK, self.train_goals)
        try:
            suite = make_suite(self.suite, **kind, seed=self.goals_seed, train_goals=goals)
            available = min(map(len, suite.split(self.split).values()))
        except SuiteError as error:
            raise InputError([str(error)]) from error
        if self.goals > available:
            raise InputError(
                [f"--goals {self.goals}: the {self.split} split has {available} per task"]
            )
        return suite


def evaluate_agent(agent: OwnAgent, settings: AgentSettings) -> Evaluation | ForkEvaluation:
    """Measure `agent`, and the floor and the ceiling that are asked for, on the same trials.

    Raises:
        InputError: the settings are wrong.
        ValueError: the agent gave something else than finite actions (B, 4).
        WorkerError: a worker failed for good.
    """
    suite = settings.make_suite()
    how = {"suite": suite.name, "seed": suite.seed, "agent": settings.agent}
    subject = Checkpoint(
        Path(settings.agent), 0, {}, {}, how, {"environment": environment(), "git_commit": None}
    )
    if suite.fork is not None:
        return evaluate_own_on_fork(agent, settings.name, subject, settings, suite)
    measured = {settings.agent: _timed(_outcomes_of_agent, agent, settings, suite)}
    for kind in ("random", "scripted"):
        if getattr(settings, kind):
            measured[kind] = _timed(_outcomes_of_kind, kind, settings, suite)
    record = {**settings.to_json(), "attempts": 0}
    return Evaluation(subject, suite, settings.split, record, measured, {})


def _timed(
    outcomes_of: Callable[[Any, AgentSettings, Suite], Outcomes],
    who: OwnAgent | str,
    settings: AgentSettings,
    suite: Suite,
) -> Measured:
    began = time.perf_counter()
    outcomes = outcomes_of(who, settings, suite)
    summary = summarise(outcomes, seed=settings.seed)
    return Measured(outcomes, summary, time.perf_counter() - began)


def _outcomes_of_agent(agent: OwnAgent, settings: AgentSettings, suite: Suite) -> Outcomes:
    with progress(settings.name, settings.steps(suite)) as report:
        runner = OwnAgentRunner(agent, settings.workers, report)
        return measure(Policy("own"), suite, settings.split, **_how(settings), pool=runner)


def _outcomes_of_kind(kind: str, settings: AgentSettings, suite: Suite) -> Outcomes:
    with (
        WorkerPool(settings.workers) as pool,
        progress(kind, settings.steps(suite)) as report,
        watch(pool, report),
    ):
        return measure(Policy(kind), suite, settings.split, **_how(settings), pool=pool)


def _how(settings: AgentSettings) -> dict[str, int]:
    names = ("goals", "episodes", "horizon", "seed")
    return {name: getattr(settings, name) for name in names}


def chosen_suite(argv: Sequence[str]) -> str:
    """The suite that the command line asks for."""

    @dataclass(frozen=True)
    class Chosen:
        suite: str = AgentSettings.suite

    return spelt_suite(read_some(Chosen, argv).suite, SUITES)


def own_defaults(preset: str, suite: str) -> dict[str, Any]:
    """Options that a preset sets on a suite, of those that an agent of one's own has."""
    values = defaults(preset, fork_settings(suite))
    return {name: value for name, value in values.items() if name not in _OURS}


def parse(argv: Sequence[str]) -> AgentSettings:
    """Read the command line; the preset's values are the defaults of the other options."""
    preset, suite = chosen_preset(argv), chosen_suite(argv)
    default = AgentSettings(preset=preset, suite=suite, **own_defaults(preset, suite))
    settings = read(AgentSettings, argv, "eval.evaluate --agent", default=default)
    return dataclasses.replace(
        settings,
        suite=suite,
        task=settings.task and spelt(settings.task, TASKS),
        tasks=tuple(spelt(task, TASKS) for task in settings.tasks),
        test_tasks=tuple(spelt(task, TASKS) for task in settings.test_tasks),
    )


def main(argv: Sequence[str]) -> int:
    """Parse, check everything, measure, write, print. Returns the exit code."""
    settings = parse(argv)
    suite = settings.make_suite()
    agent = load_own_agent(settings.agent)
    path = settings.out or results_of(settings.agent)
    if settings.out is None:
        path /= f"eval-{settings.what}-{settings.split}{settings.variant(suite.fork)}.json"
    if problems := foreign_problems(path, None):
        raise InputError(problems)
    if nearest_folder(path) is None:
        raise InputError([f"{path} cannot be written: name a file elsewhere with --out FILE"])
    try:
        evaluation = evaluate_agent(agent, settings)
    except (WorkerError, ActionsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing was written; run the same command again", file=sys.stderr)
        return INTERRUPTED
    return write_and_show(
        [path], lambda: evaluation.write(path), lambda: evaluation.show(table_console())
    )
