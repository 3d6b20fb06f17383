"""Steps done so far, shown beside the tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(
    label: str, total: int, part: int = 1, parts: int = 1
) -> Iterator[Callable[[int], None]]:
    """Show steps done on stderr, beside the tables: a bar in a terminal, else a line every 10 s.

    Args:
        label: what is measured.
        total: its steps.
        part: its number among `parts` of as many steps each; the bar and its time are of them all.
        parts: how many there are.
    """
    console = Console(stderr=True)
    if parts > 1:
        label = f"policy {part} of {parts}: {label}"
    before, whole = (part - 1) * total, parts * total
    if console.is_terminal:
        columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn()
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task(label, total=whole, completed=before)
            yield lambda done: bar.update(task, completed=before + min(done, total))
        return
    shown = time.monotonic()

    def line(done: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= 10:
            shown = time.monotonic()
            print(f"{label} {min(done, total):,}/{total:,} steps", file=sys.stderr, flush=True)

    yield line
