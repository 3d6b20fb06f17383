"""Which sites does an agent of eras try when nothing succeeds? ``python -m eval.extinction RUN``.

    python -m eval.extinction runs/ERAS-cascade-seed1                θ₁ and all slow policies
    python -m eval.extinction runs/ERAS-cascade-seed1 --level 3      one of them

RUN is of ``train.continual --suite ERAS`` or ``STREAM-FORK-reach``. Definitions are in
docs/memory-benchmarks.md; eval.report shows the results of several runs. Exit codes: 0 done, 1
failed, 2 bad input (nothing written), 75 interrupted.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from agents.rl2 import RL2Agent
from envs.memory_tests.fork import SITES
from envs.memory_tests.fork_streams import PAIRS
from envs.metaworld.suites import FORK_TEST_TRIALS
from envs.pool.pool import WorkerError, WorkerPool
from envs.pool.shared_rollout import worker_problems
from eval.goals.config import imported_core, nearest_folder
from eval.goals.results import print_table, table_console
from eval.memory_tests.extinction import KIND, Extinction, extinction_trials, recency_of
from eval.memory_tests.fork_measure import measure_fork
from eval.outcome import head, write_and_show, write_json
from memory.restored import chosen
from train.collect import acting_policy
from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.command_line import read
from train.run.config import stop
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input
from train.run.run_files import RESULT_LIMIT, RunError, read_object
from train.run.run_folder import foreign_problems, results_folder
from train.run.signals import INTERRUPTED, interrupt_on_signals
from train.run.state import load_agent
from train.run.stream_config import StreamConfig


@dataclass(frozen=True)
class Arguments:
    """The order in which sites are tried when every outcome is a failure."""

    source: tyro.conf.Positional[Path]
    """Run folder of a stream of sites, or one checkpoint in it."""
    level: tuple[int, ...] = ()
    """Policies: 1 the one that learns, 2, 3 the slow ones; default: all that the arm has."""
    trials: int = 100
    """Unseen trials of each policy."""
    attempts: int = 8
    """Attempts of a trial, K."""
    seed: int = 1
    """Seed of the trials and of the shuffles that say what chance is."""
    core: str | None = None
    """Your own core, my_module:MyCore, where the agent was trained with one."""
    workers: int | None = None
    """Worker processes; default: one per available core. They do not change the result."""
    out: Path | None = None
    """File for the JSON; default: RUN/results/extinction-<step>.json."""

    def problems(self) -> list[str]:
        """Everything wrong with these values."""
        found = worker_problems(self.workers)
        for name, most in (("trials", FORK_TEST_TRIALS), ("attempts", 100)):
            if not 1 <= getattr(self, name) <= most:
                found.append(f"--{name} must be from 1 to {most}, not {getattr(self, name)}")
        if len(set(self.level)) < len(self.level) or any(level < 1 for level in self.level):
            found.append("--level names policies from 1 on, each once: 1 is the one that learns")
        if self.seed < 0:
            found.append(f"--seed must be 0 or more, not {self.seed}")
        if self.out is not None and (self.out.is_dir() or nearest_folder(self.out) is None):
            found.append(f"--out {self.out} cannot be written: name a file elsewhere")
        return found


@dataclass(frozen=True)
class Subject:
    """A checkpoint of a stream of sites: its policies by level, and its configuration."""

    saved: Checkpoint
    config: StreamConfig
    policies: dict[int, RL2Agent]


def load(arguments: Arguments) -> Subject:
    """Open the checkpoint. Raises InputError, which lists every problem."""
    problems = arguments.problems() + imported_core(arguments.core)
    try:
        saved = checkpoint.load(arguments.source)
        agent, config = load_agent(saved)
        if not isinstance(config, StreamConfig) or not _of_sites(config):
            stop([*problems, f"{arguments.source} is of no stream of sites: name a run of ERAS"])
        if not saved.step:
            problems.append(f"{saved.path}: no era has begun at step 0: name a later checkpoint")
        levels = arguments.level or range(1, 1 + levels_of(saved))
        policies = {n: agent if n == 1 else load_agent(saved, level=n)[0] for n in levels}
    except CheckpointError as error:
        stop([*problems, *str(error).splitlines()])
    if problems:
        stop(problems)
    return Subject(saved, config, policies)


def levels_of(saved: Checkpoint) -> int:
    """Policies that the checkpoint holds, the fast one included."""
    kept = saved.tensors.get("long_term", {})
    return next(n for n in itertools.count(2) if not chosen(kept, f"level{n}.")) - 1


def _of_sites(config: StreamConfig) -> bool:
    return set(config.without_own_parts().stream().tasks) <= set(PAIRS)


def probe(arguments: Arguments, subject: Subject) -> dict[int, Extinction]:
    """What each policy does. Raises WorkerError where a worker failed for good."""
    trials = extinction_trials(
        subject.config.make_suite(1),
        trials=arguments.trials,
        attempts=arguments.attempts,
        horizon=subject.config.horizon,
        seed=arguments.seed,
    )
    recency = recency_of(subject.config.stream(), subject.saved.step)
    found = {}
    with WorkerPool(arguments.workers) as pool:
        for level, agent in subject.policies.items():
            outcomes = measure_fork(acting_policy(agent), trials, pool=pool)
            found[level] = Extinction.of(outcomes.choices, recency, seed=arguments.seed)
    return found


def show(console: Console, subject: Subject, found: dict[int, Extinction]) -> None:
    """Print one row a policy."""
    recency = recency_of(subject.config.stream(), subject.saved.step)
    rows: dict[str, list[str]] = {"policy": [f"θ{level}" for level in found]}
    rows["τ"] = [f"{f.tau:+.2f} (p {f.p_tau:.3f})" for f in found.values()]
    rows["τ without the present era"] = [
        f"{f.tau_past:+.2f} (p {f.p_tau_past:.3f})" for f in found.values()
    ]
    rows["older sites before a never-rewarded one"] = [
        f"{f.past:.2f} (chance {f.chance_past:.2f}, p {f.p_past:.3f})" for f in found.values()
    ]
    rows["sites touched"] = [f"{f.touched:.1f}" for f in found.values()]
    for site in range(len(SITES)):
        back = recency[site]
        era = "never" if back == recency.max() else "present" if not back else f"{back} back"
        tried = [1 + f.order[:, site].mean() for f in found.values()]
        rows[f"site {site + 1}, {era}"] = [f"{attempt:.1f}" for attempt in tried]
    print_table(console, "extinction: mean attempt in which each site is first tried", rows)


def default_path(saved: Checkpoint) -> Path | None:
    """Where the JSON goes; None, with a note, where the checkpoint lies in no run folder."""
    folder = results_folder(saved)
    if folder is None:
        print(f"note: {saved.path} is in no folder of its run: keep the result with --out FILE")
        return None
    return folder / f"extinction-{saved.step:012d}.json"


def other_settings(path: Path, arguments: Arguments) -> list[str]:
    """Why a result at `path` may not be replaced: it was not asked for like this one."""
    if not path.exists():
        return []
    elsewhere = "keep the new one with --out FILE, or move the old one first"
    try:
        former = read_object(path, RESULT_LIMIT)["settings"].value
    except RunError:
        return [f"{path} is damaged, or of another version: {elsewhere}"]
    asked = {name: getattr(arguments, name) for name in ("trials", "attempts", "seed")}
    asked["level"] = list(arguments.level)
    held = former if isinstance(former, dict) else {}
    unlike = [f"{name} {held.get(name)}" for name in asked if held.get(name) != asked[name]]
    return [f"{path} was made with {', '.join(unlike)}: {elsewhere}"] if unlike else []


def write(path: Path, arguments: Arguments, subject: Subject, found: dict[int, Extinction]) -> None:
    """Write the JSON atomically. Raises OSError; an older file is then intact."""
    settings: dict[str, Any] = dataclasses.asdict(arguments)
    settings |= {name: str(settings[name]) for name in ("source", "out") if settings[name]}
    values = {
        **head(KIND, 1, subject.saved),
        "settings": settings,
        "recency": recency_of(subject.config.stream(), subject.saved.step).tolist(),
        "levels": {str(level): extinction.to_json() for level, extinction in found.items()},
    }
    write_json(path, values)


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Read, check, probe, write, print. Returns the exit code."""
    arguments = read(Arguments, sys.argv[1:] if argv is None else argv, "eval.extinction")
    try:
        subject = load(arguments)
        if arguments.out and (problems := foreign_problems(arguments.out, subject.saved)):
            stop(problems)
        path = arguments.out or default_path(subject.saved)
        if not arguments.out and path and (problems := other_settings(path, arguments)):
            stop(problems)
        found = probe(arguments, subject)
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing was written; run the same command again", file=sys.stderr)
        return INTERRUPTED
    paths = [] if path is None else [path]
    return write_and_show(
        paths,
        lambda: write(paths[0], arguments, subject, found),
        lambda: show(table_console(), subject, found),
    )


if __name__ == "__main__":
    interrupt_on_signals()  # as Ctrl-C: no worker is left behind
    sys.exit(main())
