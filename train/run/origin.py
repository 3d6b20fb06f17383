"""What a run begins with: nothing, a checkpoint to continue, or a trained agent's weights."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import tyro

from memory.cores.registry import CoreError, import_core
from train.learners.ranks import Ranks
from train.run import checkpoint, run_folder
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.command_line import read, read_some
from train.run.config import CHANGEABLE, Config, difference, stop
from train.run.config_io import flag, read_values
from train.run.recipes import recipe

_Kind = TypeVar("_Kind", bound=Config)


@dataclass(frozen=True)
class Start:
    """How the run begins."""

    resume: Path | None = None
    """Go on with this run exactly where it stopped: its folder, or one checkpoint in it. With a new
    folder as --run, go on there, with a copy of the history so far."""
    resume_or_start: bool = False
    """For schedulers: start the run, or go on with it if its folder holds this configuration."""
    config: Path | None = None
    """A config.json whose values are the defaults of all other options but --run."""


@dataclass(frozen=True)
class _Asked:
    """What the defaults of all other options depend on."""

    suite: str | None = None
    act: str | None = None


@dataclass(frozen=True)
class Line(Generic[_Kind]):
    """The whole command line."""

    start: Start
    run: _Kind


@dataclass(frozen=True)
class Origin:
    """Where a run begins.

    Attributes:
        saved: the checkpoint to continue; None: training starts from nothing.
        home: the run folder that `saved` belongs to; None: it lies somewhere by itself.
        begun: without `saved`, whether the folder holds the same run, started and not saved.
        ranks: of a learner that is not the first one of its run: `saved` is what it was told.
    """

    saved: Checkpoint | None = None
    home: Path | None = None
    begun: bool = False
    ranks: Ranks | None = None

    def stays(self, folder: Path) -> bool:
        """Whether the run goes on in the folder that it was in."""
        if self.home is None:
            return self.begun
        return folder.exists() and os.path.samefile(self.home, folder)

    def problems(self, config: Config, program: str) -> list[str]:
        """Why the run folder of `config` must not be written; [] if nothing speaks against it."""
        folder = config.run_folder
        if (who := run_folder.holder(folder)) is not None:
            return [run_folder.in_use(folder, who)]
        if self.home is not None and (unread := run_folder.history_problems(self.home)):
            return unread
        if (outer := run_folder.enclosing(folder)) is not None:
            return [f"{folder} lies in the folder of another run, {outer}: choose one outside it"]
        if self.stays(folder) or not run_folder.holds_something(folder):
            return []
        if self.saved is not None:
            return [f"{folder} holds something else: continue in a new folder with --run"]
        if run_folder.holds_a_checkpoint(folder):
            again = f"continue it with {command(program, '--resume', folder)}"
        elif run_folder.identity(folder) is not None:
            again = "it has saved nothing yet: begin it again with --resume-or-start"
        else:
            return [f"{folder} holds files of something else: choose another folder with --run"]
        return [f"{folder} already holds a run: {again}, or choose another folder with --run"]


def command(program: str, *arguments: object) -> str:
    """A command that can be pasted into a shell."""
    return shlex.join(["python", "-m", program, *map(str, arguments)])


def parse(
    argv: Sequence[str], kind: type[_Kind] = Config, program: str = "train.rl2"
) -> tuple[_Kind, Origin]:
    """Read the command line; with ``--resume RUN`` the run's own configuration is the default.

    Ends with exit code 2 and a message where the line cannot be read, a checkpoint is unusable, or
    a resumed run would be changed.

    Args:
        argv: arguments after the program's name.
        kind: the program's configuration.
        program: its name, for messages.
    """
    start = read_some(Start, argv)
    if sum(map(bool, (start.resume, start.resume_or_start, start.config))) > 1 and start.resume:
        stop(["--resume goes on with a run as it is: leave out --resume-or-start and --config"])
    if start.resume is not None:
        return _continued(start.resume, argv, kind, program)
    asked = read_some(_Asked, argv)
    default = (
        recipe(kind, asked.suite, asked.act)
        if start.config is None
        else _from_file(start.config, kind)
    )
    config = _read(argv, default, program)
    if start.resume_or_start:
        return config, found(config, kind)
    return config, Origin()


def _read(argv: Sequence[str], default: _Kind, program: str) -> _Kind:
    flat = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    line = read(
        Line[type(default)],
        argv,
        program,
        default=Line(Start(), default),
        config=flat,
        description=f"{type(default).__doc__} The options that most people need stand first.",
    )
    import_typed_core(argv, line.run.agent.core)
    return line.run.spelt()


def import_typed_core(argv: Sequence[str], name: str) -> None:
    """Import the core `name` if `argv` names a core: one in a file may be a stranger's."""
    typed = any(argument.split("=")[0] == "--core" for argument in argv)
    try:
        if typed and ":" in name:  # `Config.validate` tells of the others, with everything else
            import_core(name)
    except CoreError as error:
        stop([f"--core {name}: {error}"])


def _from_file(path: Path, kind: type[_Kind]) -> _Kind:
    """The configuration in `path`; ends with exit code 2 where it is none."""
    hint = "name a config.json of a run of this program"
    try:
        config = kind.from_json(read_values(path))
    except CheckpointError as error:
        stop([f"--config {error.fault}"], hint)
    except ValueError as error:
        stop([f"--config {path}: {error}"], hint)
    if config.run is not None:  # runs write none: a new run has a folder of its own
        stop([f"--config {path}: it names a folder, {config.run}: take run out, and use --run"])
    return config


def _continued(
    source: Path, argv: Sequence[str], kind: type[_Kind], program: str
) -> tuple[_Kind, Origin]:
    """The run that is resumed, and its checkpoint."""
    try:
        saved = checkpoint.load(source)
        old = kind.from_json(saved.config)
        if saved.policy_only:
            raise ValueError(
                "it holds the policy only: evaluate or watch it, or train anew without --resume"
            )
    except (CheckpointError, ValueError) as error:
        stop([f"--resume {source}: {error}"])
    home = run_folder.home_of(saved)
    if home is not None and home == source.absolute():
        home = source
    new = _read(argv, dataclasses.replace(old, run=home), program)
    if new.run is None:
        stop(
            [f"--resume {source}: {saved.path} lies in no folder of its own run"],
            "continue it in a new folder: add --run NEW",
        )
    refuse_changes(f"--resume {source}", old, new)
    return new, Origin(saved, home)


def found(config: _Kind, kind: type[_Kind]) -> Origin:
    """What the run folder of `config` holds of this very run; InputError if of another one."""
    folder = config.run_folder
    if config.validate() or not run_folder.holds_something(folder):
        return Origin()
    name = f"--resume-or-start: {folder}"
    resolved = config.resolved(len(config.make_suite(1).tasks))
    begun = not run_folder.holds_a_checkpoint(folder)
    if begun and run_folder.identity(folder) is None:
        return Origin()
    try:
        saved = None if begun else checkpoint.load(folder)
        values = read_values(folder / "config.json") if saved is None else saved.config
        old = kind.from_json(values)
    except (CheckpointError, ValueError) as error:
        stop([f"{name}: {error}"])
    refuse_changes(name, old, resolved)
    return Origin(saved, None if saved is None else run_folder.home_of(saved), begun)


def refuse_changes(name: str, old: Config, new: Config) -> None:
    """End with exit code 2 if `new` would learn otherwise than `old`."""
    if changed := difference(old, new):
        stop(
            [f"{name}: {change}" for change in changed],
            "start a new run for another configuration; a resumed one may change only "
            + ", ".join(sorted(flag(name) for name in CHANGEABLE)),
        )
