"""FORK: one scene, M targets that look alike, and one of them counts (docs/memory-benchmarks.md).

A trial is K attempts. The first target that is touched is the attempt's choice; whether it was
the right one is told at the start of the next attempt and nowhere else. So an agent without memory
is right in at most 1/M of its attempts, and an agent that remembers what it tried finds the target.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

STILL = 5  # steps at the start of an attempt in which the arm does not obey
CLOSING = 5  # steps at the end of an attempt of RECALL in which its outcome is shown
JITTER = 0.02  # metres, along each axis either way
UNCOMMITTED = -1  # the choice of an attempt that has touched nothing
UNRELATED = -1  # the target of an attempt in another scene
SITES = (
    (-0.2, 0.7, 0.15), (0.2, 0.7, 0.15), (-0.2, 0.85, 0.15), (0.2, 0.85, 0.15),
    (0.0, 0.85, 0.25), (0.0, 0.7, 0.05), (-0.1, 0.8, 0.2), (0.1, 0.8, 0.2),
)  # fmt: skip
"""Centres of the sites of reach in metres; M options are the first M."""
REACH = "reach-v3"
REACH_GOAL = (0.0, 0.65, 0.02, 0.0, 0.85, 0.2)
"""The ``rand_vec`` of every reach trial: the simulator does not know which site counts."""
REACH_HORIZON, JOINT_HORIZON = 50, 100  # steps of an attempt
LONGEST = 500  # steps of an attempt with its delay: Meta-World's own limit of an episode
MOST_SWITCHING = 10  # attempts whose ceiling can be known exactly where one of many targets moves
MEETING = 2  # attempts of a trial of RECALL
CODE = 0.05  # metres; the cues of RECALL are as large as placements are
CODES = tuple(itertools.product((-CODE, 0.0, CODE), repeat=3))
"""Cues, far enough from one another to be told apart."""
MOST_CONTEXTS = 24
TOLD = 0.1  # metres; of a target's code, three signs


def target_code(target: int) -> tuple[float, ...]:
    """(3,) what stands in the goal's place where a target below 8 is shown: its binary digits."""
    return tuple(TOLD if target >> digit & 1 else -TOLD for digit in range(3))


@dataclass(frozen=True)
class Joint:
    """A scene whose joint can be moved either way from half-way.

    Attributes:
        task: the Meta-World task that is simulated and observed, whichever way counts.
        ways: the tasks whose rewards teach to move the joint to its low and to its high end.
    """

    task: str
    ways: tuple[str, str]


JOINTS = {
    "drawer": Joint("drawer-open-v3", ("drawer-open-v3", "drawer-close-v3")),
    "window": Joint("window-open-v3", ("window-close-v3", "window-open-v3")),
    "faucet": Joint("faucet-open-v3", ("faucet-close-v3", "faucet-open-v3")),
    "lock": Joint("door-lock-v3", ("door-unlock-v3", "door-lock-v3")),
    "handle-side": Joint("handle-press-side-v3", ("handle-press-side-v3", "handle-pull-side-v3")),
}
JOINT_OF = {joint.task: joint for joint in JOINTS.values()}


@dataclass(frozen=True)
class Meeting:
    """A context as a trial of RECALL meets it.

    Attributes:
        slot: where the lifetime runs; each slot has a store of its own.
        lifetime: the seed of the slot's lifetime, by which it is known.
        context: 0…N-1.
        exposure: how often the context has been met in the lifetime, from 1.
        lag: trials since it was met last; 0 at the first exposure.
        cue: three numbers that stand for the context, in the unused place of the goal; empty where
            the place of the object is the cue.
    """

    slot: int
    lifetime: int
    context: int
    exposure: int
    lag: int
    cue: tuple[float, ...]


@dataclass(frozen=True)
class Lifetimes:
    """What all lifetimes of a RECALL suite have in common.

    Attributes:
        contexts: N.
        exposures: R, how often each context is met.
        flat: the whole lifetime is one trial, whose short-term memory is never cleared.
        scene: the place of the object is the cue, instead of a code.
    """

    contexts: int = 6
    exposures: int = 4
    flat: bool = False
    scene: bool = False

    @property
    def attempts(self) -> int:
        """K by default: two of each meeting."""
        return MEETING * self.contexts * self.exposures if self.flat else MEETING

    def problems(self, episodes: int, horizon: int) -> list[str]:
        """Why trials of so many episodes of so many steps are no part of such a lifetime."""
        found = []
        if self.flat and episodes != self.attempts:
            found.append(f"--episodes is {self.attempts} where a lifetime is one trial")
        if horizon <= STILL + CLOSING:
            found.append(f"--horizon must be above {STILL + CLOSING}, the steps without movement")
        return found


