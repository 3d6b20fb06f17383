"""Finished or unfinished runs as data: what `eval.continual` and `eval.report` read of a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from agents.rl2 import parameter_count
from eval.goals.results import KIND as SUITE_KIND
from eval.memory_tests.extinction import KIND as EXTINCTION_KIND
from eval.memory_tests.extinction import MEASURES as EXTINCTION
from eval.memory_tests.fork_results import KIND as FORK_KIND
from eval.memory_tests.recall_results import KIND as RECALL_KIND
from eval.streams.fork_retention import ForkPoints
from eval.streams.retention import Matrix, steps_to
from eval.traces.results import KIND as TRACES_KIND
from eval.traces.results import checked_traces
from train.long_term.arms import ARM_REGISTRY, HIERARCHICAL, Arm
from train.long_term.config import MemoryConfig
from train.long_term.reference import ReferenceConfig
from train.run.config import CHANGEABLE, HOW_IT_ENDS, Config
from train.run.config_io import flatten
from train.run.log import METRICS, TIMING
from train.run.origin import command
from train.run.retention_file import checked_record
from train.run.retention_log import KIND
from train.run.run_files import (
    CONFIG_LIMIT,
    RESULT_LIMIT,
    Field,
    NotStartedError,
    RunError,
    read_lines,
    read_object,
)
from train.run.run_folder import holds_a_checkpoint
from train.run.stream_config import StreamConfig, read_config

UNLIKE = (CHANGEABLE - HOW_IT_ENDS) | {"seed", "run", "lanes"}
"""Fields in which the seeds of one recipe may differ."""
GAINS = ("gain", "last_step_gain", "steps_gain", "share_gain")


@dataclass(frozen=True)
class Run:
    """One run of any training program.

    Attributes:
        folder: where it is.
        config: of the run.
        rows: lines of metrics.jsonl.
        parameters: of the policy; 0 where nothing says.
        seconds: of collecting, learning and evaluating, as far as timing.jsonl tells.
        record: results/retention.json of a stream, else None.
        evaluations: other evaluations in results/, by file name (see `eval.evaluate`).
        forks: likewise those on a FORK suite (see `eval.memory_tests.fork_results`).
        extinctions: likewise those of `eval.extinction`.
        agent: name of an agent of other people's, of which there is nothing but results.
        recalls: likewise those on the run's own RECALL suite.
        traces: what `eval.traces` found out, by file name.
    """

    folder: Path
    config: Config
    rows: list[dict[str, Any]]
    parameters: int
    seconds: float
    record: dict[str, Any] | None
    evaluations: dict[str, dict[str, Any]]
    forks: dict[str, dict[str, Any]] = field(default_factory=dict)
    extinctions: dict[str, dict[str, Any]] = field(default_factory=dict)
    agent: str | None = None
    recalls: dict[str, dict[str, Any]] = field(default_factory=dict)
    traces: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def arm(self) -> str:
        """Memory configuration or reference learner."""
        return self.config.arm

    @property
    def label(self) -> str:
        """What the run's column is called."""
        return self.agent or self.config.label

    @property
    def seed(self) -> int:
        """Training seed."""
        return self.config.seed

    @property
    def recipe(self) -> dict[str, Any]:
        """What seeds of an arm share: the configuration by field, without what has no effect."""
        values = {n: v for n, v in flatten(self.config) if n not in UNLIKE}
        if getattr(self.config, "schedule", None) == "constant":
            values["ppo.final_learning_rate"] = values["ppo.learning_rate"]
        if values["ppo.final_learning_rate"] == values["ppo.learning_rate"]:
            values["ppo.anneal"] = None  # it has nothing to lower
        # An arm from a user's file may use all that there is.
        arm = ARM_REGISTRY.own.get(self.config.arm, HIERARCHICAL)
        if not arm.episodic or self.config.lifetimes is None:
            values["agent.relevance_rate"] = None
        if not arm.long_term and arm.large_as is None:
            values |= {name: None for name in values if name.startswith("memory.")}
        return values

    @property
    def steps(self) -> int:
        """Environment steps trained, as far as is known."""
        return self.rows[-1]["step"] if self.rows else 0

    @property
    def complete(self) -> bool:
        """Whether the run reached its end."""
        return self.agent is not None or self.steps >= (self.config.total_steps or 0)

    def curve(self, name: str) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Steps and values of one logged metric where it was logged and finite."""
        pairs = [(row["step"], row[name]) for row in self.rows if row.get(name) is not None]
        return np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs], float)


@dataclass(frozen=True)
class StreamRun:
    """One complete run of a stream.

    Attributes:
        run: the folder's content.
        matrix: R.
        areas: mean training success over each phase's own steps (AUC); NaN for the joint arm.
        phase_steps: environment steps of each phase.
        cycles: how often the task order was gone through.
        forks: what it chose at each evaluation, in a stream of FORK trials; else None.
    """

    run: Run
    matrix: Matrix
    areas: Float[np.ndarray, " phase"]
    phase_steps: int
    cycles: int
    forks: ForkPoints | None = None

    @property
    def label(self) -> str:
        """The arm, with how much it stores or how strongly it holds where that was searched."""
        config, searched = self.run.config, []
        assert isinstance(config, StreamConfig)
        arm = ARM_REGISTRY.own.get(config.arm, Arm())
        if arm.replay and config.memory.reservoir != MemoryConfig.reservoir:
            searched.append(f"reservoir {config.memory.reservoir}")
        if config.arm == "ewc" and config.reference.ewc != ReferenceConfig.ewc:
            searched.append(f"λ {config.reference.ewc:g}")
        return config.label + (f" ({', '.join(searched)})" if searched else "")

    @property
    def sought(self) -> str:
        """The logged success that says when a task is learnt: in FORK that of the second attempt.

        It takes no more than two to find out what counts, for one who knows which two can.
        """
        return "train/success" if self.forks is None else "train/success_by_episode/2"

    @property
    def evaluated(self) -> tuple[tuple[str, Any], ...]:
        """How: goals, episodes, horizon and split."""
        assert self.run.record is not None
        how = self.run.record["evaluation"]
        return tuple((name, how[name]) for name in sorted(how) if name != "seed")

    def times_to(self, level: float | dict[str, float]) -> Float[np.ndarray, "cycle task"]:
        """Steps of its phase until each task's training success reached `level`; inf: never.

        Args:
            level: for all tasks, or by task name.
        """
        tasks = self.matrix.tasks
        times = np.full((self.cycles, len(tasks)), np.inf)
        for number, task in enumerate(self.matrix.phases):
            wanted = level[tasks[task]] if isinstance(level, dict) else level
            steps, success = self.phase_curve(number, self.sought)
            times[number // len(tasks), task] = steps_to(steps, success, wanted)
        return times

    def phase_curve(
        self, number: int, name: str = "train/success"
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Steps of phase `number` gone, and training success (last episode), per iteration."""
        steps, success = self.run.curve(name)
        start = number * self.phase_steps
        inside = (steps > start) & (steps <= start + self.phase_steps)
        return steps[inside] - start, success[inside]


