"""The runs that are looked into: opened and checked before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.rl2 import RL2Agent
from envs.memory_tests.fork import fork_settings
from envs.metaworld.suites import Suite
from envs.trials.trial import Trial
from eval.goals.config import Settings, Subject, load_subject
from eval.goals.floors import untrained
from eval.traces.levels import slow_agents
from train.run import checkpoint
from train.run.checkpoint import CheckpointError
from train.run.config import Config, stop
from train.run.input_error import InputError
from train.run.state import load_agent
from train.run.stream_config import StreamConfig

MOST_STEPS = 100_000  # of the probe trials of a suite without targets
FEWEST = 40  # trials, for a probe with five folds
LIFETIMES = 20  # of RECALL


@dataclass(frozen=True)
class Patient:
    """One run, with its levels and its probe trials.

    Attributes:
        folder: as it was named.
        subject: checkpoint, agent, configuration and suite.
        slow: slow policies by level.
        trials: the probe trials, the same for all runs of a suite; none of RECALL.
        rounds: lifetimes of RECALL, round by round, the same for all runs of a suite.
    """

    folder: Path
    subject: Subject
    slow: dict[str, RL2Agent]
    trials: list[Trial]
    rounds: list[list[Trial]] = field(default_factory=list)

    @property
    def config(self) -> Config:
        """Of its run."""
        return self.subject.config

    @property
    def name(self) -> str:
        """For messages and folders."""
        return f"{self.suite}-{self.config.label}-seed{self.config.seed}"

    @property
    def looked_at(self) -> int:
        """Number of trials that are looked at."""
        return len(self.trials) + sum(map(len, self.rounds))

    @property
    def suite(self) -> str:
        """Its suite, or the stream, whose tasks are a suite without a name of its own."""
        stream = isinstance(self.config, StreamConfig)
        return self.config.suite if stream else self.subject.suite.name

    @property
    def levels(self) -> list[str]:
        """Levels of memory that it has."""
        agent = self.subject.agent
        has_store = agent.recall is not None or agent.reader is not None
        held = ["L0"] * bool(agent.memory.state_width) + ["L1"] * has_store
        return held + list(self.slow)


def open_runs(
    folders: Sequence[Path], *, trials: int, seed: int, levels: Sequence[str]
) -> list[Patient]:
    """All runs, with the levels that are asked for.

    Raises:
        InputError: listing everything that is wrong with any of them.
    """
    found, problems, hint = [], [], ""
    for folder in folders:
        try:
            patient = open_run(folder, trials=trials, seed=seed)
        except InputError as error:
            problems += [f"{folder}: {problem}" for problem in error.problems]
            hint = error.hint or hint
            continue
        problems += [
            f"{folder} has no level {level}, arm {patient.config.arm} has "
            f"{', '.join(patient.levels) or 'none'}: leave --level {level} or the run out"
            for level in levels
            if level not in patient.levels
        ]
        found.append(patient)
    twice = {patient.name for patient in found if [p.name for p in found].count(patient.name) > 1}
    problems += [f"two runs are {name}: give each seed once" for name in sorted(twice)]
    if problems:
        stop(problems, hint)
    return found


def open_run(folder: Path, *, trials: int, seed: int) -> Patient:
    """One run's newest checkpoint. Raises InputError."""
    subject = load_subject(_settings(folder, trials))
    if subject.suite.lifetimes is not None:
        return _with_lifetimes(folder, subject, seed)
    if subject.config.over_places:
        stop(["traces of a belief over places are not recorded: use eval.evaluate on the run"])
    try:
        slow = slow_agents(subject.saved)
    except CheckpointError as error:
        stop([str(error)])
    probes = probe_trials(subject.suite, subject.config, trials, seed)
    if len(probes) < FEWEST:
        stop(
            [
                f"{subject.suite.name} has {len(probes)} test goals, and probes need {FEWEST}: "
                "train on more tasks, or look at the run with eval.evaluate"
            ]
        )
    return Patient(folder, subject, slow, probes)


def _with_lifetimes(folder: Path, subject: Subject, seed: int) -> Patient:
    """A run on RECALL, whose lifetimes are not recorded: lesions are all that is looked at."""
    suite = subject.suite
    assert suite.lifetimes is not None
    if suite.lifetimes.flat:
        stop([f"a lifetime of {suite.name} is one trial: use eval.evaluate on it"])
    episodes, horizon = shape_of(subject.config)
    rounds = suite.lifetime_rounds("test", LIFETIMES, episodes=episodes, horizon=horizon, seed=seed)
    return Patient(folder, subject, {}, [], rounds)


def _settings(folder: Path, trials: int) -> Settings:
    """How `eval.evaluate` would open it; the number of its goals is ours."""
    try:
        _, config = load_agent(checkpoint.load(folder))
    except CheckpointError as error:
        stop([line.strip() for line in str(error).splitlines()])
    if config.adapts:
        stop(["an agent of train.maml has no memory to look into: name a run of train.rl2"])
    fork = fork_settings(config.suite)
    goals = 1 if fork is None else _each(trials, len(fork.scenes))
    episodes, horizon = shape_of(config)
    return Settings(
        folder,
        goals=goals,
        episodes=episodes,
        horizon=horizon,
        repeating=False,
        official=False,
        forgetting=False,
    )


def shape_of(config: Config) -> tuple[int, int]:
    """Episodes and horizon of the probe trials."""
    fork = fork_settings(config.suite)
    if fork is not None:
        return fork.episodes, fork.horizon
    return config.episodes, config.horizon


def probe_trials(suite: Suite, config: Config, trials: int, seed: int) -> list[Trial]:
    """Fixed trials of the test split, the same for all runs of a suite with equal `seed`."""
    episodes, horizon = shape_of(config)
    tasks = suite.split("test")
    if suite.fork is None:
        trials = min(trials, max(FEWEST, MOST_STEPS // (episodes * horizon)))
    goals = min(_each(trials, len(tasks)), *map(len, tasks.values()))
    return suite.evaluation_trials(
        "test", goals=goals, episodes=episodes, horizon=horizon, seed=seed
    )


def _each(trials: int, kinds: int) -> int:
    """Trials of each of so many tasks or scenes: at most `trials` in all, but FEWEST at least."""
    return max(trials // kinds, -(-FEWEST // kinds))


def floor_of(subject: Subject) -> RL2Agent:
    """The agent before training, which sees inputs scaled as the trained one does."""
    floor = untrained(subject)
    floor.encoder.normaliser.load_state_dict(subject.agent.encoder.normaliser.state_dict())
    return floor.eval()
