"""How fast everything is, side by side on this machine: ``python -m eval.throughput``.

    python -m eval.throughput                       the ten ML10 tasks: about half an hour
    python -m eval.throughput --quick               two tasks, for a look: about a minute
    python -m eval.throughput --only gym-async ours-policy --repeats 9
    python -m eval.throughput --cores               how fast each core acts and learns
    python -m eval.throughput --profile             where the time of a step goes
    python -m eval.throughput.messages              what learners that share a run exchange

Contenders take turns within each repeat, so that what else the machine does hits them alike; ratios
are taken within repeats. Exit codes: 0 done, 1 failed, 2 bad input (nothing written), 75
interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.metaworld import primitives
from envs.metaworld.suites import Suite, make_suite, suite_problems
from envs.metaworld.task_env import unverified
from envs.pool.pool import available_cores
from eval.goals.config import nearest_folder
from eval.outcome import write_and_show
from eval.throughput.aims import aims_table, paired_ratio, reached
from eval.throughput.cores import CORE_ACTING, CORE_LEARNING
from eval.throughput.rivals import STEPPING, Contender, Entry, Setup
from eval.throughput.step_profile import profile, profile_table
from eval.throughput.training import TRAINING
from train.run.command_line import read
from train.run.config import stop
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input
from train.run.signals import INTERRUPTED, interrupt_on_signals
from train.run.verified_folder import environment, replace_file, versions

OF_CORES = {**CORE_ACTING, **CORE_LEARNING}
ENTRIES: dict[str, Entry] = {**STEPPING, **TRAINING, **OF_CORES}
REFERENCE = {**dict.fromkeys(STEPPING, "gym-async"), **dict.fromkeys(TRAINING, "rppo-tuned")}
REFERENCE |= {**dict.fromkeys(CORE_ACTING, "act-gru"), **dict.fromkeys(CORE_LEARNING, "learn-gru")}
QUICK = {"tasks": ("reach-v3", "push-v3"), "steps": 1000, "train_steps": 1000, "repeats": 2}


@dataclass(frozen=True)
class Settings:
    """Compare the speed of Strata with that of other tools, on the same tasks."""

    quick: bool = False
    """Two tasks and few steps; values given beside it are kept. No result to be quoted."""
    tasks: tuple[str, ...] = ()
    """Tasks to step; default: the ten training tasks of ML10."""
    cores: bool = False
    """Measure the cores instead, each alone without a simulator, at the sizes of FORK's recipe."""
    profile: bool = False
    """Measure the parts of one environment step instead, one process, all tasks in turn."""
    only: tuple[str, ...] = ()
    """Contenders to run; default: all but cores. See the first column of the table."""
    repeats: int = 5
    """Measurements of each contender; medians are shown."""
    steps: int = 20_000
    """Environment steps of one measurement of stepping."""
    train_steps: int = 20_000
    """Environment steps, at least, of one measurement of training."""
    envs: int | None = None
    """Environments stepped together, a multiple of the tasks; unset: two per task."""
    seed: int = 1
    """Seed of goals, actions and weights."""
    out: Path | None = None
    """File for all numbers as JSON; the table goes beside it as Markdown."""

    @property
    def environments(self) -> int:
        """Environments stepped together."""
        return 2 * (len(self.tasks) or 10) if self.envs is None else self.envs

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the contenders, in the table's order."""
        wanted = self.only or [name for name in ENTRIES if (name in OF_CORES) == self.cores]
        return tuple(name for name in ENTRIES if name in wanted)

    def problems(self) -> list[str]:
        """Everything wrong with these values."""
        found = [
            f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}"
            for name in ("repeats", "steps", "train_steps")
            if getattr(self, name) < 1
        ]
        found += [
            f"--only: unknown contender {name!r}: choose from {', '.join(ENTRIES)}"
            for name in self.only
            if name not in ENTRIES
        ]
        if self.profile and (refusal := unverified()):
            found.append(f"--profile times the parts of a fast step: {refusal}")
        if self.profile and (self.only or self.cores):
            found.append("--profile measures no contenders: leave --only and --cores out")
        if self.tasks:
            found += suite_problems("custom", task=None, tasks=self.tasks, test_tasks=())
        tasks = len(self.tasks) or 10
        if self.environments < 1 or self.environments % tasks:
            found.append(f"--envs {self.envs} is no multiple of {tasks} tasks: try {2 * tasks}")
        elif self.environments > 50 * tasks:
            found.append(f"--envs {self.envs}: a task has 50 goals, so at most {50 * tasks}")
        if not 0 <= self.seed < 2**31:
            found.append(f"--seed must be from 0 to {2**31 - 1}, not {self.seed}")
        if self.out is not None and self.out.suffix == ".md":
            found.append(
                f"--out {self.out} is the JSON's name, and the table's ends in .md: use .json"
            )
        elif self.out is not None and (self.out.is_dir() or nearest_folder(self.out) is None):
            found.append(f"--out {self.out} cannot be written: name a file, e.g. throughput.json")
        return found


