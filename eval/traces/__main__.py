"""What the memories of trained agents hold: ``python -m eval.traces RUN [RUN …]``.

    python -m eval.traces runs/FORK-reach-2-*-seed?     all seeds and arms, all parts
    python -m eval.traces RUN --parts timescales        one part

Each run's recording (.npz) and numbers (.json) go into its results/, where `eval.report` finds the
numbers; a page of all runs goes to --out. Exit codes: 0 done, 1 failed or the target leaks (see
docs/traces.md), 2 bad input (nothing written), 75 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from envs.pool.pool import WorkerError, WorkerPool
from envs.pool.shared_rollout import worker_problems
from eval.goals.config import imported_core, nearest_folder
from eval.goals.measure import watch
from eval.goals.progress import progress
from eval.reporting.report_writer import Page
from eval.traces.lesions import lesion_problems
from eval.traces.lifetime_lesions import lifetime_steps
from eval.traces.look import PARTS, Part, look_into, look_into_lifetimes
from eval.traces.probe_page import leaks_of
from eval.traces.recording import Recording, RecordingError, facts_of, load, record, save
from eval.traces.results import other_trials, with_former, write
from eval.traces.section import by_arm, section
from eval.traces.subjects import FEWEST, Patient, open_runs
from train.run.command_line import read
from train.run.config import stop
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input
from train.run.run_folder import results_folder
from train.run.signals import INTERRUPTED, interrupt_on_signals

Lesion = Literal[
    "clear L0", "remove target", "remove random", "hide L1", "shuffle L1", "act with L2",
    "act with L3",
]  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """Look into the memories of trained agents."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, or checkpoints in them; runs of one suite and arm are its seeds."""
    out: Path = Path("traces")
    """Folder of the page; its report.* and figures/ are replaced."""
    parts: tuple[Part, ...] = PARTS
    """What is looked at; lesions take longest."""
    level: tuple[Literal["L0", "L1", "L2", "L3"], ...] = ()
    """Levels that every run must have; default: each run's own."""
    lesion: tuple[Lesion, ...] = ()
    """Lesions that every run must allow; default: all that it has something for."""
    trials: int = 400
    """Probe trials of FORK; other suites have as many as fit into 100,000 steps."""
    seed: int = 1
    """Seed of the probe trials and of all draws."""
    core: str | None = None
    """Your own core, my_module:MyCore, where the agent was trained with one."""
    workers: int | None = None
    """Worker processes; default: one per available core. They do not change the result."""

    def problems(self) -> list[str]:
        """Everything wrong with these values."""
        found = worker_problems(self.workers)
        if not self.runs:
            found.append("name at least one run folder, e.g. runs/FORK-reach-2-short-seed1")
        if not FEWEST <= self.trials <= 400:
            found.append(f"--trials must be from {FEWEST} to 400, not {self.trials}")
        if self.seed < 0:
            found.append(f"--seed must be 0 or more, not {self.seed}")
        if self.lesion and "lesions" not in self.parts:
            found.append("--lesion needs the part lesions: add it to --parts, or leave --parts out")
        if self.out.is_file() or nearest_folder(self.out / "report.html") is None:
            found.append(f"--out {self.out} cannot be written: name a folder elsewhere")
        return found


def problems_of(patient: Patient, arguments: Arguments) -> list[str]:
    """Why what is asked for cannot be looked at in a run, or would replace what was found."""
    found = lesion_problems(patient, arguments.lesion)
    found += other_trials(
        result_of(patient, arguments.out),
        run=patient.subject.saved.manifest.get("run"),
        trials=patient.looked_at,
        seed=arguments.seed,
    )
    if patient.rounds and "lesions" not in arguments.parts:
        name = patient.subject.suite.name
        found.append(f"{patient.folder}: of {name} lesions alone are measured: --parts lesions")
    return found


