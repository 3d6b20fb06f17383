"""Proposed tasks: what an agent may practise in the simulators of its training tasks.

A suite's ten training tasks are learnt as ten motions, told apart by what lies on the table; what
to do about a reward that was never met is not. So a share of the training trials swaps the task's
reward for that of a drawn one: bring the hand to a place, bring the object to a place, or turn the
object's joint (door, drawer, window, button) from one angle to another, either way. Scenes, physics
and observations are the training task's; only the rewards tell what is wanted, in the form that
Meta-World's have (0 to 10, 10 on success, `reward_utils.tolerance` with a long tail). Tasks that a
learner makes for itself instead of being given them: Gupta et al. 2018 (arXiv 1806.04640), Nair et
al. 2018 (arXiv 1807.04742). Nothing of a held-out task is used.

With `vary` the scene is not quite the training task's: the hand starts elsewhere, and the object is
seen some centimetres from where it is. Tasks of one scene differ in both (the drawer's observed
place lies 5 cm higher in drawer-close-v3 than in drawer-open-v3), and an agent that has only ever
met ten conventions trusts them (docs/recipe.md). Domain randomisation: Tobin et al. 2017 (arXiv
1703.06907).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from agents.input_layout import FRAME, HAND, OBJECT
from envs.metaworld.exact_scalars import tolerance
from envs.metaworld.task_env import TaskEnv

PARTS = ("hand", "object")
HAND_SHARE = 0.4
HAND_BOX = np.array([(-0.35, 0.45, 0.06), (0.35, 0.9, 0.4)])  # metres, within the arm's reach
TABLE = np.array([(-0.35, 0.48), (0.35, 0.92)])  # where an object may be wanted
NEAREST, FARTHEST, HIGHEST = 0.08, 0.28, 0.15  # metres that an object is to move, and be lifted
LEAST_TURN = 0.35  # of the joint's range
UNMOVED = 1e-6  # metres
HINGE = 1.6  # radians; doors open further than an arm can follow
SUCCESS = 0.05  # metres, as in Meta-World's push and reach
TOUCH = 0.03  # metres between hand and object when they touch
VARIED_HAND = np.array([(-0.5, 0.4, 0.08), (0.5, 0.75, 0.35)])  # metres, where it may start
HAND_VARIED, SHIFTED = 0.5, 0.67  # shares of varied proposals
SHIFT = 0.06  # metres, along each axis either way
MEAN = (0.0, 0.66, 0.16, HAND_SHARE, 2.5, 5.5)
DEVIATION = (0.16, 0.135, 0.105, 0.49, 0.87, 0.87)
"""Of `Proposal.vector` over ML10's scenes, roughly."""


@dataclass(frozen=True)
class Proposal:
    """One proposed task.

    Attributes:
        part: what is to be moved.
        numbers: three numbers in [0, 1) that say where to, by part and kind of object.
        reach: most reward for a hand at the object.
        place: most reward for an object at its place, before success.
        shift: (3,) metres by which the object is seen beside its place; None: it is seen there.
        hand: (3,) metres, where the hand starts; None: where the training task has it.
    """

    part: Literal["hand", "object"]
    numbers: tuple[float, float, float]
    reach: float
    place: float
    shift: tuple[float, ...] | None = None
    hand: tuple[float, ...] | None = None

    @classmethod
    def draw(cls, seed: int, *, vary: bool = False) -> Proposal:
        """A function of `seed`; with `vary` in a scene a little unlike the training task's."""
        rng = np.random.default_rng([seed, 3])
        part = "hand" if rng.random() < HAND_SHARE else "object"
        a, b, c, reach, place = rng.random(5).tolist()
        plain = cls(part, (a, b, c), 1 + 3 * reach, 4 + 3 * place)
        if not vary:
            return plain
        rng, shift, hand = np.random.default_rng([seed, 9]), None, None
        if rng.random() < SHIFTED:
            shift = tuple(rng.uniform(-SHIFT, SHIFT, 3).tolist())
        if rng.random() < HAND_VARIED:
            hand = tuple(rng.uniform(*VARIED_HAND).tolist())
        return replace(plain, shift=shift, hand=hand)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Proposal:
        """Inverse of `dataclasses.asdict`."""
        places = {name: values.get(name) for name in ("numbers", "shift", "hand")}
        return cls(**{**values, **{n: v if v is None else tuple(v) for n, v in places.items()}})

    def vector(self, target: Sequence[float]) -> tuple[float, ...]:
        """What its reward depends on, as six numbers for the critic; `target` (3,) in metres."""
        return (*target, float(self.part == "hand"), self.reach, self.place)


