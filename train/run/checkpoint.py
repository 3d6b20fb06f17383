"""Checkpoints: safetensors and JSON in a sealed folder, moved into place atomically.

`checkpoints/<step>/` holds one `<group>.safetensors` for each group of tensors, `state.json`,
`config.json` and `MANIFEST.json`. Neither format can carry code. `latest` and `best` are one-line
text files. One process at a time writes to a `checkpoints` folder; any number may read.
"""

import os
import re
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from train.run.verified_folder import (
    MANIFEST,
    CheckpointError,
    can_hold_files,
    damaged,
    environment_difference,
    from_json,
    read_file,
    replace_file,
    seal,
    sync_folder,
    to_json,
    unseal,
)

__all__ = [
    "Checkpoint", "CheckpointError", "best", "carry_best", "check_run_folder",
    "environment_difference", "load", "mark_best", "save",
]  # fmt: skip

_NAMED = 8  # runs, at most, in an error message
_STEP = re.compile(r"(?:\.old-)?(\d{12,})")
_GROUP = re.compile(r"[A-Za-z0-9_-]+")
_POINTER_LIMIT = 100  # bytes of `latest` and `best`
_ROOM = 64 * 2**20  # bytes that must be free before a run starts


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
        path: the folder it was read from.
        step: environment steps taken when it was saved.
        tensors: group -> name -> CPU tensor, e.g. "agent", "critic", "optimiser", "memory".
        state: counters and other JSON values.
        config: the resolved config of the run.
        manifest: schema, step, run, files, environment and git commit.
    """

    path: Path
    step: int
    tensors: dict[str, dict[str, torch.Tensor]]
    state: dict[str, Any]
    config: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def policy_only(self) -> bool:
        """Whether it holds what acts and nothing that learns: it evaluates, but cannot resume."""
        return self.tensors.keys() == {"agent"}


def save(
    folder: Path,
    step: int,
    *,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
    state: dict[str, Any],
    config: dict[str, Any],
    run: str | None = None,
    keep: int = 3,
) -> Path:
    """Writes `folder/<step>`; a crash at any moment leaves the previous or the new checkpoint.

    Afterwards the newest `keep` checkpoints and the best one remain. An existing
    checkpoint of the same step is replaced.

    Args:
        folder: the run's `checkpoints` folder, created if absent.
        step: environment steps, >= 0.
        tensors: group -> name -> dense tensor of any shape, strides and device. Dtypes, shapes
            and bits come back exactly; names come back in another order.
        state: JSON values; keys are strings, floats finite; tuples come back as lists.
        config: the resolved config, likewise.
        run: identity of the run; None: it has none.
        keep: how many of the newest to keep, >= 1.

    Returns:
        The folder of the new checkpoint.

    Raises:
        CheckpointError: something cannot be stored or written. Earlier checkpoints are intact.
    """
    if step < 0 or keep < 1:
        raise CheckpointError(f"step must be >= 0 and keep >= 1, not {step} and {keep}")
    target = folder / _name(step)
    temporary = folder / f".tmp-{os.getpid()}-{step}"
    contents = {f"{group}.safetensors": _encode(group, tensors[group]) for group in tensors}
    contents |= {"state.json": to_json(state, "state"), "config.json": to_json(config, "config")}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        facts = {"step": step, "run": run}
        seal(temporary, facts, contents, {"threads": str(torch.get_num_threads())})
        _read(temporary)  # what cannot be read back must not push out what can
        _move_into_place(temporary, target)
        replace_file(folder / "latest", f"{target.name}\n".encode())
        _prune(folder, keep)
    except OSError as error:
        raise CheckpointError(
            f"cannot save {target}: {error}; earlier checkpoints are intact; "
            "free disk space or repair the folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint, verifying all sizes and hashes before parsing anything.

    Args:
        path: a checkpoint, which is read or refused; or a run folder or `checkpoints` folder,
            whose newest good checkpoint is read, with a warning for each damaged newer one.

    Raises:
        CheckpointError: there is nothing, or nothing undamaged.
    """
    try:
        in_run = (path / "checkpoints").is_dir()
        if not in_run and (_STEP.fullmatch(path.name) or (path / MANIFEST).exists()):
            return _read(path)
        candidates = _newest_first(path / "checkpoints" if in_run else path)
    except OSError as error:
        raise CheckpointError(
            f"no checkpoint at {path} ({error.strerror}); name a run folder or a checkpoint in it"
        ) from error
    defects: list[str] = []
    for candidate in candidates:
        try:
            checkpoint = _read(candidate)
        except CheckpointError as error:
            defects.append(str(error))
            continue
        for defect in defects:
            warnings.warn(f"{defect} FALLING BACK to {candidate}", stacklevel=2)
        return checkpoint
    if not defects:
        if not (runs := _runs_below(path)):
            raise CheckpointError(
                f"{path} has no checkpoint; name a run that has one, or train anew"
            )
        more = ", …" if len(runs) > _NAMED else ""
        raise CheckpointError(
            f"{path} holds {len(runs)} runs: add one of {', '.join(runs[:_NAMED])}{more}"
        )
    raise CheckpointError("\n".join([f"no good checkpoint in {path}; start a new run", *defects]))


def _runs_below(path: Path) -> list[str]:
    """Run folders with checkpoints in `path` and in its folders, as they are named from there."""
    found = [*path.glob("*/checkpoints"), *path.glob("*/*/checkpoints")]
    return sorted(str(folder.parent.relative_to(path)) for folder in found)


