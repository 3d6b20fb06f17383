"""Streams: tasks that come one after another, each for so many steps, in one or more cycles.

A stream is data. What the agent is told of it is nothing: no task id is in the policy's input, and
an arm learns of a boundary only where it declares that it uses boundaries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.memory_tests.fork_streams import FORK_STREAMS, of_part
from envs.metaworld.suites import Suite, nearest
from envs.metaworld.task_env import TASKS
from envs.trials.trial import Trial

CW10 = (
    "hammer-v3",
    "push-wall-v3",
    "faucet-close-v3",
    "push-back-v3",
    "stick-pull-v3",
    "handle-press-side-v3",
    "push-v3",
    "shelf-place-v3",
    "window-close-v3",
    "peg-unplug-side-v3",
)
"""Continual World's ten tasks in their original order (Wołczyk et al. 2021, arXiv 2105.10919;
awarelab/continual_world, `task_sequences` "CW10"), by the names of their v3 successors. Rewards,
observations and physics are v3's, so figures are not comparable with those of the v1 tasks."""

CL5 = (
    "drawer-close-v3",
    "window-open-v3",
    "button-press-v3",
    "window-close-v3",
    "coffee-button-v3",
)
"""Five tasks that PPO learns alone in 100,000 steps each, whatever the seed: a push away from the
robot, a slide to the right, a press forward, a slide to the left in nearly the same scene,
and a press at another place. Why these: docs/decisions.md."""


@dataclass(frozen=True)
class Preset:
    """A named stream: its tasks in order, how often they come, and the steps of each phase."""

    tasks: tuple[str, ...]
    cycles: int
    phase_steps: int


PRESETS = {
    "CW10": Preset(CW10, 1, 1_000_000),
    "CW20": Preset(CW10, 2, 1_000_000),
    "CL5x2": Preset(CL5, 2, 100_000),
    "STREAM-FORK": Preset(FORK_STREAMS["STREAM-FORK"], 2, 200_000),
    "STREAM-FORK-reach": Preset(FORK_STREAMS["STREAM-FORK-reach"], 2, 200_000),
    "ERAS": Preset(FORK_STREAMS["ERAS"], 2, 100_000),
}
STREAMS = (*PRESETS, "custom")


@dataclass(frozen=True)
class Phase:
    """The part of a stream in which all training samples come from one task.

    Attributes:
        number: position in the stream, from 0.
        task: the task that is trained on; in a stream of FORK trials the part.
        cycle: how often the task order has been gone through before, from 0.
        start, end: environment steps of the whole stream before and after the phase.
    """

    number: int
    task: str
    cycle: int
    start: int
    end: int