def place_of(patient: Patient, out: Path) -> Path:
    """Folder of a run's own files: its results/, or one below `out` where that cannot be."""
    folder = results_folder(patient.subject.saved)
    if folder is None or nearest_folder(folder / "x") is None:
        return out / patient.name
    return folder


def result_of(patient: Patient, out: Path) -> Path:
    """Where a run's numbers are; its recording lies beside them."""
    return place_of(patient, out) / f"traces-test-{patient.subject.saved.step:012d}.json"


def recording_of(patient: Patient, path: Path, pool: WorkerPool, seed: int) -> Recording:
    """The run's recording, from `path` where it is already there.

    Raises:
        OSError: it cannot be written.
        WorkerError: a worker failed for good.
    """
    facts = facts_of(patient.subject, patient.trials, seed)
    if path.exists():
        try:
            found = load(path)
            if found.facts == facts:
                return found
            print(f"note: {path} is of other trials; it is replaced", file=sys.stderr)
        except RecordingError as error:
            print(f"note: {error}; it is replaced", file=sys.stderr)
    steps = len(patient.trials) * patient.trials[0].steps
    with progress(patient.name, steps) as report, watch(pool, report):
        found = record(patient.subject, patient.trials, pool=pool, facts=facts)
    save(found, path)
    return found


def values_of(
    arguments: Arguments, patient: Patient, path: Path, pool: WorkerPool
) -> dict[str, Any]:
    """What is found out about one run; its recording is at `path`, if it has one.

    Raises:
        OSError: the recording cannot be written.
        WorkerError: a worker failed for good.
    """
    seed, lesions = arguments.seed, arguments.lesion
    if patient.rounds:
        steps = lifetime_steps(patient.subject.agent, patient.rounds, lesions)
        with progress(patient.name, steps) as report, watch(pool, report):
            return look_into_lifetimes(patient, lesions=lesions, pool=pool, seed=seed)
    recording = recording_of(patient, path, pool, seed)
    return look_into(
        patient, recording, parts=arguments.parts, lesions=lesions, pool=pool, seed=seed
    )


def run(arguments: Arguments, patients: Sequence[Patient]) -> list[dict[str, Any]]:
    """Record and look into every run; its files are written.

    Raises:
        OSError: something cannot be written.
        WorkerError: a worker failed for good.
    """
    results = []
    with WorkerPool(arguments.workers) as pool:
        for patient in patients:
            path = result_of(patient, arguments.out)
            values = values_of(arguments, patient, path.with_suffix(".npz"), pool)
            values = with_former(path, values)
            write(values, path)
            print(f"written: {path}", flush=True)
            results.append(values)
    return results


def page_of(results: Sequence[dict[str, Any]]) -> Page:
    """One page of all runs, the seeds of an arm together."""
    page = Page(f"Memory traces: {', '.join(sorted({values['suite'] for values in results}))}")
    page.add(*section(by_arm(results)))
    return page


def tell_leaks(results: Sequence[dict[str, Any]]) -> int:
    """Say in red which run's first attempt tells the target. Returns the exit code: 1 if any."""
    console = Console(stderr=True)
    found = leaks_of(results)
    for line in found:
        console.print(line, style="bold red", markup=False)
    return int(bool(found))


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Read, check everything, look, write. Returns the exit code."""
    arguments = read(Arguments, sys.argv[1:] if argv is None else argv, "eval.traces")
    if problems := arguments.problems() + imported_core(arguments.core):
        stop(problems)
    patients = open_runs(
        arguments.runs, trials=arguments.trials, seed=arguments.seed, levels=arguments.level
    )
    if problems := [p for one in patients for p in problems_of(one, arguments)]:
        stop(problems)
    try:
        results = run(arguments, patients)
        paths = page_of(results).write(arguments.out)
    except (OSError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again, recordings are kept", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(map(str, paths)))
    return tell_leaks(results)


if __name__ == "__main__":
    interrupt_on_signals()
    sys.exit(main())