@dataclass(frozen=True)
class Fork:
    """What a FORK trial adds to its task: a pure function of a seed, and JSON values.

    Attributes:
        options: M, targets to choose from.
        targets: (K,) the target z that counts in each attempt; UNRELATED in another scene.
        seed: of the hand's pushes in the still steps.
        sites: (M, 3) metres, the sites of reach; empty for a joint, whose targets are its ends.
        still: F, steps at the start of an attempt in which the arm does not obey.
        delay: D, idle steps at the end of each attempt, part of its horizon.
        meetings: (K,) the context that each attempt of RECALL is in; empty in FORK.
        closing: steps at the end of each attempt, part of its horizon, in which nothing moves and
            the outcome is shown; so the last attempt of a trial is told it too.
    """

    options: int
    targets: tuple[int, ...]
    seed: int
    sites: tuple[tuple[float, float, float], ...] = ()
    still: int = STILL
    delay: int = 0
    meetings: tuple[Meeting, ...] = ()
    closing: int = 0

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Fork:
        """Inverse of `dataclasses.asdict`."""
        sites = tuple(tuple(site) for site in values["sites"])
        met = tuple(Meeting(**{**m, "cue": tuple(m["cue"])}) for m in values.get("meetings", ()))
        targets = tuple(values["targets"])
        return cls(**{**values, "targets": targets, "sites": sites, "meetings": met})

    @property
    def attempts(self) -> tuple[int, ...]:
        """Episodes that are attempts in the trial's own scene."""
        return tuple(e for e, target in enumerate(self.targets) if target != UNRELATED)

    @property
    def firsts(self) -> tuple[int, ...]:
        """Episodes that are the first attempt of a meeting (RECALL)."""
        met = self.meetings
        return tuple(e for e in range(len(met)) if e == 0 or met[e] != met[e - 1])

    def pushes(self) -> np.ndarray:
        """(K, 3) float32, the action that moves the hand in the still steps of each attempt."""
        rng = np.random.default_rng([self.seed, 14])
        return rng.uniform(-1.0, 1.0, (len(self.targets), 3)).astype(np.float32)


