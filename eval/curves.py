"""Draw learning curves: ``python -m eval.curves RUN [RUN …]``.

Reads each run's metrics.jsonl; runs of one command share the axes (several seeds, say). Success is
any-step success at the last episode of a training trial unless the label says otherwise.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import numpy as np
import tyro

from train.run.config import stop
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input
from train.run.log import read_metrics

PREFIX = "train/success/"


@dataclass(frozen=True)
class Arguments:
    """Draw learning curves of one or several runs."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders."""
    out: Path | None = None
    """Picture to write (.png, .svg or .pdf); default: results/curves.png in the first run."""
    window: int = 20
    """Iterations of the moving average (the raw curve is drawn behind it)."""


def series(rows: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one metric, both (n,), where it was logged and finite."""
    pairs = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs], float)


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over the last `window` values, over fewer at the start; (n,) -> (n,)."""
    sums = np.cumsum(np.concatenate(([0.0], values)))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def draw(runs: dict[str, list[dict]], out: Path, window: int) -> None:
    """Write the figure: success by episode of the trial, then one panel per task."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = sorted({key for rows in runs.values() for row in rows for key in row})
    tasks = [name for name in names if name.startswith(PREFIX)]
    episodes = [name for name in names if name.startswith("train/success_by_episode/")]
    panels: list[tuple[str, list[tuple[str, str]]]] = [
        ("all tasks", [(name, "episode " + name.rsplit("/", 1)[1]) for name in episodes])
    ]
    panels[0][1].append(("train/last_step_success", "last step, last episode"))
    if "test/success" in names:
        panels[0][1].append(("test/success", "held-out, last episode"))
    panels += [(name.removeprefix(PREFIX), [(name, "")]) for name in tasks]
    columns = min(4, len(panels))
    rows_needed = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows_needed,
        columns,
        figsize=(3.6 * columns + 0.6, 2.6 * rows_needed + 0.4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (title, lines) in zip(axes.flat, panels, strict=False):
        for number, (name, label) in enumerate(lines):
            for run_number, rows in enumerate(runs.values()):
                steps, values = series(rows, name)
                colour = colours[(number if len(lines) > 1 else run_number) % len(colours)]
                axis.plot(steps / 1e6, values, color=colour, alpha=0.15, linewidth=0.8)
                axis.plot(
                    steps / 1e6,
                    smooth(values, window if name.startswith("train/") else 1),
                    color=colour,
                    linewidth=1.6,
                    label=label if run_number == 0 else None,
                )
        axis.set_title(title, fontsize=10)
        axis.set_ylim(-0.02, 1.02)
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend(fontsize=7, loc="lower right")
    for axis in axes[:, 0]:
        axis.set_ylabel("success")
    for axis in axes[-1]:
        axis.set_xlabel("environment steps (millions)")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Read, check, draw. Returns the exit code."""
    arguments = tyro.cli(
        Arguments, args=sys.argv[1:] if argv is None else argv, prog="python -m eval.curves"
    )
    out = arguments.out or arguments.runs[0] / "results" / "curves.png"
    problems = [
        f"{run} has no metrics.jsonl: name a run folder, e.g. runs/ML10-short-seed1"
        for run in arguments.runs
        if not (run / "metrics.jsonl").is_file()
    ]
    if arguments.window < 1:
        problems.append(f"--window must be at least 1, not {arguments.window}")
    if out.suffix not in (".png", ".svg", ".pdf"):
        problems.append(f"--out {out}: end it in .png, .svg or .pdf")
    if problems:
        stop(problems)
    runs = {str(run): read_metrics(run) for run in arguments.runs}
    if empty := [run for run, rows in runs.items() if not rows]:
        stop([f"{run}/metrics.jsonl has no line yet: let it train an iteration" for run in empty])
    draw(runs, out, arguments.window)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
