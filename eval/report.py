"""One page that compares runs: ``python -m eval.report RUN [RUN …] --out report``.

    python -m eval.report runs/CL5x2-* --out results/cl5x2     arms and seeds of a stream
    python -m eval.report runs/ML10-short-seed* --out report   seeds of `train.rl2`

Writes report.html (pictures inside), report.md with figures/, and report.json. Exit codes: 0 done,
1 not written, 2 bad input (nothing written).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eval.goals.config import nearest_folder
from eval.reporting import figures, tables
from eval.reporting.report_writer import Page, Picture, Table
from eval.reporting.runs import Run, RunError, StreamRun, load_run, load_stream_run, mixed_recipes
from eval.streams.compare import by_arm
from train.run.config import stop
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input
from train.run.verified_folder import environment, replace_file

INTERVALS = (
    "Every interval is a 95 % stratified bootstrap over training seeds (Agarwal et al. 2021, arXiv "
    "2108.13264: strata are tasks or phases, seeds are resampled within each). With fewer than "
    "about ten seeds it is too narrow; every seed is given beside it. Success is Meta-World's own: "
    "at any step of the episode."
)
DECLARED = (
    "These five contrasts were declared before any run (incremental performance was added to their "
    "metrics when runs of CL5x2 were seen). Differences are paired by seed; their intervals are "
    "each at 95 % and not corrected for there being several. A null is a result."
)


@dataclass(frozen=True)
class Arguments:
    """Compare runs on one self-contained page."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders: arms and seeds of one stream, or of one suite."""
    out: Path = Path("report")
    """Folder to write; its report.* and figures/ are replaced."""
    title: str | None = None
    """Heading of the page; default: the suite's name."""
    window: int = 10
    """Iterations of the moving average of training curves."""


def stream_page(groups: dict[str, list[StreamRun]], title: str, window: int) -> Page:
    """The report of a stream."""
    page = Page(title)
    first = next(iter(groups.values()))[0]
    assert first.run.record is not None
    facts, how = first.run.record["stream"], first.run.record["evaluation"]
    page.add(
        f"{len(facts['phases'])} phases of {facts['phase_steps']:,} steps each, in this order: "
        f"{', '.join(figures.short_name(t) for t in facts['tasks'])}"
        f"{'' if facts['cycles'] == 1 else ', ' + str(facts['cycles']) + ' times'}. The policy "
        f"sees no task id. All tasks are evaluated on {how['goals']} goals that no arm trains on, "
        f"{how['episodes']} episodes of {how['horizon']} steps each, on the same trials for all "
        "arms of a seed, acting as in training.",
        INTERVALS,
        "# Arms",
        tables.cost_table({arm: [r.run for r in group] for arm, group in groups.items()}),
        "# Declared contrasts",
        DECLARED,
        tables.contrast_table(groups),
        "# Retention",
        Picture(
            "retention",
            "Success on unseen goals, last episode of the trial, along the stream: mean and 95 % "
            "interval over seeds, thin lines are seeds. Grey: the phases that train on the task.",
            figures.retention(groups),
        ),
        Picture(
            "matrix",
            "R: success (%) on each task (column) after each phase (row), mean over seeds. Framed: "
            "the task that the phase trained on.",
            figures.heat_maps(groups),
        ),
        tables.task_table(groups),
    )
    page.add("# Learning", *_learning(groups, window))
    if set(groups) - {"single"}:
        page.add(
            "# Adaptation within a trial, at the end of the stream",
            Picture(
                "adaptation",
                "Success at the end by episode of the trial, mean over tasks.",
                figures.adaptation_curves(groups),
            ),
            tables.adaptation_table(groups),
        )
    page.add("# Metrics", "Definitions and sources: docs/continual.md.")
    for heading, table in tables.stream_tables(groups):
        page.add(heading[0].upper() + heading[1:], table)
    return page


