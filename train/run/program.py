"""What all training programs do alike around their training: start, exit codes, last words."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from envs.metaworld.suites import Suite
from envs.pool.pool import WorkerError
from envs.viewing.gl import GLError, backend
from memory.cores.registry import CoreError
from train.algorithms.registry import ALGORITHMS
from train.learners.place import launched
from train.learners.ranks import RankError
from train.long_term.arms import ARM_REGISTRY
from train.run import checkpoint, run_folder
from train.run.checkpoint import CheckpointError, environment_difference
from train.run.config import Config, stop
from train.run.input_error import exits_on_bad_input
from train.run.origin import Origin, command, parse
from train.run.rollback import DivergedError
from train.run.sharing import end, follow, shared
from train.run.signals import INTERRUPTED, StopSignal
from train.run.state import TrainState, check_fit, initialise
from train.run.tracking import tracker_problems

REGISTRIES = (ARM_REGISTRY, ALGORITHMS)
ConfigT = TypeVar("ConfigT", bound=Config)


@exits_on_bad_input
def run_program(
    argv: Sequence[str] | None,
    kind: type[ConfigT],
    program: str,
    run: Callable[[ConfigT, Origin, StopSignal], bool],
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
    place = launched()
    first = place is None or place.rank == 0  # of several learners the first alone tells the user
    with StopSignal() as stop_signal:
        config = None
        try:
            argv = sys.argv[1:] if argv is None else argv
            import_parts(argv)
            if place is not None and not first:
                return 0 if follow(place, argv, kind, program, run, stop_signal) else INTERRUPTED
            config, origin = parse(argv, kind, program)
            if run(config, origin, stop_signal):
                return 0
        except (WorkerError, DivergedError, CheckpointError, CoreError, OSError) as error:
            if first:
                print(f"error: {error}\n{_how_to_go_on(config, program)}", file=sys.stderr)
            return 1
        except RankError as error:
            end(error, _how_to_go_on(config, program))
        except KeyboardInterrupt:
            pass
        if first:
            print(f"interrupted; {_how_to_go_on(config, program)}")
        return INTERRUPTED


def import_parts(argv: Sequence[str]) -> None:
    """Import the user's own arm and algorithm that a command line names; InputError if it fails."""
    if problems := [p for parts in REGISTRIES for p in parts.import_typed(argv)]:
        stop(problems)


def refuse(config: Config, origin: Origin, program: str) -> None:
    """End with exit code 2 if this run cannot start here, naming everything that is wrong.

    A learner that is not the first one of its run is told what has been found right.
    """
    if origin.ranks is not None:
        return
    problems = problems_here(config) + checkpoint.check_run_folder(config.run_folder)
    problems += origin.problems(config, program)
    if problems:
        stop(problems)


def problems_here(config: Config) -> list[str]:
    """Everything wrong with training by `config` on this machine."""
    problems = config.validate() + ALGORITHMS.problems(config.algorithm)
    problems += tracker_problems(config.track)
    if config.device == "cuda" and not torch.cuda.is_available():
        problems.append("--device cuda: torch sees no CUDA GPU here; use --device auto or cpu")
    if config.video_every > 0:
        try:
            backend()
        except GLError as error:
            problems.append(f"--video-every: {error}")
    return problems


def say(text: str, origin: Origin) -> None:
    """Tell the user; of several learners the first alone does."""
    if origin.ranks is None:
        print(text, flush=True)


@contextmanager
def started(
    config: Config, suite: Suite, origin: Origin, program: str = "train.rl2"
) -> Iterator[TrainState]:
    """The learner, new or restored, in a run folder that is this process's until the body ends.

    Where several share the run, they begin and end together, and the first has the folder.

    Raises:
        InputError: the checkpoint does not fit, or the folder is not to be written.
        RankError: a learner is gone.
    """
    state, stays = _learner(config, suite, origin), origin.stays(config.run_folder)
    if origin.ranks is not None:
        state.join(origin.ranks)
        yield state
        return
    with run_folder.claimed(config, origin.home, new=not stays):
        if origin.saved is not None and not stays:
            if origin.home is not None:
                _carry_best(origin.home, config.run_folder, state.steps)
            state.save(config)  # so that the new run can be resumed from its first moment
        with shared(config, state, program, lambda: _how_to_go_on(config, program)):
            yield state


def _carry_best(home: Path, folder: Path, steps: int) -> None:
    inside, run = "checkpoints", run_folder.identity(folder)
    try:
        checkpoint.carry_best(home / inside, folder / inside, until=steps, run=run)
    except CheckpointError as error:
        warnings.warn(f"the new run starts without a best checkpoint: {error}", stacklevel=3)


def _learner(config: Config, suite: Suite, origin: Origin) -> TrainState:
    try:
        if origin.saved is None:
            return initialise(config, suite)
        check_fit(origin.saved, config)
        state = initialise(dataclasses.replace(config, init_from=None), suite)
        state.restore(origin.saved)
    except CheckpointError as error:
        stop([str(error)])
    if origin.ranks is not None:
        return state
    before = origin.saved.config.get("learners", 1)
    if before != config.learners:
        text = f"the run had {before} learner(s) and now has {config.learners}"
        warnings.warn(f"resuming will not be bit-exact: {text}", stacklevel=1)
    for change in environment_difference(
        origin.saved.manifest, threads=str(torch.get_num_threads())
    ):
        warnings.warn(f"resuming will not be bit-exact: {change}", stacklevel=1)
    return state


def _how_to_go_on(config: Config | None, program: str) -> str:
    if config is None or not run_folder.holds_something(config.run_folder):
        return "nothing was saved yet: run the same command again"
    if not run_folder.holds_a_checkpoint(config.run_folder):
        return "nothing was saved yet: run the same command again with --resume-or-start"
    return f"resume: {command(program, '--resume', config.run_folder)}"
