"""Train many arms and seeds: ``python -m train.many --arms short none --seeds 1 2 3 -- OPTIONS``.

    python -m train.many --arms short none --seeds 1 2 3 -- --suite ML1 --task reach-v3
    python -m train.many --program continual --arms short ewc -- --suite CL5x2

Options after -- are those of train.rl2, or of the program that is named. The runs share the cores;
each writes what it says beside its folder, e.g. runs/ML10-short-seed1.log. Ctrl-C lets every run
save; the same command goes on with all of them. Exit codes: 0 all finished, 1 one failed, 2 bad
input (nothing written), 75 interrupted and resumable.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.live import Live

from envs.pool.pool import available_cores
from train.run.children import Child, ended_with_us, in_folder, last_words, pause
from train.run.command_line import read
from train.run.config import Config
from train.run.console import forgiving_console
from train.run.input_error import InputError, exits_on_bad_input
from train.run.many_table import State, progress_table
from train.run.origin import parse
from train.run.program import import_parts, refuse
from train.run.signals import INTERRUPTED, StopSignal
from train.run.stream_config import StreamConfig

PROGRAMS: dict[str, type[Config]] = {"rl2": Config, "continual": StreamConfig}
OURS = ("--arm", "--seed", "--run", "--resume", "--resume-or-start")
POLL = 2.0  # seconds between looks at the runs


@dataclass(frozen=True)
class Settings:
    """Train every arm with every seed; options after -- are those of train.rl2."""

    arms: tuple[str, ...] = ("short", "none")
    """Arms to train."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds to train each of them with."""
    program: Literal["rl2", "continual"] = "rl2"
    """Program that trains: train.rl2 or train.continual."""
    jobs: int | None = None
    """Runs at a time; unset: as many as there are cores. Each gets its share of workers."""
    into: Path = Path("runs")
    """Folder in which every run gets a folder of its own."""

    def problems(self, rest: Sequence[str]) -> list[str]:
        """Everything wrong with these values, and with the program's options `rest`."""
        found = [f"--{name} names none" for name in ("arms", "seeds") if not getattr(self, name)]
        found += [
            f"--{name} names each one once"
            for name in ("arms", "seeds")
            if len(set(getattr(self, name))) < len(getattr(self, name))
        ]
        if self.jobs is not None and self.jobs < 1:
            found.append(f"--jobs must be at least 1, not {self.jobs}")
        given = {word.partition("=")[0] for word in rest}
        found += [f"{flag} is set for each run: leave it out" for flag in OURS if flag in given]
        return found


@dataclass
class Run:
    """One run of many.

    Attributes:
        folder: its run folder.
        arguments: of its program.
        total: environment steps of the whole run.
        state: how it stands.
        child: its process, once it has been started.
        notes: sentences to tell before it starts.
    """

    folder: Path
    arguments: list[str]
    total: int
    state: State = "waiting"
    child: Child | None = field(default=None, repr=False)
    notes: list[str] = field(default_factory=list)


def plan(settings: Settings, rest: Sequence[str]) -> list[Run]:
    """All runs, checked as their program will check them.

    Raises:
        InputError: something is wrong with one of them; nothing has been started then.
    """
    if problems := settings.problems(rest):
        raise InputError(problems)
    runs, problems = [], []
    kind, program = PROGRAMS[settings.program], f"train.{settings.program}"
    for seed in settings.seeds:
        for arm in settings.arms:
            chosen = ["--arm", arm, "--seed", str(seed), *rest]
            try:
                import_parts(chosen)
                folder = settings.into / parse(chosen, kind, program)[0].run_folder.name
                arguments = [*chosen, *in_folder(folder)]
                config, origin = parse(arguments, kind, program)
                refuse(config, origin, program)
                tasks = len(config.make_suite(1).tasks)
                problems += config.validate(tasks)
                total = config.resolved(tasks).trained_steps(tasks)
                runs.append(Run(folder, arguments, total, notes=config.rounding(tasks)))
            except InputError as error:
                problems += error.problems
    folders = [run.folder for run in runs]
    problems += [
        f"two runs would be written into {folder}: name arms that differ in more than their module"
        for folder in dict.fromkeys(folders)
        if folders.count(folder) > 1
    ]
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    return runs


def train_all(
    runs: Sequence[Run], program: str, *, jobs: int, stop_signal: StopSignal, console: Console
) -> None:
    """Run all, `jobs` at a time, until they have ended; the states of `runs` say how.

    When a stop is requested every run saves and ends, and no other is started.
    """
    waiting, children = deque(runs), list[Child]()
    share = ["--workers", str(max(1, available_cores() // jobs))]  # the user's own comes after it
    with ended_with_us(children), _shown(runs, console) as show:
        while any(run.state in ("waiting", "training") for run in runs):
            active = [run for run in runs if run.state == "training"]
            while waiting and len(active) < jobs and not stop_signal.requested:
                run = waiting.popleft()
                run.child = Child.start(program, [*share, *run.arguments], run.folder)
                children.append(run.child)
                active.append(run)
                _turn(run, "training", console)
            if stop_signal.requested:
                waiting.clear()
                for run in runs:
                    _stop(run)
            show()
            pause(POLL, stop_signal)
            for run in active:
                if run.child is not None and (code := run.child.code) is not None:
                    _turn(run, ended(code), console)


@contextmanager
def _shown(runs: Sequence[Run], console: Console) -> Iterator[Callable[[], None]]:
    """Show the table in a terminal, anew at each call; elsewhere once, at the end."""
    if not console.is_terminal:
        yield lambda: None
        console.print(progress_table(runs))
        return
    with Live(progress_table(runs), console=console, auto_refresh=False) as live:
        yield lambda: live.update(progress_table(runs), refresh=True)
        live.update(progress_table(runs), refresh=True)


def ended(code: int) -> State:
    """How a run stands whose process ended with `code`."""
    return {0: "finished", INTERRUPTED: "interrupted"}.get(code, "failed")  # type: ignore[return-value]


def _stop(run: Run) -> None:
    if run.state == "waiting":
        run.state = "interrupted"
    elif run.state == "training" and run.child is not None and not run.child.asked:
        run.child.stop()


def _turn(run: Run, state: State, console: Console) -> None:
    """Note how a run stands now, and say so where no table shows it."""
    run.state = state
    if state == "failed":
        console.print(f"{run.folder} failed: {last_words(run.folder)}", markup=False)
    elif not console.is_terminal:
        console.print(f"{run.folder} {state}", markup=False)


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Train as the command line says. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    settings = read(Settings, words[:cut], "train.many")
    runs = plan(settings, words[cut + 1 :])
    jobs = min(settings.jobs or available_cores(), len(runs))
    console = Console(highlight=False)
    for note in dict.fromkeys(note for run in runs for note in run.notes):
        print(f"note: {note}", flush=True)
    with StopSignal() as stop_signal:
        try:
            program = f"train.{settings.program}"
            train_all(runs, program, jobs=jobs, stop_signal=stop_signal, console=console)
        except KeyboardInterrupt:  # asked twice: every run goes back to its last checkpoint
            return INTERRUPTED
    states = {run.state for run in runs}
    if "interrupted" in states:
        print("interrupted: the same command goes on with every run")
        return INTERRUPTED
    return 1 if "failed" in states else 0


if __name__ == "__main__":
    sys.exit(main())