def mark_best(folder: Path, step: int, score: float) -> None:
    """Names the checkpoint of `step` the best so far; it is not pruned while it is.

    Raises:
        CheckpointError: there is no such checkpoint, the score is not finite, or a write failed.
    """
    path = folder / _name(step)
    if not path.is_dir() or not isfinite(score):
        raise CheckpointError(f"cannot mark {path} as best: save it first, give a finite score")
    try:
        replace_file(folder / "best", f"{path.name} {float(score)!r}\n".encode())
    except OSError as error:
        raise CheckpointError(f"cannot write {folder / 'best'}: {error}") from error


def best(folder: Path) -> tuple[Path, float] | None:
    """The checkpoint that `mark_best` named last and its score, or None."""
    try:
        name, score = read_file(folder / "best", _POINTER_LIMIT).split()
        return folder / _name(int(name)), float(score)
    except (CheckpointError, ValueError):
        return None


def carry_best(source: Path, target: Path, *, until: int, run: str | None) -> None:
    """Copies the best checkpoint of one `checkpoints` folder into another, which has none yet.

    Args:
        source: of the run that is continued elsewhere.
        target: of the run that continues it.
        until: step at which it goes on; a later best one is of another future.
        run: identity of the new run.

    Raises:
        CheckpointError: it is damaged, or cannot be written.
    """
    chosen = best(source)
    if chosen is None or int(chosen[0].name) > until:
        return
    saved = _read(chosen[0])
    facts = {"state": saved.state, "config": saved.config, "run": run}
    save(target, saved.step, tensors=saved.tensors, **facts)
    mark_best(target, saved.step, chosen[1])


def check_run_folder(path: Path) -> list[str]:
    """What would keep a run from writing into `path`; [] if nothing. Creates nothing."""
    try:
        nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
        inner = (path / "checkpoints", path / "tensorboard")
        problems = []
        for place in (nearest, *(place for place in inner if place.exists())):
            if not place.is_dir():
                problems.append(f"{place} is not a folder; choose another run folder")
            elif not can_hold_files(place):
                problems.append(f"{place} is read-only; choose another run folder")
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        return [f"{path} cannot be used ({error.strerror}); choose another run folder"]
    if free < _ROOM:
        problems.append(f"{nearest} has only {free >> 20} MiB free; free {_ROOM >> 20} MiB")
    return problems


def _name(step: int) -> str:
    return f"{step:012d}"


def _encode(group: str, tensors: Mapping[str, torch.Tensor]) -> bytes:
    if not _GROUP.fullmatch(group):
        raise CheckpointError(f"tensor group {group!r} may have only letters, digits, '-' and '_'")
    try:
        # Copies, because safetensors refuses views and tensors that share memory.
        return safetensors.torch.save(
            {
                name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, tensor in tensors.items()
            }
        )
    except Exception as error:  # torch and safetensors raise many kinds
        raise CheckpointError(f"tensor group {group!r} cannot be stored: {error!r}") from error


def _decode(data: bytes, path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load(data)
    except Exception as error:  # torch and safetensors raise many kinds
        raise damaged(path, f"is not a safetensors file ({error})") from error


def _read(path: Path) -> Checkpoint:
    manifest, contents = unseal(path)
    try:
        state = from_json(contents.pop("state.json"), path / "state.json")
        config = from_json(contents.pop("config.json"), path / "config.json")
    except KeyError as error:
        raise damaged(path / MANIFEST, f"does not list {error}") from error
    step = manifest.get("step")
    if type(step) is not int:
        raise damaged(path / MANIFEST, "lacks the step")
    tensors = {
        name.removesuffix(".safetensors"): _decode(data, path / name)
        for name, data in contents.items()
    }
    return Checkpoint(path, step, tensors, state, config, manifest)


def _newest_first(folder: Path) -> list[Path]:
    """Checkpoints from the last written one back; those of an abandoned future come last.

    After a return to an older checkpoint, steps beyond `latest` belong to a history whose metrics
    are gone. They are used only when nothing else is good, and pruned first.
    """
    found: dict[int, Path] = {}
    for entry in sorted(folder.iterdir()):  # ".old-<step>" first, so that "<step>" replaces it
        if (match := _STEP.fullmatch(entry.name)) and entry.is_dir() and not entry.is_symlink():
            found[int(match[1])] = entry
    latest: float = inf
    with suppress(CheckpointError, ValueError):
        latest = int(read_file(folder / "latest", _POINTER_LIMIT))
        found.setdefault(latest, folder / _name(latest))  # its loss must not go unnoticed
    return [found[step] for step in sorted(found, key=lambda s: (s <= latest, s), reverse=True)]


def _move_into_place(temporary: Path, target: Path) -> None:
    # A folder cannot be renamed over another, so the old one steps aside under a name that `load`
    # finds: at no moment is there no complete checkpoint.
    aside = target.with_name(f".old-{target.name}")
    if target.exists():
        os.replace(target, aside)
    os.replace(temporary, target)
    sync_folder(target.parent)
    if aside.exists():
        _remove(aside)


def _sweep(folder: Path) -> None:
    """Clears up after a process that was killed while it saved."""
    for entry in list(folder.iterdir()):
        if match := re.fullmatch(r"\.tmp-(\d+)-.*", entry.name):
            if int(match[1]) == os.getpid() or not _alive(int(match[1])):
                _remove(entry)
        elif entry.name.startswith(".old-"):
            target = folder / entry.name.removeprefix(".old-")
            if target.exists():
                _remove(entry)
            else:
                os.replace(entry, target)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it lives, under another user
    return True


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)


def _prune(folder: Path, keep: int) -> None:
    chosen = best(folder)
    for path in _newest_first(folder)[keep:]:
        if chosen is not None and path == chosen[0]:
            continue
        # Renamed first, so that a half removed one never looks like a checkpoint.
        doomed = folder / f".tmp-{os.getpid()}-{path.name}"
        os.replace(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