class ProposedTask:
    """The reward of one proposal on one simulator.

    Args:
        env: the simulator, set to the trial's goal.
        proposal: what is to be done.
    """

    target: np.ndarray
    """(3,) metres: where the part is wanted."""

    def __init__(self, env: TaskEnv, proposal: Proposal) -> None:
        self._env, self._proposal = env, proposal
        self._place = HAND if proposal.part == "hand" else OBJECT

    def begin(self) -> np.ndarray:
        """Reset the simulator and start an episode; returns its first observation (39,)."""
        obs = self._env.reset(self._proposal.hand)
        a, b, c = self._proposal.numbers
        if self._proposal.part == "hand":
            low, high = HAND_BOX
            self.target = low + (a, b, c) * (high - low)
        elif (turned := self._turned(a, b, c)) is not None:
            obs, self.target = turned
        else:
            angle, far = 2 * math.pi * a, NEAREST + b * (FARTHEST - NEAREST)
            lift = max(0.0, 2 * c - 1) * HIGHEST
            move = far * math.cos(angle), far * math.sin(angle), lift
            self.target = obs[self._place] + move
            self.target[:2] = np.clip(self.target[:2], *TABLE)
        self._far = math.dist(obs[self._place], self.target)
        self._away = math.dist(obs[HAND], obs[OBJECT])
        near = 1.0 if self._proposal.part == "hand" else 0.35 * self._far  # not there to begin with
        self._enough = min(SUCCESS, near)
        return obs

    def _turned(self, a: float, b: float, c: float) -> tuple[np.ndarray, np.ndarray] | None:
        """First observation (39,) and target (3,) where the object's joint is to be turned.

        None, with all as it was, where a turn of the joint does not move the observed object: it
        lies free, beside a nail or a machine that has the joint.
        """
        joint = self._env.object_joint
        if joint is None:
            return None
        low, high = max(joint[0], -HINGE), joint[1]
        begin, end = _turn(a, b, c)
        target = self._env.move_object(low + end * (high - low))[self._place].copy()
        obs = self._env.move_object(low + begin * (high - low))
        if math.dist(obs[self._place], target) < UNMOVED:
            self._env.reset(self._proposal.hand)
            return None
        return obs, target

    def seen(self, obs: np.ndarray) -> np.ndarray:
        """What the agent is shown of an observation (39,); rewards are for what is there."""
        shift = self._proposal.shift
        if shift is None:
            return obs
        obs = obs.copy()
        obs[OBJECT] += shift
        obs[FRAME + OBJECT.start : FRAME + OBJECT.stop] += shift
        return obs

    @property
    def seen_target(self) -> np.ndarray:
        """(3,) metres: `target` as the agent would see the part there."""
        shift = self._proposal.shift
        return self.target if shift is None or self._place is HAND else self.target + shift

    def judge(self, obs: np.ndarray) -> tuple[float, bool]:
        """Reward, 0 to 10, and success of the step that led to `obs` (39,)."""
        proposal, left = self._proposal, math.dist(obs[self._place], self.target)
        if left < self._enough:
            return 10.0, True
        if proposal.part == "hand":
            return 10.0 * _nearness(left, self._far), False
        apart = max(math.dist(obs[HAND], obs[OBJECT]) - TOUCH, 0.0)
        reached = proposal.reach * _nearness(apart, self._away)
        return reached + proposal.place * _nearness(left, self._far), False


def _turn(a: float, b: float, c: float) -> tuple[float, float]:
    """Where a joint begins and is to end, as fractions of its range at least LEAST_TURN apart.

    A third begin at an end of the range, as tasks do.
    """
    begin = float(round(a)) if c < 1 / 3 else a
    room = max(begin - LEAST_TURN, 0.0), max(1.0 - LEAST_TURN - begin, 0.0)
    at = b * sum(room)
    return begin, at if at < room[0] else begin + LEAST_TURN + (at - room[0])


def _nearness(distance: float, margin: float) -> float:
    """1 at no distance, 0.1 at `margin`, with a long tail."""
    return tolerance(distance, margin=max(margin, 1e-3), sigmoid="long_tail")
