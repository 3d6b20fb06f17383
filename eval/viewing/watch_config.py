"""What to watch and how: the command line of `eval.watch`, checked before anything runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from agents.acting.own import OwnAgent
from agents.rl2 import RL2Agent
from envs.memory_tests.fork import fork_settings
from envs.metaworld.suites import (
    GOALS_PER_TASK,
    SUITES,
    Suite,
    SuiteError,
    make_suite,
    suite_problems,
)
from envs.metaworld.task_env import MAX_HORIZON, TASKS
from envs.pool.pool import Policy
from envs.trials.trial import Trial
from envs.viewing import gl  # before what needs MuJoCo: see there
from envs.viewing.captions import Layout
from envs.viewing.render import MAX_SIZE, MIN_SIZE, Camera, GLError
from eval.goals.config import (
    MAX_EPISODES,
    chosen_path,
    fork_of,
    half_of,
    imported_core,
    nearest_folder,
)
from eval.goals.measure import LANES
from eval.own_agents.load import file_name, load_own_agent, results_of
from eval.viewing.viewer import display_problems
from train.collect import acting_policy
from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.command_line import read, spelt, spelt_suite
from train.run.config import Config, stop
from train.run.run_folder import results_folder
from train.run.state import load_agent

MAX_CELLS = 40
MAX_COLUMNS = 6
MAX_SIDE = 4096  # pixels of a frame, the most that common players take
PICTURES = 1200  # that the default of --every aims at: under a minute on two cores without a GPU
STEPS_PER_SECOND = 80  # of the simulation
SHOWN_BY_DEFAULT = 10  # tasks


@dataclass(frozen=True)
class Settings:
    """Watch whole trials: a video of a labelled grid, one cell for each task and goal."""

    source: tyro.conf.Positional[Path | None] = None
    """Run folder, or one checkpoint in it; with --agent, --random or --scripted it is left out."""
    task: tuple[str, ...] = ()
    """Tasks to watch, any of Meta-World's 50; default: the run's test tasks."""
    goals: int = 2
    """Goals of each task."""
    episodes: int = 3
    """Episodes of a trial; memory is carried through them."""
    horizon: int = MAX_HORIZON
    """Steps of an episode, at most 500."""
    repeating: bool = False
    """The agent makes attempts in half of the episodes and then repeats its best one."""
    random: bool = False
    """Watch the floor: uniformly random actions."""
    scripted: bool = False
    """Watch the ceiling: Meta-World's scripted experts, which see the goal."""
    out: Path | None = None
    """The mp4; unset: RUN/results/watch-<tasks>-<step>.mp4, here if there is no such RUN, and in
    runs/looked-at where RUN is part of the repository."""
    still: bool = False
    """A PNG beside it, of the first, the middle and the last frame."""
    gif: bool = False
    """A small GIF beside it."""
    live: bool = False
    """Open a window instead, at the simulation's own speed."""
    agent: str | None = None
    """An agent of your own instead, my_module:load, on --suite or --task (docs/extend.md)."""
    suite: str | None = None
    """Without a run: watch the tasks of ML10, FORK-reach-2, …; unset: those of --task."""
    split: Literal["test", "train"] | None = None
    """Goals to watch; unset: test, and train for tasks that the suite has only there."""
    which: Literal["newest", "best"] = "newest"
    """Checkpoint of a run folder: the newest good one, or the best by training success."""
    core: str | None = None
    """Your own core, my_module:MyCore, where the agent was trained with one."""
    seed: int = 1
    """Seed of exploration noise, as in eval.evaluate; without a run, of the goals too."""
    deterministic: bool = False
    """The agent acts by its mean."""
    every: int | None = None
    """Steps from one frame to the next; unset: 4 (real time), more where there are many cells."""
    fps: float | None = None
    """Frames per second; unset: real time, but from 10 to 20."""
    size: int = 240
    """Pixels of a cell's picture, each way."""
    camera: Camera = "corner4"
    """One of Meta-World's cameras; corner2 shows the whole table."""

    @property
    def who(self) -> str:
        """What acts, in one word."""
        if self.agent is not None:
            return file_name(self.agent)
        kinds = ("random", "scripted", "deterministic", "repeating")
        return next((kind for kind in kinds if getattr(self, kind)), "stochastic")

    def problems(self) -> list[str]:
        """Everything wrong with these values."""
        found = [
            f"--{name} must be at least 1, not {value}"
            for name in ("goals", "episodes", "horizon", "every")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        found += [
            f"--{name} is at most {most}, not {getattr(self, name)}"
            for name, most in (
                ("goals", GOALS_PER_TASK),
                ("episodes", MAX_EPISODES),
                ("horizon", MAX_HORIZON),
            )
            if getattr(self, name) > most
        ]
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            found.append(f"--size must be from {MIN_SIZE} to {MAX_SIZE} pixels, not {self.size}")
        if self.fps is not None and not 1 <= self.fps <= 120:
            found.append(f"--fps must be from 1 to 120, not {self.fps}")
        if self.seed < 0:
            found.append(f"--seed must be 0 or more, not {self.seed}")
        if self.random + self.scripted + self.deterministic + self.repeating > 1:
            found.append("--random, --scripted, --deterministic and --repeating exclude each other")
        if len(set(self.task)) < len(self.task):
            found.append("--task names each task once")
        for name in dict.fromkeys(self.task):
            found += suite_problems("ML1", task=name, tasks=(), test_tasks=())
        found += self._subject_problems()
        if self.out is not None and (self.out.suffix != ".mp4" or self.out.is_dir()):
            found.append(f"--out {self.out} must be the name of a file that ends in .mp4")
        elif self.out is not None and nearest_folder(self.out) is None:
            found.append(f"--out {self.out} cannot be written: name a file elsewhere")
        return found

    def _subject_problems(self) -> list[str]:
        """What is wrong with who is to be watched, and where."""
        agent, alone = self.agent is not None, self.source is None
        if alone and not (agent or self.random or self.scripted):
            return ["name a run folder or a checkpoint in it, or use --scripted or --random"]
        found = []
        if agent and (self.random or self.scripted or self.deterministic or self.repeating):
            found.append("--agent acts in its own way: leave out --random and its like")
        if not alone and (agent or self.suite):
            found.append("--agent and --suite are without a run: leave the run folder out")
        if alone and not self.task and self.suite in (None, "ML1", "custom"):
            found.append("without a run, name tasks: e.g. --task door-close-v3, or --suite ML10")
        if self.own_suite is not None:
            found += suite_problems(self.own_suite, task=None, tasks=(), test_tasks=())
        return found

    @property
    def own_suite(self) -> str | None:
        """The suite that is watched without a run; None: the tasks, each by itself."""
        name = self.suite and spelt_suite(self.suite, SUITES)
        return None if name in ("ML1", "custom") else name


@dataclass(frozen=True)
class Program:
    """What is watched, all settled.

    Attributes:
        policy: what acts.
        slots: the trials; None is one that holds its place in the evaluator's block.
        tasks: that are watched, in the order of the grid.
        title: what and who is watched.
        out: the mp4.
        every: steps from one frame to the next.
        fps: frames per second.
        columns: cells in a row.
        notes: for the user.
        lanes: trials of a block.
        own: acts instead of the policy.
    """

    policy: Policy
    slots: tuple[Trial | None, ...]
    tasks: tuple[str, ...]
    title: str
    out: Path
    every: int
    fps: float
    columns: int
    notes: tuple[str, ...]
    lanes: int = LANES
    own: OwnAgent | None = None


def parse(argv: Sequence[str]) -> Settings:
    """Read the command line; ends with exit code 2 where it cannot be read."""
    off = (tyro.conf.FlagCreatePairsOff,)
    settings = read(Settings, argv, "eval.watch", config=off)
    if shape := usual_shape(settings):
        settings = read(Settings, argv, "eval.watch", config=off, default=Settings(**shape))
    return dataclasses.replace(settings, task=tuple(spelt(t, TASKS) for t in settings.task))


def usual_shape(settings: Settings) -> dict[str, Any]:
    """Episodes and horizon of trials where the suite has its own, as FORK's attempts."""
    if settings.source is not None:
        fork = fork_of(settings.source)
    else:
        fork = fork_settings(settings.own_suite or "")
    return {} if fork is None else {"episodes": fork.episodes, "horizon": fork.horizon}


def prepare(settings: Settings) -> Program:
    """Open the checkpoint and draw the goals. Raises InputError, which lists every problem."""
    problems = settings.problems() + imported_core(settings.core)
    problems += display_problems() if settings.live else _backend_problems()
    saved = agent = config = None
    if settings.source is not None:
        try:
            saved = checkpoint.load(chosen_path(settings.source, settings.which))
            agent, config = load_agent(saved)
            invalid = config.without_own_parts().validate()
            problems += [f"{saved.path / 'config.json'}: {problem}" for problem in invalid]
        except CheckpointError as error:
            problems += str(error).splitlines()
    if settings.repeating and config is not None and config.over_places:
        problems.append("--repeating is for agents of --act direct: leave it out")
    fork = fork_settings(settings.own_suite or "") if config is None else config.fork
    if fork is not None:
        problems += fork.problems(settings.episodes, settings.horizon)
        problems += [
            f"--{name} does not apply to FORK: leave it out"
            for name in ("scripted", "repeating")
            if getattr(settings, name)
        ]
    if problems:
        stop(problems)
    own = None if settings.agent is None else load_own_agent(settings.agent)
    try:
        suite = _suite(settings, config)
        tasks, notes = _tasks(settings, suite)
        slots = tuple(_slots(settings, suite, tasks))
    except SuiteError as error:
        stop([str(error)])
    if own is not None:  # it has one memory for all trials of a block
        slots = tuple(slot for slot in slots if slot is not None)
    every, columns = _shape(settings, len(tasks))
    out = settings.out or _default_path(settings, saved, tasks)
    if not settings.live and nearest_folder(out) is None:
        stop([f"{out.parent} cannot be written: choose another place with --out FILE.mp4"])
    return Program(
        policy=_policy(settings, agent),
        slots=slots,
        tasks=tasks,
        title=_title(settings, saved, config),
        out=out,
        every=every,
        fps=settings.fps or min(20.0, max(10.0, STEPS_PER_SECOND / every)),
        columns=columns,
        notes=notes + _adaptation_note(config),
        lanes=LANES if own is None else len(slots),
        own=own,
    )


def _adaptation_note(config: Config | None) -> tuple[str, ...]:
    """What a video of a run of `train.maml` leaves out: its cells share one set of weights."""
    if config is None or not config.adapts:
        return ()
    return ("the policy before adaptation; python -m eval.evaluate measures it after, too",)


def _suite(settings: Settings, config: Config | None) -> Suite | None:
    """The run's suite, or the one asked for; None: tasks by themselves. Raises SuiteError."""
    if config is not None:
        return config.make_suite(min(config.train_goals, GOALS_PER_TASK))
    name = settings.own_suite
    return None if name is None else make_suite(name, seed=settings.seed)


def _shape(settings: Settings, tasks: int) -> tuple[int, int]:
    """Steps between frames, and columns of the grid. Raises InputError if it is too large."""
    cells = tasks * settings.goals
    if cells > MAX_CELLS:
        most = f"at most {MAX_CELLS}"
        stop([f"{tasks} tasks × --goals {settings.goals} are {cells} cells: {most}"])
    across = tasks if tasks > 1 else settings.goals
    columns = math.ceil(across / math.ceil(across / MAX_COLUMNS))
    side = max(Layout(settings.size, columns, -(-cells // columns)).shape)
    if side > MAX_SIDE:
        stop([f"--size {settings.size} makes frames of {side} pixels: at most {MAX_SIDE}"])
    steps = cells * settings.episodes * settings.horizon
    return settings.every or max(4, math.ceil(steps / PICTURES)), columns


def _backend_problems() -> list[str]:
    """What keeps pictures from being drawn here."""
    try:
        gl.backend()
    except GLError as error:
        return str(error).splitlines()
    return []


def _policy(settings: Settings, agent: RL2Agent | None) -> Policy:
    """What acts: the agent, or who else was asked for."""
    if settings.agent is not None:
        return Policy("own")
    if settings.random or settings.scripted or agent is None:
        return Policy(kind=settings.who)
    attempts = half_of(settings.episodes) if settings.repeating else 0
    return acting_policy(agent, deterministic=settings.deterministic, attempts=attempts)


def _tasks(settings: Settings, suite: Suite | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tasks to watch, and what to say about the choice."""
    if settings.task or suite is None:
        return settings.task, ()
    tasks = tuple(suite.split(settings.split or ("test" if suite.test else "train")))
    if len(tasks) <= SHOWN_BY_DEFAULT:
        return tasks, ()
    left = f"the first {SHOWN_BY_DEFAULT} of {len(tasks)} tasks; choose others with --task"
    return tasks[:SHOWN_BY_DEFAULT], (left,)


def _slots(settings: Settings, suite: Suite | None, tasks: Sequence[str]) -> list[Trial | None]:
    """The trials to watch, each in the place of its block in which `eval.goals.measure` has it."""
    splits = [settings.split] if settings.split else ["test", "train"]
    groups: dict[str, list[str]] = {}  # split of the run's suite -> tasks
    strangers = []
    for task in tasks:
        having = [s for s in splits if suite is not None and task in getattr(suite, s)]
        (groups.setdefault(having[0], []) if having else strangers).append(task)
    slots: list[Trial | None] = []
    for split, names in groups.items():
        assert suite is not None
        slots += _blocks(settings, suite, split, names)
    for task in strangers:
        own = make_suite("ML1", task=task, seed=suite.seed if suite else settings.seed)
        own = dataclasses.replace(own, goal_hidden=suite.goal_hidden if suite else True)
        slots += _blocks(settings, own, splits[0], [task])
    return slots


def _blocks(
    settings: Settings, suite: Suite, split: str, tasks: Sequence[str]
) -> list[Trial | None]:
    """The first blocks of the evaluation, whole, without the trials that are not watched."""
    width = len(suite.split(split))
    wanted = settings.goals * width
    length = -(-wanted // LANES) * LANES
    trials = suite.evaluation_trials(
        split,
        goals=-(-length // width),
        episodes=settings.episodes,
        horizon=settings.horizon,
        seed=settings.seed,
    )
    return [
        trial if place < wanted and trial.task in tasks else None
        for place, trial in enumerate(trials[:length])
    ]


def _title(settings: Settings, saved: Checkpoint | None, config: Config | None) -> str:
    if settings.random or settings.scripted:
        return "random actions" if settings.random else "scripted experts"
    if settings.agent is not None:
        return f"{settings.own_suite or 'Meta-World'}   {settings.agent}"
    assert saved is not None
    assert config is not None
    name = config.task if config.suite == "ML1" else config.suite
    who = f"{settings.who}, before adaptation" if config.adapts else settings.who
    return f"{name}   {config.label}   step {saved.step:,}   {who}"


def _default_path(settings: Settings, saved: Checkpoint | None, tasks: Sequence[str]) -> Path:
    names = "+".join(tasks) if len(tasks) <= 3 else f"{len(tasks)}-tasks"
    if saved is None:
        folder = Path() if settings.agent is None else results_of(settings.agent)
        return folder / f"watch-{names}-{settings.who}.mp4"
    parts = ["watch", names]
    parts += [] if settings.random or settings.scripted else [f"{saved.step:012d}"]
    parts += [] if settings.who == "stochastic" else [settings.who]
    name = "-".join(parts) + ".mp4"
    return (results_folder(saved, brief=True) or Path()) / name
