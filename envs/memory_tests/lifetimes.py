"""The trials of RECALL's lifetimes, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from envs.memory_tests.fork import ForkSettings
from envs.memory_tests.recall import Life, flat, round_of
from envs.trials.trial import Trial

Goals = Sequence[tuple[float, ...]]


def training_round(
    settings: ForkSettings, like: Trial, goals: Goals, count: int, *, iteration: int, seed: int
) -> list[Trial]:
    """Training trials of one iteration: every slot meets all its contexts once.

    A lifetime takes as many iterations as it has exposures; one where it is a single trial.

    Args:
        settings: of the suite.
        like: a trial with the task, its goal, episodes and horizon.
        goals: of the split.
        count: trials, of whole slots.
        iteration: of training.
        seed: of the run.
    """
    life = settings.lifetimes
    assert life is not None
    if life.flat:
        return _round(settings, like, goals, range(count), seed=seed, number=iteration, exposure=1)
    number, exposure = divmod(iteration, life.exposures)
    slots = range(count // life.contexts)
    return _round(settings, like, goals, slots, seed=seed, number=number, exposure=exposure + 1)


def evaluation_rounds(
    settings: ForkSettings, like: Trial, goals: Goals, slots: int, *, seed: int
) -> list[list[Trial]]:
    """The trials of one lifetime in each slot, round by round.

    A single round of single trials where a lifetime is one trial.

    Args:
        settings: of the suite.
        like: a trial with the task, its goal, split, episodes and horizon.
        goals: of the split.
        slots: S.
        seed: of the evaluation.
    """
    life = settings.lifetimes
    assert life is not None
    return [
        _round(settings, like, goals, range(slots), seed=seed, number=0, exposure=r + 1)
        for r in range(1 if life.flat else life.exposures)
    ]


def first_trial(settings: ForkSettings, like: Trial, goals: Goals, slot: int) -> Trial:
    """The first trial of a lifetime that is drawn by the seed of `like`."""
    return _round(settings, like, goals, [slot], seed=like.seed, number=0, exposure=1)[0]


def _round(
    settings: ForkSettings,
    like: Trial,
    goals: Goals,
    slots: Sequence[int],
    *,
    seed: int,
    number: int,
    exposure: int,
) -> list[Trial]:
    """The trials of one round of a lifetime of each slot."""
    assert settings.lifetimes is not None
    trials, different = list[Trial](), len(dict.fromkeys(goals))
    for slot in slots:
        life = Life.draw(settings, seed, number, slot, split=like.split, goals=different)
        if settings.lifetimes.flat:
            drawn = [flat(settings, like.task, life, split=like.split)]
        else:
            drawn = round_of(settings, like.task, life, exposure, like.episodes, split=like.split)
        for own, fork in drawn:
            place = int(life.places[fork.meetings[0].context])
            trials.append(replace(like, goal=goals[place], goal_index=place, seed=own, fork=fork))
    return trials
