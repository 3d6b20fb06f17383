"""Agents of other people's beside our runs: what ``eval.evaluate --agent`` wrote, as runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs.metaworld.task_env import MAX_HORIZON
from eval.goals.results import KIND as SUITE_KIND
from eval.memory_tests.fork_results import KIND as FORK_KIND
from eval.own_agents.load import file_name
from eval.reporting.runs import Run, checked_evaluation, checked_fork
from train.run.config import Config
from train.run.run_files import RESULT_LIMIT, Field, RunError, read_object

OURS = "stochastic"  # the policy that stands for the agent itself in the tables of a suite


def load_result(path: Path) -> Run:
    """Read a result of an agent of other people's; the run has no training and no parameters.

    Raises:
        RunError: the file is no such result.
    """
    found = read_object(path, RESULT_LIMIT)
    kind = found.value.get("kind")
    if kind not in (SUITE_KIND, FORK_KIND):
        raise RunError(f"{path} is no result: name what eval.evaluate --agent wrote, or a run")
    how = found["settings"]
    if "agent" not in how.value:
        raise RunError(f"{path} is a result of a run: name its run folder instead")
    agent, config = how["agent"].text(), _config(how)
    evaluations: dict[str, dict[str, Any]] = {}
    forks: dict[str, dict[str, Any]] = {}
    if kind == FORK_KIND:
        forks[path.name] = checked_fork(found)
    else:
        values = checked_evaluation(found)
        policies = values["policies"]
        if agent not in policies:
            raise found["policies"].wrong(f"measures of {agent}")
        named = {OURS if name == agent else name: policy for name, policy in policies.items()}
        evaluations[path.name] = {**values, "policies": named}
    name = file_name(agent)
    return Run(path, config, [], 0, float("nan"), None, evaluations, forks, agent=name)


def _config(how: Field) -> Config:
    """The suite and its goals as the configuration of a run on them."""

    def names(field: Field) -> tuple[str, ...]:
        return tuple(name.text() for name in field.elements())

    config = Config(
        suite=how["suite"].text(),
        task=None if how["task"].value is None else how["task"].text(),
        tasks=names(how["tasks"]),
        test_tasks=names(how["test_tasks"]),
        seed=how["goals_seed"].whole(),
        episodes=how["episodes"].whole(1),
        horizon=how["horizon"].whole(1, MAX_HORIZON),
    ).spelt()
    if problems := config.validate():
        raise RunError(f"{how.path}: {'; '.join(problems)}")
    return config


def merged(runs: Sequence[Run]) -> list[Run]:
    """Results of one agent on the same goals, e.g. of both splits, as one run."""
    found: dict[Any, Run] = {}
    for run in runs:
        config = run.config
        key = run.agent, run.seed, config.suite, config.task, config.tasks
        if run.agent is None:
            found[id(run)] = run  # given twice it is a mistake, to be told of
        elif key in found:
            first = found[key]
            found[key] = dataclasses.replace(
                first,
                evaluations=first.evaluations | run.evaluations,
                forks=first.forks | run.forks,
            )
        else:
            found[key] = run
    return list(found.values())
