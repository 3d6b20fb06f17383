"""results/retention.json of a stream as checked values: a run folder may be a stranger's."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from envs.memory_tests.fork import UNCOMMITTED
from train.run.config import Config
from train.run.origin import Origin
from train.run.retention_log import FORK_FIELDS, RECORD, Evaluation, facts_of
from train.run.run_files import MOST_STEPS, RESULT_LIMIT, Field, RunError, read_object
from train.run.stream_config import StreamConfig


def earlier_evaluations(origin: Origin, config: StreamConfig) -> list[Evaluation]:
    """What the run that is continued has recorded up to its checkpoint; the first learner keeps it.

    Raises:
        RunError: its record is missing, lacks an evaluation, or is no sound file of this stream;
            the message names file and field.
    """
    if origin.saved is None or origin.ranks is not None:
        return []
    due = [step for step in config.stream().evaluation_steps() if step <= origin.saved.step]
    if origin.home is None:
        text = f"{origin.saved.path} comes without the {len(due)} evaluations before it"
        warnings.warn(f"{text}: eval.continual and eval.report need them all", stacklevel=2)
        return []
    if not os.path.lexists(origin.home / RECORD):
        raise RunError(f"{origin.home / RECORD} is missing, with all evaluations so far")
    found = read_object(origin.home / RECORD, RESULT_LIMIT)
    values = checked_record(found, config)["evaluations"]
    for number, point in enumerate(found["evaluations"].elements()):
        _check_all_of(point, config, values[number - 1]["step"] if number else -1)
    kept = [Evaluation.from_json(v) for v in values if v["step"] <= origin.saved.step]
    if lost := sorted(set(due) - {evaluation.step for evaluation in kept}):
        raise RunError(f"{found.path}: evaluations lacks the one at step {lost[0]}")
    return kept


def checked_record(found: Field, config: Config) -> dict[str, Any]:
    """The record of a stream, whose every field that a report needs is right.

    Raises:
        RunError: naming file and field.
    """
    if not isinstance(config, StreamConfig):
        raise RunError(f"{found.path} is of a stream and its run's config.json is not")
    stream = config.stream()
    if found["stream"].value != facts_of(stream):
        raise found["stream"].wrong("the stream of its run's config.json")
    how = found["evaluation"]
    goals, episodes = how["goals"].whole(1), how["episodes"].whole(1)
    how["horizon"].whole(1)
    how["split"].text()
    found["parameters"].whole()
    if "stored" in found.value:
        found["stored"].whole()
    if type(found["complete"].value) is not bool:
        raise found["complete"].wrong("true or false")
    tasks, rows = len(stream.tasks), len(stream.phases) + 1
    matrix = found["matrix"]["R"]
    matrix.array(rows if found["complete"].value else -1, tasks, episodes, least=0, most=1)
    for point in found["evaluations"].elements():
        point["step"].whole()
        shape = tasks, goals, episodes
        point["success"].array(*shape, least=0, most=1)
        for name, most in (("steps_to_success", MOST_STEPS), ("share_in_success", 1)):
            if point.value.get(name) is not None:
                point[name].array(*shape, least=0, most=most)
        _check_forks(point, config, shape)
    return found.value


def _check_forks(point: Field, config: StreamConfig, shape: tuple[int, int, int]) -> None:
    """What an evaluation holds of FORK trials, and of no others."""
    if config.fork is None:
        for name in FORK_FIELDS:
            if point.value.get(name) is not None:
                raise point[name].wrong("left out in a stream without FORK trials")
        return
    for name, least in (("choices", UNCOMMITTED), ("targets", 0)):
        point[name].array(*shape, least=least, most=config.fork.options - 1)
    if "told" in point.value:
        point["told"].array(*shape[:2], least=0, most=1)


def _check_all_of(point: Field, config: StreamConfig, after: int) -> None:
    """One evaluation, every field of it: it is written again with those that follow.

    Args:
        point: it.
        config: of the run.
        after: step of the evaluation before.
    """
    stream = config.stream()
    shape = len(stream.tasks), config.eval_goals, config.eval_episodes
    if unknown := sorted(point.value.keys() - Evaluation.__dataclass_fields__.keys()):
        raise point[unknown[0]].wrong("left out")
    step = point["step"].whole(after + 1)
    if step not in stream.evaluation_steps():
        raise point["step"].wrong("a step at which the stream is evaluated")
    if point["when"].value not in ("untrained", "middle", "end"):
        raise point["when"].wrong("untrained, middle or end")
    point["phase"].whole(0, len(stream.phases))
    point["faulted"].whole()
    point["returns"].array(*shape)
    for name in ("success", "last_step_success"):
        if not np.isin(point[name].array(*shape), (0, 1)).all():
            raise point[name].wrong("0 or 1 for each episode")
