"""A result is kept before it is shown, and whatever happens to one of both, the other is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.run.checkpoint import Checkpoint
from train.run.verified_folder import environment, replace_file


def head(kind: str, schema: int, saved: Checkpoint) -> dict[str, Any]:
    """The beginning of a result's JSON: its kind, which checkpoint was measured, and with what."""
    return {
        "kind": kind,
        "schema": schema,
        "checkpoint": {
            "path": str(saved.path),
            "step": saved.step,
            "environment": saved.manifest["environment"],
            "git_commit": saved.manifest["git_commit"],
        },
        "environment": environment(),
    }


def write_and_show(
    paths: Sequence[Path], write: Callable[[], object], show: Callable[[], object]
) -> int:
    """Write, show, and only then say what was written, or that it could not be.

    Args:
        paths: what `write` writes; none: nothing is written.
        write: may raise OSError.
        show: prints the result.

    Returns:
        The exit code: 0, or 1 where nothing could be written.
    """
    failed: OSError | None = None
    try:
        if paths:
            write()
    except OSError as error:
        failed = error
    show()
    if failed is not None:
        print(f"error: {paths[0]} is not written ({failed}): use --out FILE", file=sys.stderr)
        return 1
    if paths:
        print(f"\nwritten: {', '.join(map(str, paths))}")
    return 0


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a result atomically; its folder is made. Raises OSError; an older file is then intact.

    Raises:
        ValueError: a number is not finite.
    """
    data = json.dumps(values, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data.encode() + b"\n")