@dataclass(frozen=True)
class Line:
    """What was measured of one contender.

    Attributes:
        name: as for ``--only``.
        rates: environment steps per second, one per repeat.
        steps: environment steps of each measurement.
    """

    name: str
    rates: list[float]
    steps: list[int]


def parse(argv: Sequence[str]) -> Settings:
    """Read the command line; ends with exit code 2 listing every problem."""
    quick = "--quick" in argv
    default = Settings(quick=quick, **QUICK) if quick else Settings()  # type: ignore[arg-type]
    settings = read(Settings, argv, "eval.throughput", default=default)
    if problems := settings.problems():
        stop(problems)
    return settings


def measure(settings: Settings, suite: Suite) -> tuple[list[Line], dict[str, str]]:
    """Run all contenders in turn, `repeats` times; also says which were skipped and why."""
    setup = Setup(suite, settings.environments, settings.seed)
    lines: dict[str, Line] = {}
    skipped: dict[str, str] = {}
    stepping, training = settings.steps, settings.train_steps
    for group, steps in (
        (STEPPING, stepping),
        (TRAINING, training),
        (CORE_ACTING, stepping),
        (CORE_LEARNING, training),
    ):
        with ExitStack() as stack:
            contenders: dict[str, Contender] = {}
            for name in settings.chosen:
                if name not in group:
                    continue
                if reason := group[name].absent():
                    skipped[name] = reason
                    print(f"  skipped    {name}: {reason}", flush=True)
                    continue
                print(f"  preparing  {group[name].title}", flush=True)
                contenders[name] = group[name].make(setup)
                stack.callback(_close, contenders[name])
                contenders[name].run(max(1, steps // 10))  # models compiled, resets remembered
            for repeat in range(settings.repeats if contenders else 0):
                for name, contender in contenders.items():
                    began = time.perf_counter()
                    taken = contender.run(steps)
                    rate = taken / (time.perf_counter() - began)
                    line = lines.setdefault(name, Line(name, [], []))
                    line.rates.append(rate)
                    line.steps.append(taken)
                print(f"  repeat     {repeat + 1} of {settings.repeats}", flush=True)
    return list(lines.values()), skipped


def _close(contender: Contender) -> None:
    """Ctrl-C may have ended a rival's processes already; what is left of them ends with us."""
    with suppress(OSError, EOFError):
        contender.close()


def ratios(lines: Sequence[Line]) -> dict[str, float]:
    """Median over repeats of each rate by its reference's in the same repeat, where there is one.

    Stepping is compared with `gym.make_vec(…, "async")`, training with the tuned RecurrentPPO,
    cores with the GRU.
    """
    rates = {line.name: line.rates for line in lines}
    return {
        name: paired_ratio(own, rates[REFERENCE[name]])
        for name, own in rates.items()
        if REFERENCE[name] in rates
    }


def table(lines: Sequence[Line]) -> str:
    """A Markdown table: median, spread and ratio of every contender."""
    against = ratios(lines)
    rows = ["| | contender | steps/s | from – to | ratio |", "|---|---|---|---|---|"]
    for line in lines:
        ratio = f"{against[line.name]:.2f}" if line.name in against else ""
        rows.append(
            f"| {line.name} | {ENTRIES[line.name].title} | {statistics.median(line.rates):,.0f} "
            f"| {min(line.rates):,.0f} – {max(line.rates):,.0f} | {ratio} |"
        )
    return "\n".join(rows)


def machine() -> dict[str, Any]:
    """What the numbers depend on: cores really available, load of others, versions."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    cores = {"available": available_cores(), "present": os.cpu_count()}
    others = versions("gymnasium", "stable-baselines3", "sb3-contrib", "envpool")
    known = {"system": platform.platform(), **environment(), **others}
    compiled = primitives.compiled is not None
    return {"cores": cores, "load_before": load, "compiled": compiled, **known}


def report(settings: Settings, suite: Suite, found: dict[str, Any], lines: Sequence[Line]) -> str:
    """The table with what it rests on, as Markdown."""
    cores, load = found["cores"], found["load_before"]
    return (
        f"{len(suite.tasks)} tasks, {settings.environments} environments, "
        f"{settings.repeats} interleaved repeats, medians; {cores['available']} of "
        f"{cores['present']} cores, load before {'unknown' if load is None else f'{load:.1f}'}"
        f"{'; quick, not to be quoted' if settings.quick else ''}. {_stepped(found)} "
        "Ratios: stepping to gym-async, training to rppo-tuned, cores to gru."
        f"\n\n{table(lines)}\n{_aims(lines)}"
    )


def _stepped(found: dict[str, Any]) -> str:
    return f"Strata steps in {'C' if found['compiled'] else 'Python'}."


def _aims(lines: Sequence[Line]) -> str:
    found = aims_table({line.name: line.rates for line in lines})
    return f"\n{found}\n" if found else ""


def write(path: Path, text: str, document: dict[str, Any]) -> None:
    """Write the JSON and, beside it, the Markdown. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(document, indent=1) + "\n").encode())
    replace_file(path.with_suffix(".md"), text.encode())


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Parse, check everything, measure, write, print. Returns the exit code."""
    settings = parse(sys.argv[1:] if argv is None else argv)
    found = machine()
    what = "the parts of a step" if settings.profile else ", ".join(settings.chosen)
    print(f"Strata throughput: {what}", flush=True)
    try:
        name = "custom" if settings.tasks else "ML10"
        suite = make_suite(name, tasks=settings.tasks, seed=settings.seed)
        if settings.profile:
            return show_profile(settings, suite)
        lines, skipped = measure(settings, suite)
    except KeyboardInterrupt:
        print("interrupted: nothing was written; run the same command again", file=sys.stderr)
        return INTERRUPTED
    text = report(settings, suite, found, lines)
    document = document_of(settings, suite, found)
    document |= {"skipped": skipped, "ratios": ratios(lines)}
    document["aims"] = reached({line.name: line.rates for line in lines})
    document["lines"] = [dataclasses.asdict(line) for line in lines]
    return finish(settings, text, document)


def show_profile(settings: Settings, suite: Suite) -> int:
    """Measure the parts of a step, write, print. Returns the exit code."""
    found = profile(
        suite.split("train"), steps=settings.steps, repeats=settings.repeats, seed=settings.seed
    )
    here = machine()
    said = f"{len(suite.tasks)} tasks in turn, one process. {_stepped(here)}"
    text = f"{said}\n\n{profile_table(found)}\n"
    return finish(settings, text, document_of(settings, suite, here) | {"profile": found})


def document_of(settings: Settings, suite: Suite, found: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, and of which machine."""
    chosen = {**dataclasses.asdict(settings), "out": str(settings.out), "tasks": suite.tasks}
    return {"settings": chosen, "machine": found}


def finish(settings: Settings, text: str, document: dict[str, Any]) -> int:
    """Write what was asked to be written, then print. Returns the exit code."""
    out = [] if settings.out is None else [settings.out, settings.out.with_suffix(".md")]
    return write_and_show(
        out, lambda: write(out[0], text, document), lambda: print(f"\n{text}", end="")
    )


if __name__ == "__main__":
    interrupt_on_signals()  # as Ctrl-C: no process is left
    sys.exit(main())
