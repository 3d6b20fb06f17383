"""What to evaluate and how: the command line of `eval.evaluate`, checked before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import tyro

from agents.rl2 import RL2Agent
from envs.memory_tests.fork import ForkSettings, fork_settings
from envs.metaworld.suites import GOALS_PER_TASK, Suite, SuiteError
from envs.metaworld.task_env import MAX_HORIZON
from envs.pool.shared_rollout import worker_problems
from eval.goals.elsewhere import Elsewhere
from memory.cores.registry import CoreError, import_core
from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.command_line import read, read_some
from train.run.config import Config, stop
from train.run.run_folder import is_a_runs_own
from train.run.state import load_agent
from train.run.stream_config import read_config
from train.run.verified_folder import can_hold_files, from_json, read_file

CONFIG_LIMIT = 2**20  # bytes
MAX_EPISODES = 100  # a trial is held in memory as a whole
_COUNTS = ("goals", "episodes", "horizon", "attempts", "lifetime", "official_rounds", "level")


@dataclass(frozen=True)
class Settings:
    """Measure an agent on held-out goals, with confidence intervals, floors and a ceiling.

    For an agent of your own: --agent my_module:load --suite ML10, and --agent x --help for more.
    """

    source: tyro.conf.Positional[Path]
    """Run folder, or one checkpoint in it."""
    preset: Literal["full", "quick"] = "full"
    """Defaults of all options below: full is for results, quick for a look on the way."""
    split: Literal["test", "train"] = "test"
    """Held-out tasks or goals, or those trained on."""
    out: Path | None = None
    """File for the JSON; unset: RUN/results/eval-<split>-<step>.json, and what differs. A quick
    one of a run that is part of the repository goes to runs/looked-at."""
    workers: int | None = None
    """Worker processes; unset: one per available core. They do not change the result."""
    task: str | None = None
    """One task instead of the run's own, e.g. reach-v3."""
    tasks: tuple[str, ...] = ()
    """Tasks instead of the run's own, on unseen goals."""
    suite: str | None = None
    """Evaluate on this suite instead of the run's own: ML10, ML25, ML45, MT10, MT50, or ML1 and
    custom, which --task and --tasks mean by themselves. A run on FORK: the same FORK with other
    knobs, or RECALL with as many targets."""
    goals: int = 40
    """Goals of each task, the first of the split's; a test split has 50. In FORK trials: 200; in
    RECALL lifetimes: 40."""
    episodes: int = 10
    """Episodes of a trial; memory is carried through them."""
    horizon: int = MAX_HORIZON
    """Steps of an episode, at most 500."""
    which: Literal["newest", "best"] = "newest"
    """Checkpoint of a run folder: the newest good one, or the best by training success."""
    core: str | None = None
    """Your own core, my_module:MyCore, where the agent was trained with one."""
    level: int = 1
    """Policy: 1 the one that learns, 2, 3 the slow ones of arms with a cascade."""
    repeating: bool = True
    """Evaluate the agent too as it makes attempts and then repeats the one that earned most."""
    attempts: int | None = None
    """Episodes of a trial that are attempts of it; unset: half of them."""
    lifetime: int | None = None
    """Trials of each goal that an agent with episodic memory meets one after another. Each is
    written into the store of its goal, as in training. Unset: one, and nothing is written."""
    deterministic: bool = True
    """Evaluate the agent acting by its mean too, besides acting as in training."""
    untrained: bool = True
    """Floor: the same agent before training."""
    random: bool = True
    """Floor: uniformly random actions."""
    scripted: bool = True
    """Ceiling: Meta-World's scripted experts, which see the goal; in FORK a script that remembers
    what it tried."""
    told: bool = True
    """The agent as it is shown the true target, where it acts on one; the oracle."""
    forgetting: bool = True
    """FORK: the agent with its memory cleared at each attempt; the lesion."""
    lesions: bool = True
    """RECALL: the agent with the values of its store shuffled, with the store of another lifetime,
    and without one."""
    official: bool = True
    """Meta-World's own evaluation too, which over-reports; for published tables."""
    official_rounds: int | None = None
    """Its rounds; unset: as many as use each goal once."""
    seed: int = 1
    """Seed of exploration noise and bootstrap; goals depend on the run's seed alone."""

    settled: ClassVar[frozenset[str]] = frozenset()  # fields that nobody can choose

    def problems(self) -> list[str]:
        """Everything wrong with these values."""
        found = [
            f"--{name.replace('_', '-')} must be at least 1, not {value}"
            for name in _COUNTS
            if (value := getattr(self, name)) is not None and value < 1
        ]
        found += [
            f"--{name} is at most {most}, not {getattr(self, name)}"
            for name, most in (("episodes", MAX_EPISODES),)
            if getattr(self, name) > most
        ]
        found += worker_problems(self.workers)
        if self.horizon > MAX_HORIZON:
            found.append(f"--horizon is at most {MAX_HORIZON}, Meta-World's own limit")
        if (self.attempts or 0) > self.episodes:
            found.append(f"--attempts is at most --episodes, {self.episodes}, not {self.attempts}")
        if self.seed < 0:
            found.append(f"--seed must be 0 or more, not {self.seed}")
        if self.out is not None and self.out.is_dir():
            found.append(f"--out {self.out} is a folder: name a file in it, e.g. result.json")
        elif self.out is not None and nearest_folder(self.out) is None:
            found.append(f"--out {self.out} cannot be written: name a file elsewhere")
        return found

    @property
    def elsewhere(self) -> Elsewhere:
        """Other tasks than the run's own, if they are asked for."""
        return Elsewhere(self.suite, self.task, self.tasks)

    @property
    def train_goals(self) -> int:
        """Training goals of each task that are needed; drawing a thousand takes its time."""
        return self.goals if self.split == "train" else 0

    @property
    def attempted(self) -> int:
        """Attempts that the repeating agent makes; 0: it is not evaluated, or has no more."""
        if not self.repeating or self.episodes == 1:
            return 0
        return self.attempts or half_of(self.episodes)

    def steps(self, suite: Suite) -> int:
        """Environment steps of one policy's evaluation."""
        return len(suite.split(self.split)) * self.goals * self.episodes * self.horizon

    def variant(self, fork: ForkSettings | None = None, *, adapts: bool = False) -> str:
        """What is asked for unlike the full protocol, as the end of a file's name: ``-goals20``.

        So an evaluation replaces none of another kind. The quick protocol is called ``-quick``.

        Args:
            fork: of the suite that is measured.
            adapts: whether the agent adapts by gradients.
        """
        default = {**PROTOCOL, **defaults(self.preset, fork, adapts=adapts)}
        parts = [f"level{self.level}"] * (self.level > 1) + ["quick"] * (self.preset == "quick")
        for name in PROTOCOL:
            value, option = getattr(self, name), name.replace("_", "-")
            if value != default[name] and name not in self.settled:
                parts.append(f"no-{option}" if value is False else option)
                parts[-1] += "" if isinstance(value, bool) else str(value)
        return "".join(f"-{part}" for part in parts)

    def to_json(self) -> dict[str, Any]:
        """JSON values, for the record."""
        values = dataclasses.asdict(self)
        return {n: str(v) if isinstance(v, Path) else v for n, v in values.items()}