def load_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        NotStartedError: it has not trained an iteration.
        RunError: it is no run folder, or a file in it is not what it has to be.
    """
    if not (folder / "config.json").exists():
        raise RunError(f"{folder} is no run folder: name one, e.g. runs/CL5x2-short-seed1")
    config = _config(folder / "config.json")
    rows = read_lines(folder / METRICS) if (folder / METRICS).exists() else []
    if not rows and holds_a_checkpoint(folder):
        raise RunError(
            f"{folder / METRICS} holds no whole line, though the run has checkpoints: restore it "
            "from a copy, or leave the run out"
        )
    if not rows:
        raise NotStartedError(f"{folder} has logged nothing yet: let it train an iteration")
    record, evaluations, forks, extinctions = None, {}, {}, {}
    recalls, traces = {}, {}
    for path in sorted((folder / "results").glob("*.json")):
        found = read_object(path, RESULT_LIMIT)
        if found.value.get("kind") == KIND:
            record = checked_record(found, config)
        elif found.value.get("kind") == SUITE_KIND and not _elsewhere(found, config):
            evaluations[path.name] = checked_evaluation(found)
        elif found.value.get("kind") == FORK_KIND and not _elsewhere(found, config):
            forks[path.name] = checked_fork(found)
        elif found.value.get("kind") == RECALL_KIND and not _elsewhere(found, config):
            recalls[path.name] = checked_recall(found)
        elif found.value.get("kind") == EXTINCTION_KIND:
            extinctions[path.name] = checked_extinction(found)
        elif found.value.get("kind") == TRACES_KIND:
            traces[path.name] = checked_traces(found)
    parameters = record["parameters"] if record else _parameters(config)
    told = record, evaluations, forks, extinctions
    return Run(
        folder, config, rows, parameters, _seconds(folder), *told, recalls=recalls, traces=traces
    )


def _config(path: Path) -> Config:
    values = read_object(path, CONFIG_LIMIT)
    try:
        config = read_config(values.value)
        problems = config.without_own_parts().validate()
    except (ValueError, TypeError, OverflowError) as error:
        problems = [str(error)]
    if problems:
        wrong = "; ".join(problems)
        raise RunError(f"{path}: {wrong}: restore it from a copy, or leave the run out")
    return config


def _elsewhere(found: Field, config: Config) -> bool:
    """Whether an evaluation is of other tasks than the run's own (`eval.evaluate --suite`)."""
    how = found["settings"].value
    if not isinstance(how, dict):
        return False
    return how.get("suite") not in (None, config.suite) or bool(how.get("task") or how.get("tasks"))


