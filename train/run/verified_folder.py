"""A sealed folder: plain files and a manifest of their sizes and hashes, sealed by a hash itself.

This is the lower half of `train.run.checkpoint`: bytes in, verified bytes out. Every byte is
verified before it is parsed, and what is parsed are the very bytes that were verified.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from train.run.printable import printable, printable_lines

SCHEMA = 1
MANIFEST = "MANIFEST.json"

# What a file may weigh, checked before reading: memory is bounded whatever a manifest claims.
MANIFEST_LIMIT = 2**20
_LIMITS = {".json": 64 * 2**20, ".safetensors": 16 * 2**30}
# No separator, no leading dot: a name in a manifest cannot lead out of its folder.
_MEMBER = re.compile(r"[A-Za-z0-9_-]+\.(json|safetensors)")
# The manifest's last entry: the hash of all bytes before it.
_SEAL = b',\n "sha256": "'
_AT_TIMES = frozenset({"cpu model", "threads"})  # of the environment; older checkpoints lack them
_PACKAGES = ("torch", "numpy", "mujoco", "metaworld")


class CheckpointError(Exception):
    """A checkpoint cannot be written or read; the message names the file and what to do.

    Names that come from a file are shown without control characters.

    Attributes:
        fault: which file, and what is wrong with it; the whole message where it says no more.
    """

    def __init__(self, message: str, fault: str = "") -> None:
        super().__init__(printable_lines(message))
        self.fault = printable_lines(fault or message)


def damaged(path: Path, defect: str) -> CheckpointError:
    """The error for a file that was read but must not be used."""
    fault = f"{path} {defect}"
    return CheckpointError(f"{fault}; restore it from a copy or use an older checkpoint.", fault)


def seal(
    folder: Path,
    facts: Mapping[str, Any],
    contents: Mapping[str, bytes],
    more_environment: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Writes `contents` (name -> bytes) and then the manifest into a new `folder`, durably.

    Args:
        folder: must not exist.
        facts: JSON values for the manifest, beside what it always holds.
        contents: what the files hold.
        more_environment: what bit-exactness depends on and only the caller knows.

    Raises:
        OSError: the folder is then incomplete, and `unseal` refuses it.
    """
    manifest = {
        "schema": SCHEMA,
        **facts,
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        },
        "environment": {**environment(), **more_environment},
        "git_commit": _git_commit(),
    }
    body = to_json(manifest, MANIFEST).removesuffix(b"\n}")
    folder.mkdir()
    for name, data in contents.items():
        _write(folder / name, data)
    _write(folder / MANIFEST, body + _SEAL + _closing(body))
    sync_folder(folder)


def unseal(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Reads what `seal` wrote: the manifest, and name -> bytes.

    Raises:
        CheckpointError: anything is missing, extra, of another size or content, or no plain file.
    """
    manifest = read_manifest(folder)
    files = manifest["files"]
    try:
        found = set(os.listdir(folder)) - {MANIFEST}
    except OSError as error:  # another process may be pruning
        raise damaged(folder, f"cannot be read ({error.strerror})") from error
    for name in sorted(files.keys() ^ found):
        defect = "is missing" if name in files else "does not belong to the checkpoint"
        raise damaged(folder / name, defect)
    contents = {}
    for name, entry in files.items():
        data = read_file(folder / name, min(entry["size"], _LIMITS[Path(name).suffix]))
        if len(data) != entry["size"]:
            raise damaged(folder / name, f"has {len(data)} bytes, not {entry['size']}")
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise damaged(folder / name, "has changed since it was saved (SHA-256 differs)")
        contents[name] = data
    return manifest, contents


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and verifies only the manifest of a sealed folder.

    Raises:
        CheckpointError: it is missing, damaged, or of a schema that this version does not know.
    """
    path = folder / MANIFEST
    raw = read_file(path, MANIFEST_LIMIT)
    body, _, closing = raw.rpartition(_SEAL)
    if closing != _closing(body):
        raise damaged(path, "has changed since it was saved (SHA-256 differs)")
    manifest = from_json(raw, path)
    if manifest.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{path} has schema {manifest.get('schema')!r} and this Strata reads {SCHEMA}: "
            "use the version that wrote it"
        )
    if not _well_formed(manifest):
        raise damaged(path, "lists something that is not a file of a checkpoint")
    return manifest


