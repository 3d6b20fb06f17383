"""The progress of many runs as one table, read from their logs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal, Protocol

from rich import box
from rich.table import Table

from train.run.children import last_line
from train.run.log import METRICS, TIMING

State = Literal["waiting", "training", "finished", "interrupted", "failed"]
COLOURS = {"failed": "red", "interrupted": "yellow", "finished": "green", "waiting": "dim"}


class Watched(Protocol):
    """What the table needs to know of a run."""

    folder: Path
    total: int
    state: State


def progress_table(runs: Sequence[Watched]) -> Table:
    """One row a run: how it stands, how far it is, its training success, speed and time left."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("")
    for name in ("done", "success", "steps/s", "left"):
        table.add_column(name, justify="right")
    for run in runs:
        table.add_row(run.folder.name, run.state, *_figures(run), style=COLOURS.get(run.state))
    return table


def _figures(run: Watched) -> list[str]:
    """Per cent done, success, steps per second and time left; empty where not known."""
    metrics, timing = last_line(run.folder / METRICS), last_line(run.folder / TIMING)
    step, success = metrics.get("step", 0), metrics.get("train/success")
    rate = timing.get("steps_per_second") if run.state == "training" else None
    left = max(run.total - step, 0) / rate if rate and rate > 0 else None
    return [
        f"{100 * step / run.total:.0f}%" if step and run.total else "",
        "" if success is None else f"{success:.2f}",
        "" if rate is None else f"{rate:,.0f}",
        "" if left is None else str(timedelta(seconds=round(min(left, 1e9)))),
    ]