PRESETS: dict[str, dict[str, Any]] = {
    "full": {},
    "quick": {
        "goals": 8,
        "episodes": 3,
        "deterministic": False,
        "untrained": False,
        "random": False,
        "scripted": False,
        "told": False,
        "official": False,
        "official_rounds": 1,
    },
}


FORK_TRIALS = {"full": 200, "quick": 40}  # of all scenes together
LIFETIMES = {"full": 40, "quick": 8}


ADAPTED = {"episodes": 3, "repeating": False, "deterministic": False, "official": False}
"""Of a run of `train.maml`: before adaptation and after each of two batches."""


def defaults(preset: str, fork: ForkSettings | None, *, adapts: bool = False) -> dict[str, Any]:
    """Options that a preset sets, for suites of tasks or for a FORK suite.

    Args:
        preset: full or quick.
        fork: of the suite that is measured.
        adapts: whether the agent adapts by gradients.
    """
    if fork is None:
        return PRESETS[preset] | (ADAPTED if adapts else {})
    quick = preset == "quick"
    count = FORK_TRIALS[preset] // len(fork.scenes)
    return {
        "goals": count if fork.lifetimes is None else LIFETIMES[preset],
        "episodes": fork.episodes,
        "horizon": fork.horizon,
        **dict.fromkeys(("untrained", "random", "scripted", "told", "lesions"), not quick),
        "forgetting": not quick and fork.lifetimes is None,
        **dict.fromkeys(("repeating", "deterministic", "official"), False),
    }


