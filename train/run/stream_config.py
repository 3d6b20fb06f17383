"""Configuration of a run over a stream of tasks: that of `train.rl2` and what a stream adds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import tyro

from envs.memory_tests.fork import ForkSettings
from envs.memory_tests.fork_streams import stream_settings
from envs.metaworld.streams import Stream, make_stream, stream_problems
from envs.metaworld.suites import GOALS_PER_TASK, Suite, fork_suite, make_suite
from envs.metaworld.task_env import MAX_HORIZON
from train.long_term.reference import ReferenceConfig
from train.run.command_line import shown_first
from train.run.config import MAX_STEPS, Config
from train.run.maml_config import MamlConfig

ALIASES = {"fine-tuning": "short"}
"""Other names of arms in the literature on continual learning."""

MAX_CYCLES = 1000
FORK_STEPS = 10_000  # of an iteration of FORK trials, about


@shown_first(
    "suite", "tasks", "cycles", "phase_steps", "arm", "seed", "run", "workers", "init_from"
)
@dataclass(frozen=True)
class StreamConfig(Config):
    """Train on tasks that come one after another."""

    arm: str = "short"
    """What learns: a memory configuration of train.rl2, or a reference: ewc, l2, progress-compress,
    fine-tuning (another name of short), joint (all tasks at once), single (each task alone)."""
    suite: str = "CL5x2"
    """CW10, CW20, CL5x2 (five quickly learnable tasks, twice), custom (with --tasks), or streams of
    FORK trials: STREAM-FORK, STREAM-FORK-reach, ERAS (docs/memory-benchmarks.md)."""
    tasks: tuple[str, ...] = ()
    """Task order of a custom stream, or some parts of a stream of FORK trials: drawer window, or
    sites-1-2 sites-3-4; default: all of its own."""
    cycles: int | None = None
    """How often the order is gone through; unset: the stream's own, 1 if custom."""
    phase_steps: int | None = None
    """Environment steps of each phase, rounded up to whole iterations; unset: the stream's own,
    500,000 if custom."""
    schedule: Literal["constant", "phase"] = "constant"
    """Learning rate: always --learning-rate, or down to --final-learning-rate in each phase (which
    tells the learner of the boundaries)."""
    eval_goals: int = 10
    """Unseen goals of every task on which all tasks are evaluated, midway and at phase ends."""
    eval_episodes: int = 3
    """Episodes of an evaluation trial."""
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    trials: int | None = None
    """Trials of one iteration; unset: the smallest multiple of the tasks that is at least 10. All
    are of one task, so fewer than on a suite make as good a batch of it."""
    in_phases: ClassVar[bool] = True
    # Not the suites' length: all streams in results/ were run with this one.
    episodes: int = 2
    """Episodes of a training trial (K); memory is carried through all of them."""
    horizon: int = 250
    """Steps of a training episode (H)."""
    # What only makes sense without a stream.
    task: tyro.conf.Suppress[str | None] = None
    test_tasks: tyro.conf.Suppress[tuple[str, ...]] = ()
    total_steps: tyro.conf.Suppress[int | None] = None
    evaluate_every: tyro.conf.Suppress[int] = 0
    proposals: tyro.conf.Suppress[float | None] = 0.0
    vary: tyro.conf.Suppress[bool] = False
    balance: tyro.conf.Suppress[bool] = False
    video_every: tyro.conf.Suppress[int] = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "arm", ALIASES.get(self.arm, self.arm))  # frozen, so not plainly

    @property
    def least_trials(self) -> int:
        """10, or as many FORK trials as have about 10,000 steps."""
        if self.fork is None:
            return 10
        return max(10, round(FORK_STEPS / max(1, self.episodes * self.horizon)))

    @property
    def fork(self) -> ForkSettings | None:
        """What all parts of the stream test of memory; None: nothing."""
        return stream_settings(self.suite, self.tasks)

    def suite_problems(self) -> list[str]:
        """Everything wrong with the stream that is asked for."""
        found = stream_problems(
            self.suite, tasks=self.tasks, cycles=self.cycles, phase_steps=self.phase_steps
        )
        if self.suite == "ERAS" and self.init_from is None:
            found.append(
                "--suite ERAS goes on with a trained agent: add --init-from "
                "runs/FORK-reach-8-short-seed1, or take STREAM-FORK-reach, which begins anew"
            )
        return found

    def make_suite(self, train_goals: int | None = None) -> Suite:
        """All tasks of the stream, tested on unseen goals of the same tasks."""
        if self.fork is not None:
            goals = self.train_goals if train_goals is None else train_goals
            suite = fork_suite(self.suite, self.fork, self.seed, goals)
            return dataclasses.replace(suite, missing=self.missing)
        return make_suite(
            "custom",
            tasks=self.stream().tasks,
            seed=self.seed,
            train_goals=self.train_goals if train_goals is None else train_goals,
            missing=self.missing,
        )

    def stream(self) -> Stream:
        """The phases, of whole iterations. A ValueError lists everything wrong with the request."""
        stream = self._asked_stream()
        return stream.rounded(self.iteration_steps(len(stream.tasks)))

    def _asked_stream(self) -> Stream:
        """The phases, not rounded yet."""
        return make_stream(
            self.suite,
            tasks=self.tasks,
            # Alone, a task comes once: again it would be the same run with other trials.
            cycles=1 if self.chosen_arm.tasks == "alone" else self.cycles,
            phase_steps=self.phase_steps,
        )

    def rounding(self, tasks: int) -> list[str]:
        """A sentence where phases are longer than was asked for, as iterations are whole."""
        asked = self._asked_stream().phase_steps
        steps, trained = self.iteration_steps(tasks), self.stream().phase_steps
        if asked == trained:
            return []
        return [
            f"--phase-steps {asked:,} is rounded up to {trained:,}: whole iterations of {steps:,} "
            "steps"
        ]

    def validate(self, tasks: int | None = None) -> list[str]:
        """Everything wrong with this configuration."""
        if (self.cycles or 1) > MAX_CYCLES:  # the stream is not built then
            return [f"--cycles is at most {MAX_CYCLES}, not {self.cycles}"]
        found = super().validate(tasks) + self.reference.problems()
        found += [
            f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}"
            for name in ("eval_goals", "eval_episodes")
            if getattr(self, name) < 1
        ]
        if (self.phase_steps or 1) > MAX_STEPS:
            found.append(f"--phase-steps is at most {MAX_STEPS}, not {self.phase_steps}")
        if self.eval_goals > GOALS_PER_TASK:
            found.append(f"--eval-goals is at most {GOALS_PER_TASK}, the unseen goals of a task")
        if self.eval_episodes * min(self.horizon, MAX_HORIZON) > 50_000:
            found.append("--eval-episodes: a trial of more than 50,000 steps is too long")
        return found

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`. Raises ValueError naming unknown or ill-typed fields."""
        if isinstance(values, dict) and "phase_steps" not in values:
            raise ValueError("a run of train.rl2, to be resumed by python -m train.rl2 --resume")
        return super().from_json(values)

    def resolved(self, tasks: int) -> Self:
        """The same with all defaults filled in."""
        stream = self.stream()
        return dataclasses.replace(
            super().resolved(tasks),
            cycles=stream.cycles,
            phase_steps=stream.phase_steps,
            total_steps=stream.total_steps,
        )


def read_config(values: dict[str, Any]) -> Config:
    """A configuration from the JSON values of any program's run.

    Raises:
        ValueError: naming unknown or ill-typed fields.
    """
    if "maml" in values:
        return MamlConfig.from_json(values)
    return (StreamConfig if "phase_steps" in values else Config).from_json(values)