@dataclass(frozen=True)
class ForkSettings:
    """What all trials of a FORK suite have in common: load and knobs.

    Attributes:
        scenes: ``reach``, or names in `JOINTS`.
        options: M.
        delay: D, idle steps between attempts.
        switch: h, the chance that another target counts from the next attempt on.
        interference: whether an attempt in another scene, without an outcome, comes in between.
        lifetimes: of RECALL (`envs.memory_tests.recall`); None: trials have nothing in common.
        among: the targets that may count, of the M that commit; empty: all of them.
    """

    scenes: tuple[str, ...]
    options: int
    delay: int = 0
    switch: float = 0.0
    interference: bool = False
    lifetimes: Lifetimes | None = None
    among: tuple[int, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that are simulated."""
        return tuple(REACH if scene == "reach" else JOINTS[scene].task for scene in self.scenes)

    @property
    def counted(self) -> tuple[int, ...]:
        """The targets that may count."""
        return self.among or tuple(range(self.options))

    @property
    def episodes(self) -> int:
        """K by default: one attempt more than targets, and four for two; with all in between.

        In RECALL two of each trial.
        """
        if self.lifetimes is not None:
            return self.lifetimes.attempts
        counted = len(self.counted)
        attempts = 4 if counted == 2 else counted + 1
        return 2 * attempts - 1 if self.interference else attempts

    def problems(self, episodes: int, horizon: int) -> list[str]:
        """Why trials of so many episodes of so many steps test no memory."""
        if (life := self.lifetimes) is not None:
            return life.problems(episodes, horizon)
        found, least = [], 3 if self.interference else 2
        attempts = -(-episodes // 2) if self.interference else episodes
        if episodes < least:
            found.append(f"--episodes must be at least {least} on FORK: memory shows in the second")
        if self.switch and self.options > 2 and attempts > MOST_SWITCHING:
            found.append(
                f"--episodes: where one of {self.options} targets moves, at most {MOST_SWITCHING} "
                f"attempts have a ceiling that can be worked out, not {attempts}"
            )
        if self.options and math.isclose(self.switch, 1 - 1 / len(self.counted)):
            found.append(
                f"with -switch{round(100 * self.switch)} each attempt draws its target anew, so "
                "no memory can help: choose another chance"
            )
        if horizon <= STILL + self.delay:
            found.append(
                f"--horizon must be above {STILL + self.delay}, the steps without movement"
            )
        return found

    @property
    def horizon(self) -> int:
        """H by default, with the idle steps of the delay."""
        return (REACH_HORIZON if self.scenes == ("reach",) else JOINT_HORIZON) + self.delay

    def draw(self, task: str, seed: int, episodes: int, *, split: str) -> Fork:
        """The fork of a trial, a pure function of its arguments.

        Args:
            task: the trial's.
            seed: the trial's.
            episodes: K.
            split: the trial's; targets, sites and pushes of the splits are of different streams.
        """
        rng = np.random.default_rng([seed, 12, split == "test"])
        counted = self.counted
        drawn, targets = int(rng.integers(len(counted))), []
        for episode in range(episodes):
            if self.interference and episode % 2:
                targets.append(UNRELATED)
                continue
            if targets and rng.random() < self.switch:
                drawn = (drawn + int(rng.integers(1, len(counted)))) % len(counted)
            targets.append(counted[drawn])
        jitter = rng.uniform(-JITTER, JITTER, (self.options, 3))
        sites = () if task in JOINT_OF else tuple(
            tuple(place) for place in (np.array(SITES[: self.options]) + jitter).tolist()
        )  # fmt: skip
        own = int(rng.integers(2**63))
        return Fork(self.options, tuple(targets), own, sites, delay=self.delay)


FORKS = {
    **{f"FORK-reach-{m}": ForkSettings(("reach",), m) for m in (2, 4, 8)},
    "FORK-joint": ForkSettings(tuple(JOINTS), 2),
    **{f"FORK-{scene}": ForkSettings((scene,), 2) for scene in JOINTS},
}
"""Suites by name. Their knobs are set by the ends of a name, see `fork_settings`."""
RECALLS = {
    "RECALL-code-4": ForkSettings(("reach",), 4, lifetimes=Lifetimes()),
    **{
        f"RECALL-scene-{scene}": ForkSettings((scene,), 2, lifetimes=Lifetimes(scene=True))
        for scene in ("drawer", "window", "lock")  # whose objects have places to be told apart by
    },
}
"""Likewise those in which contexts come again."""
MOST_ATTEMPTS = 100  # of a trial, which is held in memory as a whole

KNOBS = "-delay50 (steps), -switch10 (in %) and -interference, any of them in this order"
RECALL_KNOBS = "-contexts12 (1 to 24) and -flat (1 to 12 contexts), any of them in this order"
_ORDER = ("delay", "switch", "interference", "contexts", "flat")


@functools.cache
def fork_settings(name: str) -> ForkSettings | None:
    """Settings of the suite ``FORK-…`` or ``RECALL-…``, with its knobs; None where there is none.

    ``FORK-reach-4-delay50-switch10-interference``: 50 idle steps between attempts, a chance of 10 %
    that the target moves, and attempts in another scene in between. ``RECALL-code-4-contexts12``:
    12 contexts; ``-flat``: one trial a lifetime.
    """
    suites = FORKS | RECALLS
    known = max((n for n in suites if f"{name}-".startswith(f"{n}-")), key=len, default=None)
    if known is None:
        return None
    settings, turned = suites[known], dict[str, Any]()
    for knob in name.removeprefix(known).split("-")[1:]:
        if settings.lifetimes is not None:
            one = _of_lifetimes(knob)
            if one is None:
                return None
        elif knob == "interference":
            one = {"interference": True}
        elif (steps := _number(knob, "delay", LONGEST - settings.horizon)) is not None:
            one = {"delay": steps}
        elif (percent := _number(knob, "switch", 100)) is not None:
            one = {"switch": percent / 100}
        else:
            return None
        (setting,) = one
        if any(_ORDER.index(setting) <= _ORDER.index(before) for before in turned):
            return None  # one suite has one name
        turned |= one
    if settings.lifetimes is not None:
        if turned.get("flat") and settings.lifetimes.scene:  # one trial has one place
            return None
        lifetimes = replace(settings.lifetimes, **turned)
        if lifetimes.attempts > MOST_ATTEMPTS:
            return None
        return replace(settings, lifetimes=lifetimes)
    return replace(settings, **turned)


def _of_lifetimes(knob: str) -> dict[str, Any] | None:
    """What a knob of a RECALL suite sets; None where there is no such knob."""
    if knob == "flat":
        return {"flat": True}
    contexts = _number(knob, "contexts", MOST_CONTEXTS)
    return None if contexts is None else {"contexts": contexts}


def _number(knob: str, name: str, most: int) -> int | None:
    """The number behind a knob's name; None where there is none from 1 to `most`."""
    digits = knob.removeprefix(name)
    if not knob.startswith(name) or not re.fullmatch(r"[1-9][0-9]{0,2}", digits):
        return None
    return int(digits) if int(digits) <= most else None
