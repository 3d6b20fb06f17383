"""Evaluation and watching from Python: what the programs do, with values and typed errors.

    from eval.api import evaluate, watch

    found = evaluate("runs/reach-v3-short-seed1", preset="quick")
    found.policies["stochastic"].summary.mean.success[-1]    # Interval(value=…, low=…, high=…)
    watch("runs/reach-v3-short-seed1", task=("reach-v3",))   # [Path("…/watch-reach-v3-….mp4")]

Options are the fields of `eval.goals.config.Settings` and `eval.viewing.watch_config.Settings`,
which are the options of the programs. Nothing here ends the process.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from agents.acting.own import OwnAgent
from envs.memory_tests.fork import fork_settings
from eval import evaluate as _evaluate
from eval import watch as _watch
from eval.goals.config import (
    PRESETS,
    Settings,
    adapts_by_gradient,
    defaults,
    fork_of,
    load_subject,
)
from eval.goals.results import Evaluation
from eval.memory_tests.fork_results import ForkEvaluation
from eval.memory_tests.recall_results import RecallEvaluation
from eval.own_agents.program import AgentSettings, evaluate_agent, own_defaults
from eval.viewing.watch_config import Settings as WatchSettings
from eval.viewing.watch_config import prepare, usual_shape
from train.run.console import forgiving_console
from train.run.input_error import InputError


def evaluate(run: Path | str | OwnAgent, *, preset: str = "full", **options: Any) -> Evaluation:
    """Measure the agent of a run, or an agent of your own; nothing is written.

    Args:
        run: run folder, a checkpoint in it, or an `OwnAgent`, which needs `suite` as an option.
        preset: defaults of the other options, ``full`` or ``quick``.
        options: fields of `Settings`, or of `AgentSettings` for an agent of your own.

    Returns:
        All outcomes and their summaries; ``.show(console)`` prints the tables, ``.write(path)``
        keeps the JSON.

    Raises:
        InputError: an option is wrong, or there is no usable checkpoint; it lists every problem.
        WorkerError: a worker failed for good.
    """
    with forgiving_console():
        found = _evaluated(run, preset, options)
    if not isinstance(found, Evaluation):
        raise InputError(["FORK is measured by evaluate_fork, RECALL by evaluate_recall"])
    return found


def evaluate_fork(
    run: Path | str | OwnAgent, *, preset: str = "full", **options: Any
) -> ForkEvaluation:
    """Measure memory on a FORK suite (docs/memory-benchmarks.md); nothing is written.

    Arguments and errors are those of `evaluate`; defaults are the suite's own.
    """
    with forgiving_console():
        found = _evaluated(run, preset, options)
    if not isinstance(found, ForkEvaluation):
        raise InputError(["evaluate_fork measures FORK suites: use evaluate"])
    return found


def evaluate_recall(
    run: Path | str | OwnAgent, *, preset: str = "full", **options: Any
) -> RecallEvaluation:
    """Measure recall on a RECALL suite (docs/memory-benchmarks.md); nothing is written.

    Arguments and errors are those of `evaluate`; defaults are the suite's own.
    """
    with forgiving_console():
        found = _evaluated(run, preset, options)
    if not isinstance(found, RecallEvaluation):
        raise InputError(["evaluate_recall measures RECALL suites: use evaluate"])
    return found


def watch(run: Path | str | None = None, **options: Any) -> list[Path]:
    """Draw whole trials into a video, or show them in a window with ``live=True``.

    Args:
        run: run folder or a checkpoint in it; None with ``random`` or ``scripted``.
        options: fields of `eval.viewing.watch_config.Settings`.

    Returns:
        The files written, the mp4 first; none where it was live.

    Raises:
        InputError: an option is wrong, or nothing here can render; it lists every problem.
        GLError: drawing failed.
        OSError: a file cannot be written.
    """
    settings = _settings(WatchSettings, source=None if run is None else Path(run), **options)
    usual = {n: value for n, value in usual_shape(settings).items() if n not in options}
    settings = dataclasses.replace(settings, **usual)
    program = prepare(settings)
    if settings.live:
        _watch.watch_live(program.policy, program.slots, lanes=program.lanes, own=program.own)
        return []
    written: list[Path] = []
    with forgiving_console():
        _watch.write(settings, program, written)
    return written


def _settings(kind: Any, **options: Any) -> Any:
    """Settings of `kind`; InputError names an option that there is not."""
    unknown = sorted(options.keys() - kind.__dataclass_fields__.keys())
    if unknown:
        names = ", ".join(sorted(kind.__dataclass_fields__))
        raise InputError([f"there is no option {name}" for name in unknown], f"there are: {names}")
    return kind(**options)


def _evaluated(run: Path | str | OwnAgent, preset: str, options: dict[str, Any]) -> _evaluate.Found:
    if preset not in PRESETS:
        raise InputError([f"preset {preset!r} is none of {', '.join(PRESETS)}"])
    if isinstance(run, OwnAgent):
        values = own_defaults(preset, options.get("suite", AgentSettings.suite))
        options = {"agent": type(run).__name__, **values, **options}
        return evaluate_agent(run, _settings(AgentSettings, preset=preset, **options))
    fork = fork_settings(options.get("suite") or "") or fork_of(Path(run))
    adapts = adapts_by_gradient(Path(run))
    options = {**defaults(preset, fork, adapts=adapts), **options}
    settings = _settings(Settings, source=Path(run), preset=preset, **options)
    return _evaluate.evaluate(settings, load_subject(settings))