@dataclass(frozen=True)
class Stream:
    """Phases of equal length.

    Attributes:
        name: e.g. ``CW10``.
        tasks: the distinct tasks, or parts, in order of first appearance.
        cycles: how often the order is gone through.
        phase_steps: environment steps of each phase.
        per_iteration: environment steps of an iteration, of which phases have a whole number.
    """

    name: str
    tasks: tuple[str, ...]
    cycles: int
    phase_steps: int
    per_iteration: int = 1

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All phases in order."""
        order = [(cycle, task) for cycle in range(self.cycles) for task in self.tasks]
        return tuple(
            Phase(n, task, cycle, n * self.phase_steps, (n + 1) * self.phase_steps)
            for n, (cycle, task) in enumerate(order)
        )

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole stream."""
        return self.cycles * len(self.tasks) * self.phase_steps

    def phase_at(self, steps: int) -> Phase:
        """The phase that the samples after `steps` steps belong to; at the very end the last."""
        return self.phases[min(steps // self.phase_steps, self.cycles * len(self.tasks) - 1)]

    def evaluation_steps(self) -> tuple[int, ...]:
        """Steps at which all tasks are evaluated: untrained, midway in each phase, at its end."""
        middle = self.phase_steps // self.per_iteration // 2 * self.per_iteration
        points = {0, *(phase.start + middle for phase in self.phases)}
        return tuple(sorted(points | {phase.end for phase in self.phases}))

    def rounded(self, per_iteration: int) -> Stream:
        """The same with phases of whole iterations of `per_iteration` steps, rounded up."""
        steps = -(-self.phase_steps // per_iteration) * per_iteration
        return dataclasses.replace(self, phase_steps=steps, per_iteration=per_iteration)


def make_stream(
    name: str,
    *,
    tasks: Sequence[str] = (),
    cycles: int | None = None,
    phase_steps: int | None = None,
) -> Stream:
    """The stream `name`, with what is given replacing what the name stands for.

    Args:
        name: one of STREAMS.
        tasks: task order of a custom stream, or some parts of a stream of FORK trials.
        cycles: how often the order is gone through; custom: once.
        phase_steps: environment steps of each phase; custom: 500,000.

    Raises:
        ValueError: listing everything wrong with the request.
    """
    if problems := stream_problems(name, tasks=tasks, cycles=cycles, phase_steps=phase_steps):
        raise ValueError("; ".join(problems))
    preset = PRESETS.get(name, Preset(tuple(tasks), 1, 500_000))
    return Stream(
        name,
        tuple(tasks) or preset.tasks,
        cycles or preset.cycles,
        phase_steps or preset.phase_steps,
    )


def stream_problems(
    name: str, *, tasks: Sequence[str], cycles: int | None, phase_steps: int | None
) -> list[str]:
    """Everything wrong with a stream request, each a sentence that says what to type instead."""
    problems = []
    if name not in STREAMS:
        problems.append(f"unknown stream {name!r}{nearest(name, STREAMS)}")
    known = FORK_STREAMS.get(name, TASKS)
    problems += [
        f"--tasks: unknown task {task!r}{nearest(task, known)}"
        for task in tasks
        if task not in known
    ]
    if name == "custom" and len(tasks) < 2:
        given = "its tasks" if not tasks else f"two tasks or more, not {tasks[0]} alone"
        problems.append(f"a custom stream needs {given}: e.g. --tasks reach-v3 push-v3")
    if name in FORK_STREAMS and len(tasks) == 1:
        problems.append(f"--tasks: a stream has two parts or more, of {', '.join(known)}")
    if name != "custom" and name not in FORK_STREAMS and tasks:
        problems.append(f"--tasks belongs to --suite custom, not {name}")
    if len(set(tasks)) < len(tasks):
        problems.append("--tasks names each task once; repeat the order with --cycles")
    problems += [
        f"--{flag} must be at least 1, not {value}"
        for flag, value in (("cycles", cycles), ("phase-steps", phase_steps))
        if value is not None and value < 1
    ]
    return problems


def only(suite: Suite, task: str) -> Suite:
    """`suite` with one training task, or one part of its FORK: what one phase trains on."""
    if suite.fork is None:
        return dataclasses.replace(suite, train={task: suite.train[task]})
    fork = of_part(suite.fork, task)
    train = {simulated: suite.train[simulated] for simulated in fork.tasks}
    return dataclasses.replace(suite, train=train, fork=fork)


def evaluation_trials(
    stream: Stream, suite: Suite, *, goals: int, episodes: int, horizon: int, seed: int
) -> list[Trial]:
    """Unseen trials of every task or part, `goals` of each, goal by goal with them interleaved.

    A function of its arguments, so all arms of one seed are evaluated on the same trials.
    """
    if suite.fork is None:
        return suite.evaluation_trials(
            "test", goals=goals, episodes=episodes, horizon=horizon, seed=seed
        )
    parts = [only(suite, name) for name in stream.tasks]
    rng = np.random.default_rng([seed, 0, 1])
    return [
        part.trial("test", part.tasks[0], goal, episodes, horizon, seed=int(rng.integers(2**63)))
        for goal in range(goals)
        for part in parts
    ]