def checked_evaluation(found: Field) -> dict[str, Any]:
    """A result of `eval.evaluate`, whose every field that a report needs is what it has to be."""
    found["checkpoint"]["step"].whole()
    how = found["settings"]
    how["split"].text()
    for name in ("goals", "episodes"):
        how[name].whole(1)
    if "level" in how.value:
        how["level"].whole(1)
    for _, policy in found["policies"].members():
        mean = policy["summary"]["mean"]
        _check_row(mean)
        for _, row in policy["summary"]["tasks"].members():
            _check_row(row)
            for name, _ in mean.members():  # which says what was measured
                row[name]
    return found.value


def checked_fork(found: Field) -> dict[str, Any]:
    """A result of `eval.evaluate` on a FORK suite, checked likewise."""
    single = ("memory_index", "win_stay", "lose_shift", "perseveration")
    return _checked_memory_test(found, single, "success", "attempt")


def checked_recall(found: Field) -> dict[str, Any]:
    """A result of `eval.evaluate` on a RECALL suite, checked likewise."""
    return _checked_memory_test(found, ("recall_index", "gain"), "first", "exposure")


def _checked_memory_test(
    found: Field, single: Sequence[str], curve: str, point: str
) -> dict[str, Any]:
    """A result whose policies have single intervals, and a curve with one for each point."""
    found["checkpoint"]["step"].whole()
    how = found["settings"]
    how["split"].text()
    how["goals"].whole(1)
    for _, policy in found["policies"].members():
        summary = policy["summary"]
        for name in single:
            _check_interval(summary[name])
        if not summary[curve].value:
            raise summary[curve].wrong(f"an interval for each {point}")
        for interval in summary[curve].elements():
            _check_interval(interval)
    return found.value


def checked_extinction(found: Field) -> dict[str, Any]:
    """A result of `eval.extinction`, checked likewise."""
    found["checkpoint"]["step"].whole()
    for _, level in found["levels"].members():
        for name in EXTINCTION:
            level[name].number()
    return found.value


def _check_interval(interval: Field) -> None:
    """A value and its two bounds, each of which may be unknown."""
    numbers = interval.elements()
    if len(numbers) != 3:
        raise interval.wrong("a value and its two bounds")
    for bound in numbers:
        if bound.value is not None:
            bound.number()


def _check_row(row: Field) -> None:
    """One row of a summary: intervals, one an episode or, of a gain, a single one."""
    for name in ("success", "last_step_success"):
        row[name].elements()
    for name, values in row.members():
        if name not in GAINS and not values.value:
            raise values.wrong("an interval for each episode")
        for interval in [values] if name in GAINS else values.elements():
            _check_interval(interval)
            interval.elements()[0].number()


def load_stream_run(run: Run) -> StreamRun:
    """What a complete stream left behind.

    Raises:
        RunError: the run is of no stream, or has not come to its end.
    """
    record, config = run.record, run.config
    if record is None or not isinstance(config, StreamConfig):
        raise RunError(
            f"{run.folder} is of no stream: python -m train.continual makes such runs, and "
            "python -m eval.report shows others too"
        )
    if not record["complete"]:
        raise RunError(
            f"{run.folder} has not come to its end: "
            + command("train.continual", "--resume", run.folder)
        )
    facts = record["stream"]
    tasks = tuple(facts["tasks"])
    phases = tuple(tasks.index(task) for task in facts["phases"])
    matrix = Matrix(tasks, phases, np.array(record["matrix"]["R"], dtype=float))
    areas, forks = np.full(len(phases), np.nan), ForkPoints.of(record)
    found = StreamRun(run, matrix, areas, facts["phase_steps"], facts["cycles"], forks)
    if run.arm != "joint":
        for number in range(len(phases)):
            found.areas[number] = found.phase_curve(number)[1].mean()
    return found


def mixed_recipes(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """What is wrong with runs that stand as the seeds of one arm, one sentence for each group."""
    found = []
    for arm, group in groups.items():
        recipes = [run.recipe for run in group]
        if len({_parent(run) for run in group}) == 1:  # each seed begun as its own seed of one run
            recipes = [{**recipe, "init_from": None} for recipe in recipes]
        unlike = [
            f"{name} ({', '.join(sorted({repr(recipe[name]) for recipe in recipes}))})"
            for name in recipes[0]
            if any(recipe[name] != recipes[0][name] for recipe in recipes)
        ]
        if unlike:
            found.append(
                f"the runs of {arm} are of different recipes, {', '.join(unlike)}: report each by "
                "itself"
            )
    return found


def _parent(run: Run) -> str:
    """The run whose weights it began with, whatever the seed if that is its own."""
    return re.sub(rf"seed{run.seed}(?!\d)", "seed", str(run.config.init_from))


def _seconds(folder: Path) -> float:
    if not (folder / TIMING).exists():
        return float("nan")
    rows = read_lines(folder / TIMING)
    names = ("collect_seconds", "learn_seconds", "evaluate_seconds")
    return float(sum(row.get(name) or 0.0 for row in rows for name in names))


def _parameters(config: Config) -> int:
    """Weights of the policy; 0 where a user's own parts say, which are not imported."""
    return 0 if config.without_own_parts() != config else parameter_count(config.network)
