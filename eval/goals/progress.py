"""Steps done so far, shown beside the tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show steps done on stderr, beside the tables: a bar in a terminal, else a line every 10 s."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = TextColumn("{task.description:>13}"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=min(done, total))
        return
    shown = time.monotonic()

    def line(done: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= 10:
            shown = time.monotonic()
            print(f"{label} {min(done, total):,}/{total:,} steps", file=sys.stderr, flush=True)

    yield line