def _closing(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b'"\n}'


def _well_formed(manifest: Mapping[str, Any]) -> bool:
    files, environment = manifest.get("files"), manifest.get("environment")
    return (
        isinstance(files, dict)
        and isinstance(environment, dict)
        and all(_MEMBER.fullmatch(name) and name != MANIFEST for name in files)
        and all(
            isinstance(entry, dict) and type(entry.get("size")) is int and "sha256" in entry
            for entry in files.values()
        )
    )


def read_file(path: Path, limit: int) -> bytes:
    """Reads a plain file of at most `limit` bytes.

    Raises:
        CheckpointError: it is missing, larger, a link, a pipe, or cannot be read.
    """
    try:
        # A link would lead out of the folder; a pipe would block for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _unread(path, "is not a plain file")
            if status.st_size > limit:
                raise _unread(path, f"has {status.st_size} bytes, more than {limit}")
            return file.read(limit)
    except OSError as error:
        raise _unread(path, f"cannot be read ({error.strerror})") from error


def _unread(path: Path, defect: str) -> CheckpointError:
    return CheckpointError(f"{path} {defect}; restore it from a copy.", f"{path} {defect}")


def to_json(value: Any, where: str) -> bytes:
    """Encodes a JSON value; floats come back exactly, tuples as lists.

    Raises:
        CheckpointError: a NaN, an infinity, a key that is no string or another type is named.
    """
    _check_json(value, where)
    return json.dumps(value, indent=1, allow_nan=False).encode()


def _check_json(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise CheckpointError(f"{where}: key {key!r} is not a string; use str(key)")
            _check_json(item, f"{where}/{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(item, f"{where}/{index}")
    elif isinstance(value, float) and not isfinite(value):
        raise CheckpointError(f"{where} is {value}; only finite numbers can be stored")
    elif not (value is None or isinstance(value, str | int | float)):
        kind = type(value).__name__
        raise CheckpointError(f"{where} is a {kind}, which JSON cannot hold; convert it first")


def from_json(data: bytes, path: Path) -> dict[str, Any]:
    """Decodes the JSON object that was read from `path`.

    Raises:
        CheckpointError: it is not an object, holds NaN, or nests too deeply.
    """
    try:
        value = json.loads(data, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise damaged(path, "is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these names and values; no name may stand twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)} stands twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def replace_file(path: Path, data: bytes) -> None:
    """Replaces the contents of `path` atomically and durably.

    Raises:
        OSError: the old contents are then intact.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        _write(temporary, data)
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def can_hold_files(folder: Path) -> bool:
    """Whether a file can be made in a folder. It is tried: permissions do not say so of `/proc`.

    The file has no name, or loses it at once.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable, as fsync of a file does for its bytes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def versions(*packages: str) -> dict[str, str]:
    """Installed versions by package, "absent" where one is not installed."""
    found = dict.fromkeys(packages, "absent")
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@functools.cache
def environment() -> dict[str, str]:
    """What bit-exactness depends on: versions, and CPU features that MuJoCo and torch use."""
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        about = ""
    flags, model = set(about.split()), re.search(r"^model name\s*: (.*)$", about, re.MULTILINE)
    cpu = [platform.machine(), *(flag for flag in ("avx2", "avx512f") if flag in flags)]
    return {
        "python": platform.python_version(),
        **versions(*_PACKAGES),
        "cpu": " ".join(cpu),
        "cpu model": model[1] if model else platform.processor(),
    }


def environment_difference(manifest: Mapping[str, Any], **more_here: str) -> list[str]:
    """How this machine differs from the one that saved; [] when it does not.

    Any difference voids the promise that a resumed run equals an uninterrupted one bit for bit.

    Args:
        manifest: of a checkpoint.
        more_here: what `seal` was given as `more_environment`, as it is now.
    """
    there, here = manifest["environment"], {**environment(), **more_here}
    return [
        printable(f"{key}: {there.get(key)} when saved, {here.get(key)} here")
        for key in sorted((there.keys() | here.keys()) - (_AT_TIMES - (there.keys() & here.keys())))
        if there.get(key) != here.get(key)
    ]


@functools.cache
def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
