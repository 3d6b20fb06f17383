"""Configuration of a run: frozen dataclasses, parsed from the command line by tyro.

Everything wrong with a configuration is reported at once, with the flag to change, and nothing is
written before it is right.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import tyro

from agents.rl2 import AgentConfig
from envs.pool import available_cores
from envs.stepping import MAX_HORIZON
from envs.suites import suite_problems
from train import checkpoint
from train.checkpoint import Checkpoint, CheckpointError
from train.ppo import PPOConfig
from train.sealed import replace_file

CHANGEABLE = frozenset(
    {
        "total_steps",
        "workers",
        "threads",
        "device",
        "checkpoint_every",
        "evaluate_every",
        "video_every",
        "keep",
    }
)
"""Fields that may differ when a run is resumed: they do not change what is learnt up to a step,
except total_steps, which sets where the learning-rate schedule ends."""


STEPS_PER_TASK = 2_000_000  # as Meta-World+ budgets its meta-RL runs (arXiv 2505.11289)


@dataclass(frozen=True)
class Config:
    """Train RL² on Meta-World."""

    suite: str = "ML10"
    """ML1 (with --task), ML10, ML25, ML45, MT10, MT50, or custom (with --tasks)."""
    task: str | None = None
    """The task of ML1, e.g. reach-v3."""
    tasks: tuple[str, ...] = ()
    """Training tasks of a custom suite."""
    test_tasks: tuple[str, ...] = ()
    """Held-out tasks of a custom suite; without them it is tested on unseen goals."""
    seed: int = 1
    """Seed of goals, trials, exploration, initial weights and minibatches."""
    train_goals: int = 1000
    """Goals of each training task; 50 is Meta-World's own list, which a memory learns by heart."""
    total_steps: int | None = None
    """Environment steps to train for; default: 2 million per training task, 20 million for ML10."""
    episodes: int = 2
    """Episodes of a training trial (K); memory is carried through all of them."""
    horizon: int = 250
    """Steps of a training episode (H)."""
    trials: int | None = None
    """Trials of one iteration; default: the smallest multiple of the tasks that is at least 40."""
    lanes: int = 10
    """Trials that a worker steps together. Part of the result's last digits; workers are not."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    run: Path | None = None
    """Folder of the run; default: runs/<suite>-<arm>-seed<seed>."""
    workers: int | None = None
    """Worker processes; default: one per available core."""
    threads: int = 1
    """Threads of the learner: matrices this small gain little from more, and on a busy machine
    threads that wait for each other lose several-fold (docs/decisions.md)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the learner runs; workers always act on the CPU."""
    checkpoint_every: int = 250_000
    """Environment steps between checkpoints."""
    evaluate_every: int = 1_000_000
    """Environment steps between quick evaluations on the test split (0: none)."""
    video_every: int = 0
    """Environment steps between videos of the agent in TensorBoard (0: none)."""
    keep: int = 3
    """Checkpoints to keep besides the best one."""

    @property
    def arm(self) -> str:
        """Name of the memory configuration."""
        return {"gru": "short", "lstm": "short-lstm", "none": "none"}[self.agent.core]

    @property
    def run_folder(self) -> Path:
        """Where this run is written."""
        name = f"{self.task if self.suite == 'ML1' else self.suite}-{self.arm}-seed{self.seed}"
        return self.run or Path("runs") / name

    def trials_for(self, tasks: int) -> int:
        """Trials of one iteration when the suite trains on `tasks` tasks."""
        return self.trials or -(-40 // tasks) * tasks

    def validate(self, tasks: int | None = None) -> list[str]:
        """Everything wrong with this configuration; `tasks` is the number of training tasks."""
        found = suite_problems(
            self.suite, task=self.task, tasks=self.tasks, test_tasks=self.test_tasks
        )
        positive = (
            "train_goals", "episodes", "horizon", "lanes", "threads", "checkpoint_every", "keep"
        )  # fmt: skip
        found += [
            f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}"
            for name in positive
            if getattr(self, name) < 1
        ]
        found += [
            f"--{name} must be at least 1, not {value}"
            for name, value in (
                ("total-steps", self.total_steps),
                ("trials", self.trials),
                ("workers", self.workers),
            )
            if value is not None and value < 1
        ]
        if self.seed < 0 or self.seed >= 2**31:
            found.append(f"--seed must be from 0 to {2**31 - 1}, not {self.seed}")
        found += [
            f"--{name.replace('_', '-')} must be 0 (never) or more, not {getattr(self, name)}"
            for name in ("evaluate_every", "video_every")
            if getattr(self, name) < 0
        ]
        if self.horizon > MAX_HORIZON:
            found.append(f"--horizon is at most {MAX_HORIZON}, Meta-World's own limit")
        if tasks and self.trials and self.trials % tasks:
            nearest = -(-self.trials // tasks) * tasks
            found.append(
                f"--trials {self.trials} does not divide among {tasks} tasks: try {nearest}"
            )
        return found + self.agent.problems() + self.ppo.problems()

    def resolved(self, tasks: int) -> Config:
        """The same with all defaults filled in, for `tasks` training tasks on this machine."""
        return dataclasses.replace(
            self,
            run=self.run_folder,
            total_steps=self.total_steps or STEPS_PER_TASK * tasks,
            trials=self.trials_for(tasks),
            workers=self.workers or available_cores(),
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values; `Config.from_json` restores all but the folder, which may move."""
        return {**dataclasses.asdict(self), "run": None}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Config:
        """Inverse of `to_json`. Raises ValueError naming unknown or ill-typed fields."""
        return _build(cls, values, "")