PROTOCOL = {
    field.name: field.default
    for field in dataclasses.fields(Settings)
    if field.name
    not in {"source", "split", "which", "suite", "task", "tasks", "core", "level", "preset"}
    | {"workers", "out"}
}
"""What is measured, and how, by default."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a checkpoint, its agent and run, and the tasks and goals of a suite."""

    saved: Checkpoint
    agent: RL2Agent
    config: Config
    suite: Suite


def half_of(episodes: int) -> int:
    """Attempts of a trial by default: as many as are repeats, or one more."""
    return (episodes + 1) // 2


def chosen_preset(argv: Sequence[str]) -> Literal["full", "quick"]:
    """The preset that the command line asks for."""

    @dataclass(frozen=True)
    class Preset:
        preset: Literal["full", "quick"] = "full"

    return read_some(Preset, argv).preset


def parse(argv: Sequence[str]) -> Settings:
    """Read the command line; the preset's values are the defaults of the other options."""
    preset = chosen_preset(argv)

    def with_defaults(fork: ForkSettings | None, *, adapts: bool = False) -> Settings:
        values = defaults(preset, fork, adapts=adapts)
        default = Settings(tyro.MISSING, preset=preset, **values)
        return read(Settings, argv, "eval.evaluate", default=default)

    settings = with_defaults(None)
    fork = fork_settings(settings.elsewhere.name) or fork_of(settings.source)
    adapts = adapts_by_gradient(settings.source)
    return settings if fork is None and not adapts else with_defaults(fork, adapts=adapts)


def fork_of(source: Path) -> ForkSettings | None:
    """The FORK suite of a run folder or checkpoint; None where there is none, or no run."""
    config = config_of(source)
    return None if config is None else config.fork


def adapts_by_gradient(source: Path) -> bool:
    """Whether a run folder or checkpoint is of `train.maml`."""
    config = config_of(source)
    return config is not None and config.adapts


def config_of(source: Path) -> Config | None:
    """The configuration of a run folder or checkpoint; None where there is none to be read."""
    try:
        values = from_json(read_file(source / "config.json", CONFIG_LIMIT), source)
        return read_config(values)
    except (CheckpointError, ValueError, TypeError, OverflowError):  # told by who opens the run
        return None


def adapted_problems(settings: Settings, config: Config) -> list[str]:
    """Everything wrong with these values where the agent adapts by gradients."""
    if not config.adapts:
        return []
    names = ("repeating", "deterministic", "official", "lifetime", "attempts")
    asked = [f"--{name}" for name in names if getattr(settings, name)]
    found = [f"{', '.join(asked)}: not for a run of train.maml, leave it out"] if asked else []
    if settings.episodes < 2:
        found.append("--episodes must be at least 2: before adaptation and after a batch")
    return found


