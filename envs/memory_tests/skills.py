"""Scripted motions of FORK: to any of the targets, right or wrong, on the simulator of a trial."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from agents.input_layout import HAND
from envs.memory_tests.fork import JOINT_OF
from envs.memory_tests.scenes import JointScene
from envs.trials.trial import TrialRunner

Skill = Callable[[], np.ndarray]
"""The next action (4,) float32, in the simulator's present state."""
FULL_SPEED = 25.0  # of an action, per metre that is left: full until 4 cm before the site
CLEARANCE = 0.09  # metres at which other sites begin to push the hand away
SIDESTEP = 1.5  # of an action at no distance


def skill(runner: TrialRunner, option: int) -> Skill:
    """How to touch target `option` in the runner's present attempt, whichever counts."""
    assert runner.fork is not None
    joint = JOINT_OF.get(runner.trial.task)
    if joint is not None:
        return _turn(runner, joint.ways[option], option)
    sites = np.array(runner.trial.fork.sites) if runner.trial.fork else np.zeros((0, 3))
    return lambda: _straight(runner.observation[HAND].astype(np.float64), sites, option)


def _straight(hand: np.ndarray, sites: np.ndarray, option: int) -> np.ndarray:
    """At full speed to one site, round those that are nearly touched on the way."""
    way = sites[option] - hand
    move = FULL_SPEED * way
    move /= max(1.0, float(abs(move).max()))
    along = way / max(float(np.linalg.norm(way)), 1e-9)
    for other in np.delete(sites, option, axis=0):
        aside = hand - other
        near = 1 - float(np.linalg.norm(aside)) / CLEARANCE
        if near > 0:
            aside = aside - aside.dot(along) * along
            move += SIDESTEP * near * aside / max(float(np.linalg.norm(aside)), 1e-9)
    return np.append(np.clip(move, -1, 1), 0.0).astype(np.float32)


def _turn(runner: TrialRunner, task: str, option: int) -> Skill:
    """Meta-World's scripted expert of the task that wants the joint there."""
    from metaworld.policies import ENV_POLICY_MAP

    assert runner.fork is not None
    scene, expert = runner.fork.scene, ENV_POLICY_MAP[task]()
    assert isinstance(scene, JointScene)

    def act() -> np.ndarray:
        obs = scene.seen(option)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Constant\(s\) may be too high", UserWarning)
            return np.clip(expert.get_action(obs), -1.0, 1.0).astype(np.float32)

    return act