_Arguments = Annotated[Config, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes]


def difference(old: Config, new: Config) -> list[str]:
    """Fields that differ although a resumed run must not change them, one sentence each."""
    return [
        f"{name}: the run has {a!r}, you asked for {b!r}"
        for (name, a), (_, b) in zip(_flatten(old), _flatten(new), strict=True)
        if a != b and name not in CHANGEABLE and name != "run"
    ]


def parse(argv: Sequence[str]) -> tuple[Config, Checkpoint | None]:
    """Read the command line; with ``--resume RUN`` the run's own configuration is the default.

    Ends with exit code 2 and a message where the line cannot be read, a checkpoint is unusable, or
    a resumed run would be changed.
    """
    rest = list(argv)
    folder = _take(rest, "--resume")
    if folder is None:
        return tyro.cli(_Arguments, args=rest, prog="python -m train.rl2"), None
    try:
        saved = checkpoint.load(Path(folder))
        old = Config.from_json(saved.config)
    except (CheckpointError, ValueError) as error:
        stop([f"--resume {folder}: {error}"])
    run = Path(folder).parent.parent if saved.path == Path(folder) else Path(folder)
    old = dataclasses.replace(old, run=run)
    new = tyro.cli(_Arguments, args=rest, default=old, prog="python -m train.rl2 --resume RUN")
    changed = difference(old, new)
    if changed:
        stop(
            [f"--resume {folder}: {change}" for change in changed],
            "start a new run for another configuration; a resumed one may change only "
            + ", ".join(f"--{name.replace('_', '-')}" for name in sorted(CHANGEABLE)),
        )
    return new, saved


def _take(arguments: list[str], flag: str) -> str | None:
    """Remove ``flag VALUE`` or ``flag=VALUE`` from `arguments` and return the value."""
    for i, argument in enumerate(arguments):
        if argument == flag:
            if i + 1 == len(arguments):
                stop([f"{flag} needs a run folder, e.g. {flag} runs/ML10-short-seed1"])
            value = arguments[i + 1]
            del arguments[i : i + 2]
            return value
        if argument.startswith(flag + "="):
            del arguments[i]
            return argument.removeprefix(flag + "=")
    return None


def write_config(config: Config) -> None:
    """Write the resolved configuration into its run folder, atomically."""
    text = json.dumps(config.to_json(), indent=2) + "\n"
    replace_file(config.run_folder / "config.json", text.encode())


def stop(problems: list[str], hint: str = "") -> NoReturn:
    """End with exit code 2 after printing each problem on its own line."""
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if hint:
        print(hint, file=sys.stderr)
    raise SystemExit(2)


def _flatten(config: Any, prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            pairs += _flatten(value, f"{prefix}{f.name}.")
        else:
            pairs.append((prefix + f.name, value))
    return pairs


def _build(cls: Any, values: Any, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{prefix or 'config'} must be a JSON object")
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}
    problems = [f"unknown field {prefix}{name}" for name in values if name not in names]
    if problems:
        raise ValueError("; ".join(problems))
    # A field that is younger than the file keeps its default, so that old runs stay readable.
    return cls(**{n: _convert(hints[n], v, f"{prefix}{n}") for n, v in values.items()})


def _convert(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type that `hint` names; raises ValueError naming the field."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, name + ".")
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _convert(next(o for o in options if o is not type(None)), value, name)
    if origin is Literal:
        if value not in options:
            raise ValueError(f"{name} must be one of {', '.join(options)}, not {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} must be a list, not {json.dumps(value)}")
        return tuple(_convert(options[0], item, name) for item in value)
    accepted = {Path: str, float: (int, float)}.get(hint, hint)
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{name} must be {hint.__name__}, not {value!r}")
    try:
        return hint(value)
    except OverflowError as error:  # a whole number that no float can hold
        raise ValueError(f"{name} is too large for a number") from error