def fork_problems(settings: Settings, fork: ForkSettings) -> list[str]:
    """Everything wrong with these values on a FORK suite."""
    found = []
    if settings.official:
        found.append("--official: Meta-World's own figure is not defined on FORK: leave it out")
    if settings.repeating or settings.attempts:
        found.append("--repeating and --attempts do not apply to FORK: leave them out")
    if settings.lifetime:
        found.append("--lifetime: the trials of FORK have nothing in common: use a RECALL suite")
    return found + fork.problems(settings.episodes, settings.horizon)


def recall_problems(settings: Settings, fork: ForkSettings) -> list[str]:
    """Everything wrong with these values on a RECALL suite."""
    found = []
    if settings.official or settings.repeating or settings.attempts or settings.forgetting:
        found.append("--official, --repeating, --attempts and --forgetting are not for RECALL")
    if settings.lifetime:
        found.append("--lifetime: the suite's name says how long a lifetime of RECALL is")
    return found + fork.problems(settings.episodes, settings.horizon)


def load_subject(settings: Settings) -> Subject:
    """Open the checkpoint and build its suite. Raises InputError, which lists every problem."""
    problems = settings.problems() + imported_core(settings.core)
    try:
        saved = checkpoint.load(chosen_path(settings.source, settings.which))
        agent, config = load_agent(saved, level=max(settings.level, 1))
    except CheckpointError as error:
        told = [line.strip() for line in str(error).splitlines()]
        stop(problems + told, "name a run folder or a checkpoint that this Strata has written")
    if invalid := config.without_own_parts().validate():
        stop(problems + [f"{saved.path / 'config.json'}: {problem}" for problem in invalid])
    if settings.lifetime and agent.recall is None:
        problems.append(
            f"--lifetime is for agents with an episodic store, which arm {config.arm} has not: "
            "leave it out"
        )
    if settings.attempts and agent.config.over_places:
        problems.append("--attempts is for agents of --act direct: leave it out")
    problems += adapted_problems(settings, config)
    elsewhere = settings.elsewhere
    if wrong := elsewhere.problems(config):
        stop(problems + wrong)
    if (fork := fork_settings(elsewhere.name) if elsewhere else config.fork) is not None:
        check = fork_problems if fork.lifetimes is None else recall_problems
        problems += check(settings, fork)
    try:
        goals = max(GOALS_PER_TASK, settings.train_goals)
        if elsewhere:
            suite = elsewhere.make_suite(config.seed, goals, missing=config.missing)
        else:
            suite = config.make_suite(min(config.train_goals, goals))
        available = min(map(len, suite.split(settings.split).values()))
        if settings.goals > available:
            problems.append(
                f"--goals {settings.goals}: the {settings.split} split has {available} per task"
            )
    except SuiteError as error:
        problems.append(str(error))
    if problems:
        stop(problems)
    return Subject(saved, agent, config, suite)


def imported_core(name: str | None) -> list[str]:
    """Import the core that the command line names, if any; the problems with it."""
    try:
        if name is not None:
            import_core(name)
    except CoreError as error:
        return [f"--core {name}: {error}"]
    return []


def chosen_path(source: Path, which: Literal["newest", "best"]) -> Path:
    """The place to load from; raises CheckpointError where no best checkpoint is named."""
    if which == "newest":
        return source
    folder = source / "checkpoints" if (source / "checkpoints").is_dir() else source
    chosen = checkpoint.best(folder)
    if chosen is None:
        raise CheckpointError(
            f"--which best: {source} names no best checkpoint; give a run folder, or use "
            "--which newest"
        )
    return chosen[0]


def nearest_folder(path: Path) -> Path | None:
    """The folder nearest above `path` that exists; None if `path` cannot be made in it.

    Nor can a file that only the training of a run may write, such as its metrics.
    """
    if is_a_runs_own(path):
        return None
    nearest = next(place for place in path.absolute().parents if place.exists())
    return nearest if nearest.is_dir() and can_hold_files(nearest) else None
