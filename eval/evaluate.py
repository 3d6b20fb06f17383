"""Evaluate a run or a checkpoint: ``python -m eval.evaluate runs/ML10-short-seed1``.

    python -m eval.evaluate RUN                     everything, on the test split
    python -m eval.evaluate RUN --preset quick      a first look in a minute or two
    python -m eval.evaluate RUN --split train       on the goals that were trained on
    python -m eval.evaluate RUN --task push-v3      on a task that it was not trained on
    python -m eval.evaluate --agent my_module:load --suite ML10    an agent of your own

A run on a FORK or RECALL suite gets the measures of memory instead (docs/memory-benchmarks.md). A
run of train.maml is measured before adaptation (episode 1) and after each batch that it adapts to.

Headline figures come from a fixed number of episodes per (task, goal); Meta-World's own figure
stands beside them, labelled. Exit codes: 0 done, 1 failed, 2 bad input (nothing written), 75
interrupted.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

from envs.pool.pool import Policy, WorkerError, WorkerPool, available_cores
from eval.goals.adapted import measure_adapted
from eval.goals.believed import Believed, Believer
from eval.goals.config import Settings, Subject, load_subject, nearest_folder, parse
from eval.goals.floors import untrained
from eval.goals.lifetime import Ring, measure_lifetimes
from eval.goals.measure import LANES, measure, watch
from eval.goals.metrics import summarise
from eval.goals.progress import progress
from eval.goals.results import REPEATING, Evaluation, Measured, table_console
from eval.memory_tests.fork_evaluation import evaluate_fork, fork_policies
from eval.memory_tests.fork_results import ForkEvaluation
from eval.memory_tests.recall_evaluation import evaluate_recall, recall_policies
from eval.memory_tests.recall_results import RecallEvaluation
from eval.official.meta_evaluation import (
    ADAPTATION_EPISODES,
    OfficialResult,
    official_envs,
    official_evaluation,
    official_plan,
)
from eval.outcome import write_and_show
from train.collect import acting_policy
from train.run.checkpoint import environment_difference
from train.run.config import stop
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input
from train.run.run_folder import foreign_problems, results_folder
from train.run.signals import INTERRUPTED, interrupt_on_signals

Found = Evaluation | ForkEvaluation | RecallEvaluation


def evaluate(settings: Settings, subject: Subject) -> Found:
    """Measure the agent, the floors and the ceiling that are asked for, and the official figure.

    Raises:
        WorkerError: a worker failed for good.
    """
    if subject.suite.lifetimes is not None:
        return evaluate_recall(settings, subject)
    if subject.suite.fork is not None:
        return evaluate_fork(settings, subject)
    suite, split = subject.suite, settings.split
    measured = {}
    with WorkerPool(settings.workers) as pool:
        chosen = policies(settings, subject)
        if subject.config.adapts:
            del chosen["stochastic"]
            measured["stochastic"] = adapted(settings, subject, pool)
        for part, (name, policy) in enumerate(chosen.items(), start=1):
            began, steps = time.perf_counter(), settings.steps(suite)
            runner = believer(settings, subject, pool) if name == "stochastic" else None
            with progress(name, steps, part, len(chosen)) as report, watch(pool, report):
                outcomes = measure(
                    policy,
                    suite,
                    split,
                    goals=settings.goals,
                    episodes=settings.episodes,
                    horizon=settings.horizon,
                    seed=settings.seed,
                    pool=runner or pool,
                )
            summary, seconds = summarise(outcomes, seed=settings.seed), time.perf_counter() - began
            measured[name] = Measured(outcomes, summary, seconds, runner and runner.found)
        measured |= lifetimes(settings, subject, pool)
    official = official_figures(settings, subject)  # after the pool: its processes need the cores
    how = {**settings.to_json(), "attempts": settings.attempted, "lanes": LANES}
    return Evaluation(subject.saved, suite, split, how, measured, official)


def believer(settings: Settings, subject: Subject, pool: WorkerPool) -> Believer | None:
    """The pool, noting what the agent believes; None where that is not a belief over places."""
    if not subject.agent.config.over_places:
        return None
    tasks = tuple(subject.suite.split(settings.split))
    return Believer(pool, subject.agent, Believed.empty(tasks, settings.goals, settings.episodes))


def adapted(settings: Settings, subject: Subject, pool: WorkerPool) -> Measured:
    """An agent of `train.maml`, adapted to each goal."""
    began = time.perf_counter()
    outcomes = measure_adapted(subject, settings, pool)
    summary = summarise(outcomes, seed=settings.seed)
    return Measured(outcomes, summary, time.perf_counter() - began)


def lifetimes(settings: Settings, subject: Subject, pool: WorkerPool) -> dict[str, Measured]:
    """The agent in each trial of its goals' lifetimes; nothing where none is asked for.

    Raises:
        WorkerError: a worker failed for good.
    """
    if not settings.lifetime:
        return {}
    began, steps = time.perf_counter(), settings.lifetime * settings.steps(subject.suite)
    with progress("lifetimes", steps) as report, watch(pool, report):
        found = measure_lifetimes(
            subject.agent,
            subject.suite,
            settings.split,
            goals=settings.goals,
            episodes=settings.episodes,
            horizon=settings.horizon,
            trials=settings.lifetime,
            seed=settings.seed,
            pool=pool,
            ring=Ring.of(subject.saved, subject.agent, subject.config),
        )
    seconds = (time.perf_counter() - began) / len(found)
    return {
        f"trial {number}": Measured(outcomes, summarise(outcomes, seed=settings.seed), seconds)
        for number, outcomes in enumerate(found, start=1)
    }


def policies(settings: Settings, subject: Subject) -> dict[str, Policy]:
    """What `settings` asks to measure, by the names that the tables show.

    ``told`` is for agents that act on a belief, and ``repeating`` for the others: who draws an aim
    for each attempt has a search of its own.
    """
    agent = acting_policy(subject.agent)
    chosen = {"stochastic": agent}
    if settings.told and agent.aims:
        chosen["told"] = dataclasses.replace(agent, told=True)
    if settings.attempted and not agent.aims:
        chosen["repeating"] = acting_policy(subject.agent, attempts=settings.attempted)
    if settings.deterministic:
        chosen["deterministic"] = acting_policy(subject.agent, deterministic=True)
    if settings.untrained:
        chosen["untrained"] = acting_policy(untrained(subject))
    if settings.random:
        chosen["random"] = Policy(kind="random")
    if settings.scripted:
        chosen["scripted"] = Policy(kind="scripted")
    return chosen


def official_figures(settings: Settings, subject: Subject) -> dict[str, OfficialResult]:
    """Meta-World's own figure, where it is asked for and the suite has one, by who acted.

    Raises:
        WorkerError: an environment failed.
    """
    suite, split = subject.suite, settings.split
    if not settings.official or not suite.goal_hidden:
        return {}
    plan = official_plan(suite, split, settings.official_rounds, settings.horizon)
    workers, found = settings.workers or available_cores(), {}
    asked = {"official": 0}
    if settings.repeating and subject.agent.body is None:
        asked[REPEATING] = ADAPTATION_EPISODES
    for name, attempts in asked.items():
        with (
            official_envs(suite, split, plan, workers=workers) as envs,
            progress(name, plan.steps) as report,
        ):
            policy = acting_policy(subject.agent, attempts=attempts)
            found[name] = official_evaluation(
                policy, envs, plan, seed=settings.seed, on_steps=report
            )
    return found


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Parse, check everything, measure, write, print. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if any(word.partition("=")[0] == "--agent" for word in argv):
        from eval.own_agents import program  # which measures with what is defined here

        return program.main(argv)
    settings = parse(argv)
    try:
        subject = load_subject(settings)
        path = result_path(settings, subject)
        banner(settings, subject)
        evaluation = evaluate(settings, subject)
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing was written; run the same command again", file=sys.stderr)
        return INTERRUPTED
    return conclude(evaluation, path)


def conclude(evaluation: Found, path: Path | None) -> int:
    """Write the JSON, then print the tables. Returns the exit code."""
    paths = [] if path is None else [path]
    return write_and_show(
        paths, lambda: evaluation.write(paths[0]), lambda: evaluation.show(table_console())
    )


def result_path(settings: Settings, subject: Subject) -> Path | None:
    """Where the JSON goes; None, with a note, where the run folder cannot take it.

    Its name says what was measured, so that a smaller evaluation never replaces a full one.
    """
    saved = subject.saved
    if settings.out is not None:
        if problems := foreign_problems(settings.out, saved):
            stop(problems)
        return settings.out
    folder = results_folder(saved, brief=settings.preset == "quick")
    if folder is None:
        print(f"note: {saved.path} is in no folder of its run: keep the result with --out FILE")
        return None
    asked = settings.variant(subject.suite.fork, adapts=subject.config.adapts)
    what = f"{settings.elsewhere.label}{asked}"
    path = folder / f"eval-{settings.split}-{saved.step:012d}{what}.json"
    if nearest_folder(path) is None:
        print(f"note: {path.parent} cannot be written: keep the result with --out FILE")
        return None
    return path


def banner(settings: Settings, subject: Subject) -> None:
    """Say what is about to be measured, and what is not."""
    suite, saved = subject.suite, subject.saved
    tasks = len(suite.split(settings.split))
    goals, chosen = "goals", policies
    if suite.fork is not None:
        goals, chosen = "trials", fork_policies
    if (life := suite.lifetimes) is not None:
        goals, chosen = "lifetimes", recall_policies
        if not life.flat:
            goals += f" × {life.exposures} exposures × {life.contexts} contexts"
    label = subject.config.label + (f", level {settings.level}" if settings.level > 1 else "")
    print(
        f"Strata evaluation of {saved.path} ({label}, step {saved.step:,})\n"
        f"  {suite.name} {settings.split}: {tasks} {'task' if tasks == 1 else 'tasks'} × "
        f"{settings.goals} {goals} × {settings.episodes} "
        f"{'episodes' if suite.fork is None else 'attempts'} × {settings.horizon} steps; "
        + ", ".join(chosen(settings, subject)),
        flush=True,
    )
    for change in environment_difference(saved.manifest):
        print(f"  note: {change}")
    if settings.official and suite.missing:
        print("  note: Meta-World's own evaluator hides no observation, whatever --missing says")
    if settings.official and not suite.goal_hidden:
        print("  note: Meta-World's meta-evaluation is for the ML suites; it is left out")


if __name__ == "__main__":
    interrupt_on_signals()  # as Ctrl-C: no worker is left behind
    sys.exit(main())
