"""Folders of a command line as runs, with every problem told at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eval.reporting.outside import load_result, merged
from eval.reporting.runs import Run, StreamRun, load_run, load_stream_run, mixed_recipes
from eval.streams.compare import by_arm
from train.run.config import stop
from train.run.printable import printable
from train.run.run_files import NotStartedError, RunError
from train.run.stream_config import StreamConfig

EXAMPLE = "name at least one run folder, e.g. runs/ML10-short-seed1"


def load_runs(folders: Sequence[Path], *, results: bool = False) -> tuple[list[Run], list[str]]:
    """Runs that have started, and one sentence on each that has not.

    Args:
        folders: of runs.
        results: take files too, the results of other people's agents.

    Raises:
        InputError: listing every folder that is no sound run; or no run has started.
    """
    problems, runs, left_out = [], [], []
    for folder in folders:
        try:
            is_result = results and folder.suffix == ".json"
            runs.append(load_result(folder) if is_result else load_run(folder))
        except NotStartedError:
            left_out.append(f"{printable(str(folder))} has not started: it is left out")
        except RunError as error:
            problems.append(str(error))
    if problems:
        stop(problems)
    if not runs:
        stop([*left_out, EXAMPLE])
    return merged(runs), left_out


def stream_groups(runs: Sequence[Run]) -> dict[str, list[StreamRun]]:
    """Runs of one stream by arm. Raises InputError, which lists every problem."""
    problems, loaded = [], []
    for run in runs:
        try:
            loaded.append(load_stream_run(run))
        except RunError as error:
            problems.append(str(error))
    try:
        groups = by_arm(loaded)
    except ValueError as error:
        stop([*problems, str(error)])
    if problems:
        stop(problems)
    return groups


def by_suite(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by suite or stream; those of one name but of other tasks are named with their tasks."""
    found: dict[str, dict[tuple[str, ...], list[Run]]] = {}
    for run in runs:
        config = run.config
        tasks = config.stream().tasks if isinstance(config, StreamConfig) else config.tasks
        name = config.task or config.suite
        found.setdefault(name, {}).setdefault(tuple(tasks), []).append(run)
    return {
        name if len(streams) == 1 else f"{name}: {', '.join(tasks)}": group
        for name, streams in found.items()
        for tasks, group in streams.items()
    }


def arms_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by what their column is called, each arm's in the order of their seeds."""
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        groups.setdefault(run.label, []).append(run)
    return groups


def group_runs(runs: Sequence[Run]) -> tuple[dict[str, list[Run]], list[str]]:
    """Runs of one suite by arm, and what is wrong with them."""
    groups = arms_of(runs)
    problems = mixed_recipes(groups)
    fields = ("suite", "task", "tasks", "test_tasks")
    suites = {tuple(getattr(run.config, name) for name in fields) for run in runs}
    if len(suites) > 1:
        problems.append("the runs are of different suites: report each by itself")
    for arm, group in groups.items():
        if len({run.seed for run in group}) < len(group):
            problems.append(f"two runs of {arm} have the same seed: give each once")
    return groups, problems
