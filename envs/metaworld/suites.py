"""Suites: named Meta-World tasks with their train and test goals.

Goals come from Meta-World's own seeded benchmark classes: 50 per task and split. For training more
can be drawn by the same task code, because 50 are few enough to be learnt by heart (in reach the
visible place of the puck gives each away; docs/decisions.md). ``ML1-train`` here really is train:
`gymnasium.make_vec("Meta-World/ML1-train")` of Meta-World 3.1.1 returns the test split.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from envs.memory_tests.fork import (
    FORKS,
    KNOBS,
    REACH_GOAL,
    RECALL_KNOBS,
    RECALLS,
    ForkSettings,
    Lifetimes,
    fork_settings,
)
from envs.memory_tests.lifetimes import evaluation_rounds, first_trial, training_round
from envs.metaworld.goals import Goals, further_goals, goals_of, without_settling
from envs.metaworld.task_env import TASKS
from envs.trials.practice import Proposal
from envs.trials.sampling import deal, proposed_rounds
from envs.trials.trial import Trial

SUITES = ("ML1", "ML10", "ML25", "ML45", "MT10", "MT50", *FORKS, *RECALLS, "custom")
GOALS_PER_TASK = 50
FORK_TEST_TRIALS = 400  # of each task; those of joints share 50 placements


class SuiteError(ValueError):
    """The suite, a task or a split asked for does not exist; the message says what to type."""


@dataclass(frozen=True)
class Suite:
    """Tasks and goals of a benchmark.

    Attributes:
        name: e.g. ``ML10``.
        seed: seed of the benchmark class that drew the goals.
        train: task name -> goals, each goal the task's ``rand_vec`` in metres.
        test: likewise; empty for the MT suites, which have no held-out part.
        goal_hidden: True for ML (the agent must find the goal), False for MT.
        fork: what its trials test of memory; None: they are trials of the tasks themselves.
        missing: chance that a step's observation is hidden.
    """

    name: str
    seed: int
    train: Goals
    test: Goals
    goal_hidden: bool = True
    fork: ForkSettings | None = None
    missing: float = 0.0

    @property
    def tasks(self) -> tuple[str, ...]:
        """Training tasks, in the suite's own order."""
        return tuple(self.train)

    @property
    def overlap(self) -> tuple[str, ...]:
        """Test tasks that are also training tasks though the suite holds out whole tasks.

        Meta-World's ML25 lists basketball in both; ML1 and custom suites hold out goals, not tasks.
        """
        shared = tuple(task for task in self.test if task in self.train)
        return () if len(shared) == len(self.test) else shared

    def split(self, name: str) -> Goals:
        """Goals of split `name`. Raises SuiteError where the suite has no such split."""
        goals = {"train": self.train, "test": self.test}.get(name)
        if not goals:
            raise SuiteError(
                f"suite {self.name} has no split {name!r}: use --split "
                + ("train" if self.train and not self.test else "train or --split test")
            )
        return goals

    def sample_trials(
        self,
        count: int,
        *,
        episodes: int,
        horizon: int,
        iteration: int,
        seed: int,
        proposals: float = 0.0,
        vary: bool = False,
        success: Mapping[str, float] | None = None,
    ) -> list[Trial]:
        """`count` training trials for one iteration, a pure function of its arguments.

        Without `success` trial i is of task i modulo the number of tasks; within a task goals are
        drawn without replacement while they last. The share `proposals` of each task's trials is
        of proposed tasks (`envs.trials.practice`).

        Args:
            count: trials.
            episodes: K, of each.
            horizon: H, steps of an episode.
            iteration: of training.
            seed: of the run.
            proposals: share of proposed tasks, rounded to whole rounds of all tasks; where it is
                above 0 and there are two rounds or more, one at least is proposed and one is not.
            vary: whether the scenes of proposed tasks are varied.
            success: of each task so far; where given, trials that are not proposed go to the tasks
                by what they lack of it (`envs.trials.sampling`).
        """
        if self.lifetimes is not None:
            like = self._plain("train", self.tasks[0], 0, episodes, horizon, seed=0)
            goals = self.train[self.tasks[0]]
            assert self.fork is not None
            return training_round(self.fork, like, goals, count, iteration=iteration, seed=seed)
        rng = np.random.default_rng([seed, iteration, 0])
        tasks = self.tasks
        rounds = -(-count // len(tasks))
        picks = {task: _permuted(len(self.train[task]), rounds, rng) for task in tasks}
        seeds = rng.integers(2**63, size=count)
        proposed = proposed_rounds(proposals, rounds) * len(tasks)
        order = [tasks[i % len(tasks)] for i in range(count)]
        if success is not None:
            lots = np.random.default_rng([seed, iteration, 6])
            order[proposed:] = deal(order[proposed:], success, lots)
        trials, dealt = [], Counter[str]()
        for i, task in enumerate(order):
            goal = int(picks[task][dealt[task] % len(picks[task])])
            dealt[task] += 1
            trial = self.trial("train", task, goal, episodes, horizon, seed=int(seeds[i]))
            if i < proposed:
                trial = dataclasses.replace(trial, proposal=Proposal.draw(trial.seed, vary=vary))
            trials.append(trial)
        return trials

    def evaluation_trials(
        self, split: str, *, goals: int, repeats: int = 1, episodes: int, horizon: int, seed: int
    ) -> list[Trial]:
        """The same `goals` goals of every task of `split`, `repeats` trials each.

        A pure function of its arguments, so all arms are evaluated on the same trials. Trials are
        ordered goal by goal with the tasks interleaved.
        """
        chosen = self.split(split)
        rng = np.random.default_rng([seed, 0, 1])  # [seed, 1] would equal [seed, 1, 0]
        trials = []
        for goal in range(goals):
            for task, vectors in chosen.items():
                for _ in range(repeats):
                    noise_seed = int(rng.integers(2**63))
                    trials.append(
                        self.trial(
                            split, task, goal % len(vectors), episodes, horizon, seed=noise_seed
                        )
                    )
        return trials

    def trial(
        self, split: str, task: str, goal: int, episodes: int, horizon: int, *, seed: int
    ) -> Trial:
        """The trial of one goal of a split; `seed` is its own."""
        trial = self._plain(split, task, goal, episodes, horizon, seed=seed)
        if self.fork is None:
            return trial
        if self.fork.lifetimes is not None:
            return first_trial(self.fork, trial, self.split(split)[task], goal)
        return dataclasses.replace(trial, fork=self.fork.draw(task, seed, episodes, split=split))

    def _plain(
        self, split: str, task: str, goal: int, episodes: int, horizon: int, *, seed: int
    ) -> Trial:
        """The same without what it tests of memory."""
        vector = self.split(split)[task][goal]
        sizes = episodes, horizon, seed, self.goal_hidden
        return Trial(task, vector, goal, split, *sizes, missing=self.missing)

    @property
    def lifetimes(self) -> Lifetimes | None:
        """Of RECALL; None where the trials have nothing in common."""
        return None if self.fork is None else self.fork.lifetimes

    def lifetime_rounds(
        self, split: str, slots: int, *, episodes: int, horizon: int, seed: int
    ) -> list[list[Trial]]:
        """Trials of one lifetime in each of `slots` slots of RECALL, round by round."""
        assert self.fork is not None
        task = next(iter(self.split(split)))
        like = self._plain(split, task, 0, episodes, horizon, seed=0)
        return evaluation_rounds(self.fork, like, self.split(split)[task], slots, seed=seed)


def _permuted(goals: int, rounds: int, rng: np.random.Generator) -> np.ndarray:
    """At least so many rounds of goals, each once before any comes again."""
    return np.concatenate([rng.permutation(goals) for _ in range(-(-rounds // goals))])


def suite_problems(
    name: str, *, task: str | None, tasks: Sequence[str], test_tasks: Sequence[str]
) -> list[str]:
    """Everything wrong with a suite request, each a sentence that says what to type instead."""
    problems = []
    if name not in SUITES and fork_settings(name) is None:
        problems.append(f"unknown suite {name!r}{nearest(name, SUITES)}")
        if name.startswith("FORK"):
            problems[-1] += f"; what may follow the name of a FORK suite is {KNOBS}"
        if name.startswith("RECALL"):
            problems[-1] += f"; what may follow the name of a RECALL suite is {RECALL_KNOBS}"
    for flag, names in (("--task", [task] if task else []), ("--tasks", tasks)):
        problems += [
            f"{flag}: unknown task {name!r}{nearest(name, TASKS)}"
            for name in names
            if name not in TASKS
        ]
    problems += [
        f"--test-tasks: unknown task {name!r}{nearest(name, TASKS)}"
        for name in test_tasks
        if name not in TASKS
    ]
    if name == "ML1" and not task:
        problems.append("suite ML1 needs one task: add e.g. --task reach-v3")
    if name != "ML1" and task:
        problems.append(f"--task belongs to --suite ML1, not {name}: use --suite ML1 or --tasks")
    if name == "custom" and not tasks:
        problems.append("suite custom needs its tasks: add e.g. --tasks reach-v3 push-v3")
    if name != "custom" and (tasks or test_tasks):
        problems.append(f"--tasks and --test-tasks belong to --suite custom, not {name}")
    if len(set(tasks)) < len(tasks) or len(set(test_tasks)) < len(test_tasks):
        problems.append("--tasks and --test-tasks name each task once")
    if set(tasks) & set(test_tasks) and set(tasks) != set(test_tasks):
        problems.append("--tasks and --test-tasks share a task: held-out tasks must be new")
    return problems


def make_suite(
    name: str,
    *,
    task: str | None = None,
    tasks: Sequence[str] = (),
    test_tasks: Sequence[str] = (),
    seed: int = 1,
    train_goals: int = GOALS_PER_TASK,
    missing: float = 0.0,
) -> Suite:
    """Build a suite with the goals that Meta-World's benchmark class draws from `seed`.

    Args:
        name: one of SUITES.
        task: the task of ML1.
        tasks: training tasks of a custom suite.
        test_tasks: held-out tasks of a custom suite; without them its training tasks are tested
            on unseen goals, as in ML1.
        seed: seed of the benchmark object.
        train_goals: goals of each training task. The first 50 are the benchmark's own; further
            ones are drawn by the task's own reset code.
        missing: chance that a step's observation is hidden.

    Raises:
        SuiteError: listing everything wrong with the request.
    """
    problems = suite_problems(name, task=task, tasks=tasks, test_tasks=test_tasks)
    if problems:
        raise SuiteError("; ".join(problems))
    if (settings := fork_settings(name)) is not None:
        suite = fork_suite(name, settings, seed, train_goals)
        return dataclasses.replace(suite, missing=missing)
    with without_settling():
        suite = _official(name, task, tasks, test_tasks, seed)
        more = max(train_goals - GOALS_PER_TASK, 0)
        train = {
            t: (*goals, *further_goals(t, more, seed))[:train_goals]
            for t, goals in suite.train.items()
        }
    return dataclasses.replace(suite, train=train, missing=missing)


def _official(
    name: str, task: str | None, tasks: Sequence[str], test_tasks: Sequence[str], seed: int
) -> Suite:
    """The suite with the goals of Meta-World's benchmark object."""
    import metaworld

    if name == "custom":
        drawn = {t: metaworld.ML1(t, seed=seed) for t in dict.fromkeys([*tasks, *test_tasks])}
        train, test = {}, {}
        for t in tasks:
            train |= goals_of(drawn[t].train_tasks, drawn[t].train_classes)
        for t in test_tasks or tasks:
            test |= goals_of(drawn[t].test_tasks, drawn[t].test_classes)
        return Suite(name, seed, train, test)
    drawn = metaworld.ML1(task, seed=seed) if name == "ML1" else getattr(metaworld, name)(seed)
    hidden = name.startswith("ML")
    train = goals_of(drawn.train_tasks, drawn.train_classes, hidden=hidden)
    test = goals_of(drawn.test_tasks, drawn.test_classes, hidden=hidden) if hidden else {}
    return Suite(name, seed, train, test, goal_hidden=hidden)


def fork_suite(name: str, settings: ForkSettings, seed: int, train_goals: int) -> Suite:
    """A suite of FORK trials: as many goals of each task as trials are wanted of it.

    Those of reach are in one place; joints are placed as Meta-World's own ML1 places them.
    """
    if settings.scenes == ("reach",):
        test = {task: (REACH_GOAL,) * FORK_TEST_TRIALS for task in settings.tasks}
        train = {task: (REACH_GOAL,) * train_goals for task in settings.tasks}
    else:
        placed = make_suite("custom", tasks=settings.tasks, seed=seed, train_goals=train_goals)
        rounds = FORK_TEST_TRIALS // GOALS_PER_TASK
        train, test = placed.train, {t: goals * rounds for t, goals in placed.test.items()}
    return Suite(name, seed, train, test, fork=settings)


def nearest(name: str, choices: Sequence[str]) -> str:
    """What was probably meant by an unknown `name`, as the end of a sentence."""
    found = difflib.get_close_matches(name, choices, n=2, cutoff=0.5)
    if not found:
        return f": choose from {', '.join(choices)}"
    return f": did you mean {' or '.join(found)}?"
