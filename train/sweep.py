"""Search settings: ``python -m train.sweep --trials 20 --param learning-rate:log:1e-4:2e-3 …``.

    python -m train.sweep --suite ML1 --task push-v3 --param learning-rate:log:1e-4:2e-3
    python -m train.sweep --suite ML10 --trials 30 --jobs 4 --param clip:linear:0.1:0.3

Every setting is one run of train.rl2 with the other options. Runs of little training success,
beside others at the same step, are stopped early. Options after -- go to train.rl2 as they are,
e.g. its own --trials. Ctrl-C lets every run save; the same command goes on. Exit codes: 0 done, 1
every run failed, 2 bad input (nothing written), 75 interrupted and resumable. It needs optuna:
pip install -e '.[sweep]'.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from envs.pool.pool import available_cores
from train.run.checkpoint import check_run_folder
from train.run.children import Child, ended_with_us, in_folder, is_number, last_words, pause
from train.run.command_line import read_known
from train.run.config import Config
from train.run.console import forgiving_console
from train.run.input_error import InputError, exits_on_bad_input
from train.run.log import METRICS, read_metrics
from train.run.origin import command, parse
from train.run.program import import_parts, problems_here
from train.run.run_files import MOST_STEPS
from train.run.run_folder import enclosing, holds_something
from train.run.signals import INTERRUPTED, StopSignal
from train.run.sweep_space import Parameter, parameter

if TYPE_CHECKING:
    import optuna

PROGRAM = "train.rl2"
POLL = 2.0  # seconds between looks at the runs
SMOOTHING = 0.1  # of training success, as for the best checkpoint (train.rl2)
UNJUDGED = 4  # runs that end before any is stopped early, and none in its first quarter
OURS = ("--run", "--resume", "--resume-or-start")


@dataclass(frozen=True)
class Settings:
    """Search the settings of train.rl2 that learn best; all other options are its own."""

    param: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """What to vary, one --param for each option: name:log:LOW:HIGH, name:linear:LOW:HIGH,
    name:int:LOW:HIGH or name:choice:A,B,C."""
    trials: int = 20
    """Settings to try in all, those of an interrupted search included."""
    jobs: int = 1
    """Runs at a time. Each gets its share of workers."""
    into: Path = Path("runs/sweep")
    """Folder of the search: its runs, and what is known of them in sweep.db (SQLite)."""
    sampler_seed: int = 1
    """Seed of the search itself."""
    prune: bool = True
    """Stop runs early whose training success is below the median of others at the same step."""


@dataclass
class Attempt:
    """One run of the search, while its process lives."""

    trial: optuna.Trial
    child: Child
    seen: int = 0
    success: float | None = None
    pruned: bool = False

    def look(self, *, prune: bool) -> None:
        """Tell the study what has been logged since the last look; stop the run if it is poor."""
        rows = read_metrics(self.child.folder) if (self.child.folder / METRICS).exists() else []
        for row in rows[self.seen :]:
            value: Any = row.get("train/success")
            if is_number(value) and row["step"] <= MOST_STEPS:
                before: float = value if self.success is None else self.success
                smoothed = before + SMOOTHING * (value - before)
                self.trial.report(smoothed, row["step"])
                self.success = smoothed
        self.seen = max(self.seen, len(rows))
        if prune and not self.child.asked and self.trial.should_prune():
            self.pruned = True
            self.child.stop()


def search(
    study: optuna.Study,
    settings: Settings,
    parameters: Sequence[Parameter],
    rest: Sequence[str],
    stop_signal: StopSignal,
    *,
    program: str = PROGRAM,
) -> None:
    """Try settings until there are `settings.trials`, or until a stop is requested."""
    share = ["--workers", str(max(1, available_cores() // settings.jobs))]
    children: list[Child] = []
    active: list[Attempt] = []
    with ended_with_us(children):
        while active or (_left(study, settings) > 0 and not stop_signal.requested):
            room = min(settings.jobs - len(active), _left(study, settings) - len(active))
            for _ in range(0 if stop_signal.requested else room):
                trial = study.ask()
                folder = settings.into / trial.user_attrs.get("run", f"{trial.number:04d}")
                trial.set_user_attr("run", folder.name)
                chosen = [word for p in parameters for word in (p.flag, p.draw(trial))]
                arguments = [*share, *rest, *chosen, *in_folder(folder)]
                active.append(Attempt(trial, Child.start(program, arguments, folder)))
                children.append(active[-1].child)
            pause(POLL, stop_signal)
            for attempt in list(active):
                attempt.look(prune=settings.prune)
                if stop_signal.requested and not attempt.child.asked:
                    attempt.child.stop()
                if (code := attempt.child.code) is not None:
                    active.remove(attempt)
                    attempt.look(prune=False)
                    conclude(study, attempt, code)


def conclude(study: optuna.Study, attempt: Attempt, code: int) -> None:
    """Tell the study how a run has ended; an interrupted one is left open, to be gone on with."""
    from optuna.trial import TrialState

    name, success = attempt.child.folder, attempt.success
    if code == 0 and success is not None:
        study.tell(attempt.trial, success)
        print(f"{name}: success {success:.3f}  {attempt.trial.params}", flush=True)
    elif attempt.pruned:
        study.tell(attempt.trial, state=TrialState.PRUNED)
        print(f"{name}: stopped early at success {success:.3f}", flush=True)
    elif code != INTERRUPTED:
        study.tell(attempt.trial, state=TrialState.FAIL)
        print(f"{name}: failed: {last_words(name)}", flush=True)


def reopen(study: optuna.Study) -> None:
    """Put runs that were interrupted first in the queue, with their settings and folders.

    Nobody else works on the study, so what is still marked as running was interrupted.
    """
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if "run" in trial.user_attrs:
            study.enqueue_trial(trial.params, user_attrs={"run": trial.user_attrs["run"]})
        study.tell(trial.number, state=TrialState.FAIL)


def best_command(study: optuna.Study, parameters: Sequence[Parameter], rest: Sequence[str]) -> str:
    """The command that trains with the best settings found, quoted for a shell."""
    best = study.best_trial.params
    chosen = [word for p in parameters for word in (p.flag, str(best[p.name]))]
    return command(PROGRAM, *rest, *chosen)


def checked(settings: Settings, rest: Sequence[str]) -> tuple[list[Parameter], int]:
    """What is varied, and steps of a run, after train.rl2 itself has accepted the ends of ranges.

    Raises:
        InputError: something is wrong; nothing has been written then.
    """
    problems = [
        f"--{name} must be at least 1, not {getattr(settings, name)}"
        for name in ("trials", "jobs")
        if getattr(settings, name) < 1
    ]
    given = {word.partition("=")[0] for word in rest}
    problems += [f"{flag} is set for each run: leave it out" for flag in OURS if flag in given]
    if holds_something(settings.into) or enclosing(settings.into) is not None:
        problems.append(f"--into {settings.into} is a run's folder: choose one of its own")
    if "?" in str(settings.into):  # where the address of a database ends
        problems.append(f"--into {settings.into}: SQLite takes no ? in a path, choose another")
    problems += [f"--into: {problem}" for problem in check_run_folder(settings.into)]
    if not settings.param:
        problems.append("name what to vary, e.g. --param learning-rate:log:1e-4:2e-3")
    if problems:
        raise InputError(problems)
    import_parts(rest)
    parameters = [parameter(text) for text in settings.param]
    if len({p.name for p in parameters}) < len(parameters):
        raise InputError(["--param varies each option once"])
    ends = [[word for p in parameters for word in (p.flag, p.values[end])] for end in (0, -1)]
    inner = [[p.flag, value] for p in parameters for value in p.values[1:-1]]
    configs = [parse([*rest, *chosen], Config, PROGRAM)[0] for chosen in (*ends, *inner)]
    problems = [problem for config in configs for problem in problems_here(config)]
    if not problems:  # a sound configuration alone has tasks
        tasks = len(configs[0].make_suite(1).tasks)
        problems = [problem for config in configs for problem in config.validate(tasks)]
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    for note in dict.fromkeys(note for config in configs for note in config.rounding(tasks)):
        print(f"note: {note}")
    return parameters, configs[0].trained_steps(tasks)


@contextmanager
def opened(settings: Settings, rest: Sequence[str], total: int) -> Iterator[optuna.Study]:
    """The study in the folder of the search, ours alone until the body ends.

    Raises:
        InputError: optuna is not installed, the folder is another search's, or in use.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError(["a sweep needs optuna: pip install -e '.[sweep]'"]) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    files = [settings.into / name for name in ("sweep.lock", "sweep.db")]
    if odd := [path for path in files if os.path.lexists(path) and not _plain(path)]:
        raise InputError([f"{odd[0]} is not a plain file: choose another folder with --into"])
    asked = json.dumps([sorted(settings.param), list(rest)])
    with _alone(files[0]):
        try:
            study = optuna.create_study(
                storage=f"sqlite:///{files[1]}",
                study_name="sweep",
                direction="maximize",
                load_if_exists=True,
                sampler=optuna.samplers.TPESampler(seed=settings.sampler_seed),
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=UNJUDGED, n_warmup_steps=total // 4
                ),
            )
            same = study.user_attrs.get("asked", asked) == asked
            runs = [t.user_attrs["run"] for t in study.get_trials() if "run" in t.user_attrs]
        except Exception as error:  # of SQLite, SQLAlchemy or optuna, on a file that is not theirs
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                [f"{files[1]} cannot be read ({what}): choose another folder with --into"]
            ) from error
        if not same or not all(re.fullmatch(r"\d{4,9}", str(name)) for name in runs):
            raise InputError(
                [f"{settings.into} holds another search: choose another folder with --into"]
            )
        study.set_user_attr("asked", asked)
        yield study