def _learning(groups: dict[str, list[StreamRun]], window: int) -> list[str | Table | Picture]:
    return [
        Picture(
            "learning",
            "Success in the last episode of training trials on the task of the moment (moving "
            f"average of {window} iterations). single: each task alone, from initial weights.",
            figures.stream_learning(groups, window),
        )
    ]


def training_page(groups: dict[str, list[Run]], title: str, window: int) -> Page:
    """The report of runs that train on all their tasks at once."""
    page = Page(title)
    page.add(
        INTERVALS,
        "# Arms",
        tables.cost_table(groups),
        "# Learning curves",
        Picture(
            "learning",
            "Success in the last episode of training trials (moving average of "
            f"{window} iterations): mean and 95 % interval over seeds, thin lines are seeds.",
            figures.training(groups, window),
        ),
        "# At the end of training",
        f"Training success, mean of the last {window} iterations.",
        tables.training_table(groups, window),
    )
    if (table := tables.evaluation_table(groups)) is not None:
        page.add(
            "# Evaluation on the fixed protocol",
            "The newest result of python -m eval.evaluate of each run and split: last episode of "
            "the trial, intervals over goals.",
            table,
        )
    return page


def group_runs(runs: Sequence[Run]) -> tuple[dict[str, list[Run]], list[str]]:
    """Runs of one suite by arm, and what is wrong with them."""
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        groups.setdefault(run.config.label, []).append(run)
    problems = mixed_recipes(groups)
    suites = {(run.config.suite, run.config.task, run.config.tasks) for run in runs}
    if len(suites) > 1:
        problems.append("the runs are of different suites: report each by itself")
    for arm, group in groups.items():
        if len({run.seed for run in group}) < len(group):
            problems.append(f"two runs of {arm} have the same seed: give each once")
    return groups, problems


def make_page(folders: Sequence[Path], title: str | None, window: int) -> tuple[Page, dict]:
    """The page and its numbers; ends with exit code 2 listing every problem."""
    problems, runs = [], []
    for folder in folders:
        try:
            runs.append(load_run(folder))
        except RunError as error:
            problems.append(str(error))
    streams = [run for run in runs if run.record is not None]
    if streams and len(streams) < len(runs):
        problems.append("some runs are of a stream and some are not: report each kind by itself")
    if problems or not runs:
        stop(problems or ["name at least one run folder, e.g. runs/ML10-short-seed1"])
    suite = runs[0].config.task or runs[0].config.suite
    if streams:
        loaded = []
        for run in runs:
            try:
                loaded.append(load_stream_run(run))
            except RunError as error:
                problems.append(str(error))
        try:
            groups = by_arm(loaded)
        except ValueError as error:
            stop([*problems, str(error)])
        if problems:
            stop(problems)
        page = stream_page(groups, title or f"Strata on {suite}", window)
        return page, tables.to_json(groups)
    by_label, problems = group_runs(runs)
    if problems:
        stop(problems)
    page = training_page(by_label, title or f"Strata on {suite}", window)
    return page, {"seeds": {arm: [run.seed for run in group] for arm, group in by_label.items()}}


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Read, check, draw, write. Returns the exit code."""
    arguments = tyro.cli(
        Arguments, args=sys.argv[1:] if argv is None else argv, prog="python -m eval.report"
    )
    problems = []
    if arguments.window < 1:
        problems.append(f"--window must be at least 1, not {arguments.window}")
    if arguments.out.is_file() or nearest_folder(arguments.out / "report.html") is None:
        problems.append(f"--out {arguments.out} cannot be written: name a folder elsewhere")
    if problems:
        stop(problems)
    page, numbers = make_page(arguments.runs, arguments.title, arguments.window)
    values = {"kind": "strata report", "schema": 1, "environment": environment(), **numbers}
    try:
        paths = page.write(arguments.out)
        data = json.dumps(values, allow_nan=False, indent=1)
        replace_file(arguments.out / "report.json", data.encode() + b"\n")
    except OSError as error:
        print(f"error: {arguments.out} is not written ({error})", file=sys.stderr)
        return 1
    print("\n".join(map(str, paths)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
