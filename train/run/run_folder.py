"""A run folder belongs to one run, and one process at a time trains that run.

`RUN` holds the run's identity, a random number that its checkpoints repeat in their manifests.
`LOCK` is locked by the kernel for as long as a process trains there, however that process ends; it
names the process. Reading needs neither. Results of evaluations are files of their own, replaced
atomically, so they need no lock either.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from train.run.checkpoint import Checkpoint
from train.run.config import Config, write_config
from train.run.input_error import InputError
from train.run.log import METRICS, TIMING
from train.run.verified_folder import CheckpointError, read_file, replace_file

RUN, LOCK = "RUN", "LOCK"
OWN = (RUN, "config.json", METRICS, TIMING, "checkpoints", "tensorboard", "results")
HISTORY = (METRICS, TIMING, "results/retention.json")
HISTORY_LIMIT = 2**28  # bytes
_SHORT = 200  # bytes of RUN and LOCK
SHIPPED = Path(__file__).resolve().parents[2] / "results"  # runs that are part of the repository
LOOKS = Path("runs") / "looked-at"  # which git ignores


def identity(folder: Path) -> str | None:
    """The identity of the run in `folder`; None: there is none."""
    with suppress(CheckpointError, UnicodeDecodeError):
        return read_file(folder / RUN, _SHORT).decode("ascii").strip()
    return None


def holds_something(folder: Path) -> bool:
    """Whether there is anything in `folder` that a run would write over."""
    return any(os.path.lexists(folder / name) for name in OWN)


def holds_a_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint, good or bad, in the run folder."""
    inside = folder / "checkpoints"
    return any([*inside.glob("[0-9]*"), *inside.glob(".old-*")])


def holder(folder: Path) -> str | None:
    """Who trains in `folder` now, e.g. ``process 4711 on node7``; None: nobody. Writes nothing."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, _SHORT, 0).decode(errors="replace").strip() or "a process"
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(descriptor)
    return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which exists; workers do not inherit it.

    Raises:
        InputError: another process holds it.
        OSError: the lock file cannot be made.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError([in_use(folder, holder(folder) or "a process")]) from error
        except OSError as error:
            text = f"{folder} cannot be locked ({error.strerror}): start no other run in it"
            warnings.warn(text, stacklevel=2)
        with suppress(OSError):  # a full disk: nobody is named then
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def in_use(folder: Path, who: str) -> str:
    """The sentence for a folder in which `who` trains."""
    return f"{folder} is in use by {who}: wait until it ends, or choose another folder with --run"


def home_of(saved: Checkpoint) -> Path | None:
    """The run folder that `saved` belongs to; None: it was copied elsewhere by itself."""
    path, known = saved.path.absolute(), saved.manifest.get("run")
    folder = path.parent.parent
    belongs = path.parent.name == "checkpoints" and known is not None and identity(folder) == known
    return folder if belongs else None


def results_folder(saved: Checkpoint, *, brief: bool = False) -> Path | None:
    """Where results about `saved` go; None: it lies in no folder of its own run.

    A run from before runs had an identity counts as the owner of what lies in it.

    Args:
        saved: what the results are about.
        brief: they are a look and no result to keep with the run (see `looks_folder`).
    """
    inside, folder = saved.path.parent.name == "checkpoints", saved.path.parent.parent
    own = inside and identity(folder) == saved.manifest.get("run")
    if not own:
        return None
    return looks_folder(folder) if brief else folder / "results"


def looks_folder(run: Path) -> Path:
    """Where quick evaluations and pictures of `run` go.

    They go into the run, but not into a run that is part of the repository: a clone stays as it
    was cloned.
    """
    inside = run.resolve()
    if inside.is_relative_to(SHIPPED):
        return LOOKS / inside.relative_to(SHIPPED)
    return run / "results"


@contextmanager
def claimed(config: Config, home: Path | None, *, new: bool) -> Iterator[None]:
    """Own the run folder of `config` while the body runs; its configuration is written first.

    Args:
        config: resolved.
        home: the run folder that is continued; None: there is none.
        new: the folder must be new; a run that is continued there brings its history.

    Raises:
        InputError: the folder has come to be another run's, or is in use.
        OSError: it cannot be written.
    """
    folder = config.run_folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if new and holds_something(folder):
            raise InputError([f"{folder} already holds a run: choose another folder with --run"])
        if new:
            replace_file(folder / RUN, f"{secrets.token_hex(16)}\n".encode())
        if new and home is not None:
            _copy_history(home, folder)
        write_config(config)
        yield


def history_problems(home: Path) -> list[str]:
    """What a run that goes on would have to read and cannot: a pipe or a link instead of a log."""
    found = []
    for path in (home / name for name in HISTORY if os.path.lexists(home / name)):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            found.append(f"{path} is not a plain file: restore it from a copy")
        elif status.st_size > HISTORY_LIMIT:
            found.append(f"{path} has {status.st_size} bytes, more than {HISTORY_LIMIT}")
    return found


def enclosing(folder: Path) -> Path | None:
    """The folder of a run in which `folder` lies, itself left out; None: there is none."""
    names = RUN, "config.json"
    above = folder.absolute().parents
    return next((p for p in above if all((p / name).is_file() for name in names)), None)


def is_a_runs_own(path: Path) -> bool:
    """Whether `path` is, or would be, a file that only the training of a run may write."""
    path = path.absolute()
    home = enclosing(path)
    if home is None:
        return False
    inside = path.relative_to(home)
    own = (*(Path(name) for name in (LOCK, *OWN) if name != "results"), Path(HISTORY[-1]))
    return any(inside == one or one in inside.parents for one in own)


def foreign_problems(path: Path, saved: Checkpoint | None) -> list[str]:
    """Why a result about `saved` must not be written to `path`: it lies in another run's folder.

    Args:
        path: where the result would go.
        saved: what was measured; None: no run of ours.
    """
    home = enclosing(path)
    if home is None or (saved is not None and identity(home) == saved.manifest.get("run")):
        return []
    return [
        f"{path} lies in the folder of another run, {home}, which reports would take it for: name "
        "a file elsewhere"
    ]


def _copy_history(home: Path, folder: Path) -> None:
    for name in HISTORY:
        if (home / name).exists():
            (folder / name).parent.mkdir(exist_ok=True)
            replace_file(folder / name, read_file(home / name, HISTORY_LIMIT))