def _plain(path: Path) -> bool:
    """Whether it is a file, and no link, pipe or folder."""
    return path.is_file() and not path.is_symlink()


def _left(study: optuna.Study, settings: Settings) -> int:
    """Settings still to be brought to an end, those that run now included."""
    trials = study.get_trials(deepcopy=False)
    open_runs = {t.user_attrs.get("run") for t in trials if not t.state.is_finished()}
    runs = {t.user_attrs["run"] for t in trials if "run" in t.user_attrs}
    return settings.trials - len(runs - open_runs)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel lets go when this process ends. InputError: another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError([f"{path.parent} is in use by another search: wait for it"]) from error
        yield


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Search as the command line says. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    settings, rest = read_known(Settings, words[:cut], "train.sweep")
    rest += words[cut + 1 :]
    parameters, total = checked(settings, rest)
    with StopSignal() as stop_signal, opened(settings, rest, total) as study:
        reopen(study)
        with suppress(KeyboardInterrupt):  # asked twice: runs go back to their last checkpoints
            search(study, settings, parameters, rest, stop_signal)
        if _left(study, settings) > 0:
            print("interrupted: the same command goes on")
            return INTERRUPTED
        return report(study, settings, parameters, rest)


def report(
    study: optuna.Study, settings: Settings, parameters: Sequence[Parameter], rest: Sequence[str]
) -> int:
    """Print the best settings as a command. Returns the exit code."""
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        print(f"error: no run came to its end: see {settings.into}/*.log", file=sys.stderr)
        return 1
    print(f"best training success {study.best_value:.3f}, of {len(complete)} whole runs:")
    print(best_command(study, parameters, rest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
