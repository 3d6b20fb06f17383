"""Proposed tasks in scenes where the training task itself would not do."""

import dataclasses
import math

import numpy as np
import pytest

from envs.metaworld.task_env import TaskEnv
from envs.trials.practice import SUCCESS, Proposal, ProposedTask

BASKETBALL = (0.0, 0.65, 0.03, 0.0, 0.87, 0.0)
BESIDE_A_JOINT = {
    "hammer-v3": (0.0, 0.45, 0.0),
    "coffee-pull-v3": (0.0, 0.72, 0.0, 0.0, 0.55, 0.0),
    "stick-pull-v3": (0.0, 0.6, 0.0, 0.36, 0.5, 0.02),
}


@pytest.mark.parametrize("task", BESIDE_A_JOINT)
def test_an_object_beside_a_joint_is_to_be_moved_not_the_joint(task: str) -> None:
    """Hammer and nail, mug and machine, stick and thermos: what is observed lies free."""
    env = TaskEnv(task)
    env.set_goal(np.array(BESIDE_A_JOINT[task]))
    for seed in range(8):
        asked = ProposedTask(env, dataclasses.replace(Proposal.draw(seed), part="object"))
        obs = asked.begin()
        np.testing.assert_array_equal(obs, env.reset())
        assert math.dist(asked.target, obs[4:7]) > SUCCESS / 3
        assert not asked.judge(obs)[1]


@pytest.mark.parametrize("fast", [True, False])
def test_a_hand_may_start_where_the_training_tasks_reward_is_undefined(fast: bool) -> None:
    """Level with the ball, where Meta-World's margin is negative, which it refuses."""
    task, action = "basketball-v3", np.zeros(4, np.float32)
    env = TaskEnv(task, fast=fast)
    env.set_goal(np.array(BASKETBALL))
    ball = env.reset()[4:7]
    hand = (ball[0] - 0.005, ball[1] - 0.1, 0.077)  # it settles 5 mm beside that
    asked = ProposedTask(env, Proposal("hand", (0.25, 0.5, 0.75), 2.0, 5.0, hand=hand))
    asked.begin()
    step = env.step(action, asked.judge)
    assert (step.reward, step.success) == asked.judge(step.obs)
    assert step.reward > 0
    env.reset(hand)
    with pytest.raises(ValueError, match="margin"):
        env.step(action)
