"""Retention, forgetting, transfer of streams: ``python -m eval.continual RUN [RUN …]``.

    python -m eval.continual runs/CL5x2-short-seed*           one arm, several seeds
    python -m eval.continual runs/CL5x2-*                     arms beside each other

Runs of `--arm single` among them are the reference of forward transfer. The figures come from what
the runs recorded while they trained (results/retention.json); definitions are in docs/continual.md.
Exit codes: 0 done, 1 not written, 2 bad input (nothing written), 75 interrupted.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from eval.goals.config import nearest_folder
from eval.goals.results import table_console
from eval.outcome import write_and_show, write_json
from eval.reporting.loading import load_runs, stream_groups
from eval.reporting.report_writer import Table
from eval.reporting.runs import StreamRun
from eval.reporting.tables import (
    adaptation_table,
    contrast_table,
    leak_table,
    sizes_line,
    speed_table,
    stream_tables,
    task_table,
    to_json,
)
from eval.streams.compare import of_forks
from train.run.command_line import read
from train.run.config import stop
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input
from train.run.signals import ends_when_interrupted, interrupt_on_signals
from train.run.verified_folder import environment


@dataclass(frozen=True)
class Arguments:
    """Metrics of what streams of tasks leave behind."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders of `train.continual`: arms and seeds of one stream."""
    out: Path | None = None
    """File for all numbers as JSON; unset: none is written."""


def show(console: Console, title: str, table: Table) -> None:
    """Print one table."""
    style = box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN
    printed = RichTable(box=style)
    for name, right in zip(table.names(), table.right(), strict=True):
        printed.add_column(escape(name), justify="right" if right else "left")
    for row in table.rows():
        printed.add_row(*map(escape, row))
    console.print(f"\n{title}", style="bold", markup=False, highlight=False)
    console.print(printed)


@forgiving_console()
@exits_on_bad_input
@ends_when_interrupted
def main(argv: list[str] | None = None) -> int:
    """Read, check, write, print. Returns the exit code."""
    arguments = read(Arguments, sys.argv[1:] if argv is None else argv, "eval.continual")
    if (out := arguments.out) is not None and (out.is_dir() or nearest_folder(out) is None):
        stop([f"--out {out} cannot be written: name a file elsewhere, e.g. streams.json"])
    runs, left_out = load_runs(arguments.runs)
    for line in left_out:
        print(f"note: {line}", file=sys.stderr)
    groups = stream_groups(runs)
    paths = [] if arguments.out is None else [arguments.out]
    return write_and_show(
        paths, lambda: write(paths[0], groups), lambda: show_all(table_console(), groups)
    )


def write(path: Path, groups: dict[str, list[StreamRun]]) -> None:
    """Write all numbers as JSON. Raises OSError; an older file is then intact."""
    values = {"kind": "strata comparison", "schema": 1, "environment": environment()}
    write_json(path, {**values, **to_json(groups)})


def show_all(console: Console, groups: dict[str, list[StreamRun]]) -> None:
    """Print what the stream was and every table."""
    first = next(iter(groups.values()))[0]
    assert first.run.record is not None
    facts = first.run.record["stream"]
    console.print(
        f"Strata stream {facts['name']}: {len(facts['phases'])} phases of "
        f"{facts['phase_steps']:,} steps; success at any step of the last episode on "
        f"{first.run.record['evaluation']['goals']} unseen goals of each task",
        markup=False,
        highlight=False,
    )
    for title, table in stream_tables(groups):
        show(console, title, table)
    if set(groups) - {"single"}:
        show(console, "success at the end by episode of the trial", adaptation_table(groups))
    show(console, "success at the end by task (single: after its own phase)", task_table(groups))
    if (table := speed_table(groups)) is not None:
        show(console, "how soon and for how long tasks are solved at the end", table)
    if of_forks(groups):
        show(console, "first attempts, in which nobody can know what counts", leak_table(groups))
        console.print(f"\n{sizes_line(groups)}", markup=False, highlight=False)
    if len(groups) > 1:
        show(console, "declared contrasts, paired by seed", contrast_table(groups))


if __name__ == "__main__":
    interrupt_on_signals()  # leave nothing half written
    sys.exit(main())
