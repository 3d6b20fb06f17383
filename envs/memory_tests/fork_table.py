"""Agents for FORK that move by script and differ in what they remember: its floors and ceilings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from agents.input_layout import ACTION_DIM
from envs.memory_tests.belief import after_outcome, after_switch, uniform
from envs.memory_tests.fork import UNCOMMITTED, UNRELATED, Fork
from envs.memory_tests.skills import Skill, skill
from envs.trials.trial import Trial, TrialRunner

Past = Sequence[tuple[int, bool]]
"""Choice and outcome of each earlier attempt; the choice is UNCOMMITTED where it touched none."""
Chooser = Callable[[Fork, Past, np.random.Generator], int]
"""What to try next. Of the fork it may use the number of options alone, but for `oracle`."""


def fixed(fork: Fork, past: Past, rng: np.random.Generator) -> int:
    """Without memory: always the first target."""
    return 0


def anything(fork: Fork, past: Past, rng: np.random.Generator) -> int:
    """Without memory: any target."""
    return int(rng.integers(fork.options))


def oracle(fork: Fork, past: Past, rng: np.random.Generator) -> int:
    """Sees what counts, of a trial without a switch."""
    return fork.targets[0]


def win_stay_lose_shift(fork: Fork, past: Past, rng: np.random.Generator) -> int:
    """Remembers the last choice and its outcome: repeats it, or tries any other."""
    if not past or past[-1][0] == UNCOMMITTED:
        return anything(fork, past, rng)
    choice, right = past[-1]
    return choice if right else (choice + int(rng.integers(1, fork.options))) % fork.options


def bayes(switch: float = 0.0) -> Chooser:
    """Remembers everything; `switch` is the chance that the target moves between attempts."""

    def choose(fork: Fork, past: Past, rng: np.random.Generator) -> int:
        belief = uniform(fork.options)
        for choice, right in past:
            if choice == UNCOMMITTED:
                belief = after_switch(belief, switch)
            else:
                belief = after_outcome(belief, choice, right, switch)
        return int(rng.choice(np.flatnonzero(np.isclose(belief, max(belief)))))

    return choose


def play(
    runner: TrialRunner,
    trial: Trial,
    choose: Chooser,
    rng: np.random.Generator,
    before: Past = (),
) -> np.ndarray:
    """Run a FORK trial; returns the target touched in each episode, (K,).

    Args:
        runner: of the trial's task.
        trial: with a fork.
        choose: what to try, asked at the start of each attempt.
        rng: the chooser's.
        before: what it remembers of earlier trials.
    """
    assert trial.fork is not None
    fork, past, choices = trial.fork, list(before), []
    runner.begin(trial)
    for target in fork.targets:
        related = target != UNRELATED
        touch = skill(runner, choose(fork, past, rng)) if related else _rest
        choices.append(_attempt(runner, touch))
        if related:
            past.append((choices[-1], choices[-1] == target))
    return np.array(choices)


def _attempt(runner: TrialRunner, touch: Skill) -> int:
    """The choice of one attempt."""
    while True:
        step = runner.step_clipped(touch())
        if step.done:
            return step.choice


def _rest() -> np.ndarray:
    return np.zeros(ACTION_DIM, np.float32)
