"""A result is kept before it is shown, and whatever happens to one of both, the other is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path


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
