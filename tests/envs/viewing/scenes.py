"""Trials worth looking at."""

import pytest

from envs.trials.trial import Trial
from envs.viewing import gl

SIZE = 96


# Scripted experts solve reach within 60 steps, push not.
REACH = Trial("reach-v3", (0.0, 0.6, 0.02, 0.1, 0.8, 0.2), 3, "test", 2, 60, seed=5)
PUSH = Trial("push-v3", (0.0, 0.6, 0.02, 0.1, 0.8, 0.02), 4, "train", 2, 60, seed=6)
TRIALS = [REACH, PUSH]


def why_not() -> str:
    try:
        gl.backend()
    except gl.GLError as error:
        return f"nothing can be rendered here: {error}"
    return ""


NO_GL = why_not()
drawing = pytest.mark.skipif(bool(NO_GL), reason=NO_GL)


def goal_of(task: str) -> Trial:
    goals = {"door-lock-v3": (0.0, 0.8, 0.15), "sweep-v3": (0.0, 0.6, 0.02)}
    return Trial(task, goals[task], 0, "test", 2, 60, seed=0)
