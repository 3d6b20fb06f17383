"""Where the time of an environment step goes, ten tasks in turn in one process.

Timers stand around MuJoCo's functions, the `Advance` of `envs.metaworld.advance` and the task's
own code. What the timers take themselves is measured first and taken away; the step without timers
is measured too.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from envs.metaworld import fast_step
from envs.metaworld.suites import Goals
from envs.metaworld.task_env import MAX_HORIZON, TaskEnv
from envs.pool.pool import search_path

PHYSICS = ("mj_step", "mj_step2", "mj_forward", "mj_makeConstraint", "mj_referenceConstraint")
ADVANCE, TASK_CODE = "advance", "evaluate"


class Timers:
    """Seconds and calls of timed functions, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""
        self.seconds.setdefault(name, 0.0)
        self.calls.setdefault(name, 0)

        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            found = function(*args, **options)
            self.seconds[name] += time.perf_counter() - began
            self.calls[name] += 1
            return found

        return timed

    def clear(self) -> None:
        """Forget what was measured."""
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        self.calls = dict.fromkeys(self.calls, 0)


@contextmanager
def timed_physics(timers: Timers) -> Iterator[None]:
    """Environments that are made inside have timers around MuJoCo's functions."""
    originals = {name: getattr(mujoco, name) for name in PHYSICS}
    try:
        for name, original in originals.items():
            setattr(mujoco, name, timers.around(name, original))
        yield
    finally:
        for name, original in originals.items():
            setattr(mujoco, name, original)


def environments(goals: Goals, timers: Timers | None = None) -> list[TaskEnv]:
    """One environment a task, at its first goal; with timers in their steps if there are any."""
    found = []
    for task, vectors in goals.items():
        env = TaskEnv(task)
        if timers is not None:
            inner = env.env
            inner.evaluate_state = timers.around(TASK_CODE, inner.evaluate_state)
            env = _timed_step(env, timers)
        env.set_goal(np.array(vectors[0]))
        found.append(env)
    return found


def _timed_step(env: TaskEnv, timers: Timers) -> TaskEnv:
    """The environment with its step made anew, of timed parts."""
    stepper = env._stepper
    if stepper is None:
        raise RuntimeError("only fast stepping has a profile: see envs.metaworld.task_env")
    stepper.step = fast_step._make_step(env.env, timers.around(ADVANCE, stepper.advance))
    return env


def run(envs: list[TaskEnv], actions: np.ndarray) -> float:
    """Seconds of one step, in turn over all environments; `actions` (steps, envs, 4)."""
    for env in envs:
        env.reset()
    began = time.perf_counter()
    for row in actions:
        for env, action in zip(envs, row, strict=True):
            env.step(action)
    return (time.perf_counter() - began) / actions[..., 0].size


def memory_of_an_environment(goals: Goals) -> float:
    """Resident MiB that one more environment takes, mean over the tasks; 0 where /proc is not.

    It is measured in a process of its own: in this one, memory that was freed is used again.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "eval.throughput.step_profile"],
        input=json.dumps({task: [list(vectors[0])] for task, vectors in goals.items()}),
        env={**os.environ, "PYTHONPATH": search_path()},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(ended.stdout)


def main() -> None:
    """A process of `memory_of_an_environment`: reads goals, prints MiB.

    Each task has one environment before, for what all share: code, and meshes in files' caches.
    """
    goals, status = json.load(sys.stdin), Path("/proc/self/statm")
    first = environments(goals)
    before = int(status.read_text().split()[1]) if status.exists() else 0
    more = [environment for _ in range(2) for environment in environments(goals)]
    after = int(status.read_text().split()[1]) if status.exists() else 0
    print((after - before) * os.sysconf("SC_PAGE_SIZE") / 2**20 / len(more))
    for environment in (*first, *more):
        environment.close()


def cost_of_a_timer(calls: int = 20_000) -> float:
    """Seconds that a timer adds to what it times, and to what stands around it."""
    timers = Timers()
    empty = timers.around("empty", lambda: None)
    began = time.perf_counter()
    for _ in range(calls):
        empty()
    return (time.perf_counter() - began) / calls


def profile(goals: Goals, *, steps: int, repeats: int, seed: int) -> dict[str, float]:
    """Microseconds of each part of a step, medians over repeats, and memory.

    Args:
        goals: task -> its goals; the first one is used.
        steps: of each measurement, over all tasks.
        repeats: measurements.
        seed: of the actions.

    Returns:
        ``physics``, ``task``, ``around``, ``rest`` and ``step``, which is the whole without timers;
        and ``memory``, the MiB of one more environment.
    """
    timers = Timers()
    each = min(MAX_HORIZON, max(1, steps // len(goals)))
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (each, len(goals), 4)).astype(np.float32)
    plain = environments(goals)
    with timed_physics(timers):
        timed = environments(goals, timers)
        found: list[dict[str, float]] = []
        run(plain, actions[:10])
        run(timed, actions[:10])
        for _ in range(repeats):
            whole = run(plain, actions)
            timers.clear()
            with_timers = run(timed, actions)
            found.append(_parts(timers, whole, with_timers, actions[..., 0].size))
    for env in (*plain, *timed):
        env.close()
    medians = {name: statistics.median(values[name] for values in found) for name in found[0]}
    return medians | {"memory": memory_of_an_environment(goals)}


def _parts(timers: Timers, whole: float, with_timers: float, steps: int) -> dict[str, float]:
    """Microseconds a step; the timers' own time is in what stands around the timed."""
    timer = cost_of_a_timer()
    spent = {name: seconds / steps for name, seconds in timers.seconds.items()}
    inner = sum(timers.calls[name] for name in PHYSICS) / steps
    physics = sum(spent[name] for name in PHYSICS)
    parts = {
        "physics": physics,
        "task": spent[TASK_CODE],
        "around": max(spent[ADVANCE] - physics - inner * timer, 0.0),
        "rest": max(with_timers - spent[ADVANCE] - spent[TASK_CODE] - 2 * timer, 0.0),
        "step": whole,
    }
    return {name: 1e6 * seconds for name, seconds in parts.items()}


WORDS: Mapping[str, str] = {
    "physics": "MuJoCo's functions",
    "task": "Meta-World's code of the task: reward and success",
    "around": "around the physics: action to mocap body, observation",
    "rest": "checks, counters and the result",
}


def profile_table(found: Mapping[str, float]) -> str:
    """Markdown: microseconds and share of each part, and memory."""
    total = sum(found[name] for name in WORDS)
    rows = ["| part of a step | µs | share |", "|---|---:|---:|"]
    rows += [f"| {words} | {found[n]:.0f} | {found[n] / total:.0%} |" for n, words in WORDS.items()]
    rows.append(f"| all parts; a step without timers takes {found['step']:.0f} | {total:.0f} | |")
    more = f"One more environment takes {found['memory']:.1f} MiB, mean over the tasks."
    return "\n".join([*rows, "", more])


if __name__ == "__main__":
    main()
