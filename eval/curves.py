"""Draw learning curves: ``python -m eval.curves RUN [RUN …]``.

Of one run the raw curves and their moving averages are drawn; of several, arms by colour: mean and
95 % interval over seeds, thin lines are seeds. Success is any-step success at the last episode of a
training trial unless the label says otherwise. Of runs on a FORK suite each attempt is drawn, with
the ceilings of a perfect memory.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from matplotlib.figure import Figure

from eval.goals.config import nearest_folder
from eval.reporting import figures
from eval.reporting.fork_figures import by_attempt, by_exposure
from eval.reporting.fork_tables import suite_of
from eval.reporting.loading import load_runs
from eval.reporting.runs import Run
from train.run.command_line import read
from train.run.config import stop
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input
from train.run.run_folder import looks_folder
from train.run.signals import ends_when_interrupted, interrupt_on_signals
from train.run.verified_folder import replace_file

ENDINGS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Arguments:
    """Draw learning curves of one or several runs."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders."""
    out: Path | None = None
    """Picture to write (.png, .svg or .pdf); unset: results/curves.png in the first run, or in
    runs/looked-at where that run is part of the repository."""
    window: int = 20
    """Iterations of the moving average."""


def by_label(runs: list[Run]) -> dict[str, list[Run]]:
    """Runs by arm: the seeds of one share a mean."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    return groups


def drawn(runs: list[Run], window: int) -> Figure:
    """The figure of one run, of several, or of runs on one FORK suite."""
    groups = by_label(runs)
    fork = suite_of(groups)
    if fork is not None and len({run.config.suite for run in runs}) == 1:
        draw = by_attempt if fork.lifetimes is None else by_exposure
        return draw(groups, fork, window)
    return figures.one_run(runs[0], window) if len(runs) == 1 else figures.training(groups, window)


@forgiving_console()
@exits_on_bad_input
@ends_when_interrupted
def main(argv: list[str] | None = None) -> int:
    """Read, check, draw. Returns the exit code."""
    arguments = read(Arguments, sys.argv[1:] if argv is None else argv, "eval.curves")
    problems = []
    if not arguments.runs:
        problems.append("name at least one run folder, e.g. runs/ML10-short-seed1")
    if arguments.window < 1:
        problems.append(f"--window must be at least 1, not {arguments.window}")
    out = arguments.out or looks_folder((arguments.runs or (Path(),))[0]) / "curves.png"
    if out.suffix not in ENDINGS:
        problems.append(f"--out {out}: end it in .png, .svg or .pdf")
    elif out.is_dir() or nearest_folder(out) is None:
        problems.append(f"--out {out} cannot be written: name a file elsewhere")
    if problems:
        stop(problems)
    runs, left_out = load_runs(arguments.runs)
    for line in left_out:
        print(f"note: {line}", file=sys.stderr)
    figure = drawn(runs, arguments.window)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        picture = io.BytesIO()
        figure.savefig(picture, format=out.suffix[1:], dpi=110)
        replace_file(out, picture.getvalue())
    except OSError as error:
        print(f"error: {out} is not written ({error})", file=sys.stderr)
        return 1
    print(out)
    return 0


if __name__ == "__main__":
    interrupt_on_signals()  # leave nothing half written
    sys.exit(main())
