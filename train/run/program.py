"""What all training programs do alike around their training: start, exit codes, last words."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from envs.metaworld.suites import Suite
from envs.pool.pool import WorkerError
from envs.viewing.gl import GLError, backend
from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError, environment_difference
from train.run.config import Config, parse, stop
from train.run.input_error import exits_on_bad_input
from train.run.rollback import DivergedError
from train.run.signals import INTERRUPTED, StopSignal
from train.run.state import TrainState, initialise

ConfigT = TypeVar("ConfigT", bound=Config)


@exits_on_bad_input
def run_program(
    argv: Sequence[str] | None,
    kind: type[ConfigT],
    program: str,
    run: Callable[[ConfigT, Checkpoint | None, StopSignal], bool],
) -> int:
    """Parse the command line, run, and say how to go on.

    Args:
        argv: arguments; None takes the process's own.
        kind: the program's configuration.
        program: its name, for messages.
        run: trains; True when finished, False when stopped by a signal.

    Returns:
        0 finished, 1 failed, 75 interrupted and resumable; bad input ends with 2.
    """
    with StopSignal() as stop_signal:
        config = None
        try:
            config, resume = parse(sys.argv[1:] if argv is None else argv, kind, program)
            if run(config, resume, stop_signal):
                return 0
        except (WorkerError, DivergedError, CheckpointError, OSError) as error:
            print(f"error: {error}\n{_how_to_go_on(config, program)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            pass
        print(f"interrupted; {_how_to_go_on(config, program)}")
        return INTERRUPTED


def refuse(config: Config, *, resumed: bool, program: str) -> None:
    """End with exit code 2 if this run cannot start here, naming everything that is wrong."""
    problems = config.validate() + checkpoint.check_run_folder(config.run_folder)
    if config.device == "cuda" and not torch.cuda.is_available():
        problems.append("--device cuda: torch sees no CUDA GPU here; use --device auto or cpu")
    if config.video_every > 0:
        try:
            backend()
        except GLError as error:
            problems.append(f"--video-every: {error}")
    if not resumed and _holds_a_run(config):
        problems.append(
            f"{config.run_folder} already holds a run: continue it with python -m {program} "
            f"--resume {config.run_folder}, or choose another folder with --run"
        )
    if problems:
        stop(problems)


def start(config: Config, suite: Suite, resume: Checkpoint | None) -> TrainState:
    """A new learner, or the one of a checkpoint; exit code 2 where that does not fit."""
    state = initialise(config, suite)
    if resume:
        try:
            state.restore(resume)
        except CheckpointError as error:
            stop([str(error)])
        for change in environment_difference(resume.manifest):
            warnings.warn(f"resuming will not be bit-exact: {change}", stacklevel=1)
    return state


def _how_to_go_on(config: Config | None, program: str) -> str:
    if config is None or not _holds_a_run(config):
        return "nothing was saved yet: run the same command again"
    return f"resume: python -m {program} --resume {config.run_folder}"


def _holds_a_run(config: Config) -> bool:
    """Whether there is a checkpoint, good or bad, in the run folder."""
    folder = config.run_folder / "checkpoints"
    return any([*folder.glob("[0-9]*"), *folder.glob(".old-*")])
