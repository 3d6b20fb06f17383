"""Proposed tasks: what they ask for, what they pay, and that they are a function of their trial."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import torch

from agents.input_layout import FRAME
from envs.metaworld.suites import Suite, make_suite
from envs.metaworld.task_env import TaskEnv
from envs.trials.practice import (
    FARTHEST,
    HAND_BOX,
    HAND_SHARE,
    HAND_VARIED,
    HIGHEST,
    LEAST_TURN,
    NEAREST,
    SHIFT,
    SHIFTED,
    SUCCESS,
    TABLE,
    VARIED_HAND,
    Proposal,
    ProposedTask,
    _turn,
)
from envs.trials.trial import Trial, TrialRunner
from tests.envs.pool_trials import POLICY
from train.algorithms.ppo import make_ppo
from train.run.config import Config

JOINTS = ("door-open-v3", "drawer-close-v3", "button-press-topdown-v3", "window-open-v3")
FREE = ("push-v3", "peg-insert-side-v3", "sweep-v3", "basketball-v3")


@functools.cache
def suite() -> Suite:
    """Made by the first test that asks for it, as fifteen models are compiled."""
    return make_suite("ML10", seed=1)


def proposed(task: str, proposal: Proposal, **values) -> Trial:
    trial = Trial(task, suite().train[task][0], 0, "train", 2, 6, seed=1, proposal=proposal)
    return dataclasses.replace(trial, **values)


def began(task: str, proposal: Proposal) -> tuple[TaskEnv, ProposedTask, np.ndarray]:
    env = TaskEnv(task)
    env.set_goal(np.array(suite().train[task][0]))
    asked = ProposedTask(env, proposal)
    return env, asked, asked.begin()


def at(obs: np.ndarray, place: np.ndarray, where: slice) -> np.ndarray:
    """The same observation with hand or object elsewhere."""
    moved = obs.copy()
    moved[where] = place
    return moved


def test_proposals_are_a_function_of_their_seed() -> None:
    drawn = [Proposal.draw(seed) for seed in range(4000)]
    assert drawn == [Proposal.draw(seed) for seed in range(4000)]
    assert np.mean([proposal.part == "hand" for proposal in drawn]) == pytest.approx(
        HAND_SHARE, abs=0.03
    )


def test_the_critic_sees_proposals_in_units_of_their_spread() -> None:
    """As it sees goals: squeezed into a hundredth of that it is blind to them for long."""
    critic = make_ppo(Config(suite="ML10"), suite()).critic
    runners = {task: TrialRunner(task) for task in suite().tasks}
    trials = suite().sample_trials(200, episodes=1, horizon=1, iteration=0, seed=1, proposals=0.99)
    vectors = []
    for trial in trials:
        if trial.proposal is not None:
            runners[trial.task].begin(trial)
            vectors.append(trial.proposal.vector(runners[trial.task].target))
    of_proposals = slice(len(suite().tasks), critic.tasks)
    scale, mean = critic.goal_scale[-1], critic.goal_mean[-1]
    seen = (torch.tensor(vectors, dtype=torch.float32) - mean) * scale
    assert (critic.goal_scale[of_proposals] == scale).all()
    torch.testing.assert_close(seen.mean(dim=0), torch.zeros(6), rtol=0, atol=0.3)
    torch.testing.assert_close(seen.std(dim=0), torch.ones(6), rtol=0, atol=0.2)


@pytest.mark.parametrize("task", ["reach-v3", *JOINTS])
def test_a_hand_is_wanted_somewhere_within_reach(task: str) -> None:
    _, asked, obs = began(task, Proposal("hand", (0.25, 0.5, 0.75), 2.0, 5.0))
    np.testing.assert_allclose(
        asked.target, HAND_BOX[0] + (0.25, 0.5, 0.75) * np.diff(HAND_BOX, axis=0)[0]
    )
    reward, success = asked.judge(obs)
    assert (reward, success) == (pytest.approx(1.0), False)  # a tenth of all, at the margin
    assert asked.judge(at(obs, asked.target + np.array((0, 0.04, 0)), slice(0, 3))) == (10.0, True)
    half = asked.target + (obs[0:3] - asked.target) / 2
    assert asked.judge(at(obs, half, slice(0, 3)))[0] == pytest.approx(10 / (1 + 1.5**2))


@pytest.mark.parametrize("task", FREE)
@pytest.mark.parametrize("lift", [0.2, 0.9])
def test_an_object_is_wanted_elsewhere_on_the_table_or_above(task: str, lift: float) -> None:
    _, asked, obs = began(task, Proposal("object", (0.1, 0.4, lift), 2.0, 5.0))
    move = asked.target - obs[4:7]
    assert (TABLE[0] <= asked.target[:2]).all()
    assert (asked.target[:2] <= TABLE[1]).all()
    assert move[2] == pytest.approx(max(0, 2 * lift - 1) * HIGHEST)
    assert NEAREST <= np.linalg.norm(move[:2]) <= FARTHEST
    reward, success = asked.judge(obs)
    assert not success
    assert 0.5 < reward < 2.0
    assert asked.judge(at(obs, asked.target, slice(4, 7))) == (10.0, True)
    touched = asked.judge(at(obs, obs[4:7], slice(0, 3)))[0]
    assert touched == pytest.approx(2.0 + 5.0 / (1 + 9))  # all for reaching, a tenth of the rest


@pytest.mark.parametrize("task", JOINTS)
@pytest.mark.parametrize("numbers", [(0.9, 0.2, 0.1), (0.1, 0.8, 0.1), (0.6, 0.1, 0.9)])
def test_a_joint_is_to_be_turned_from_here_to_there(task: str, numbers) -> None:
    """Either way: drawers are opened too, though the task is to close them."""
    env, asked, obs = began(task, Proposal("object", numbers, 2.0, 5.0))
    joint = env.object_joint
    assert joint is not None
    low, high = max(joint[0], -1.6), joint[1]
    begin, end = _turn(*numbers)
    np.testing.assert_array_equal(obs, env.move_object(low + begin * (high - low)))
    there = env.move_object(low + end * (high - low))
    np.testing.assert_array_equal(there[4:7], asked.target)
    assert not asked.judge(obs)[1]
    assert asked.judge(there) == (10.0, True)
    assert np.linalg.norm(asked.target - obs[4:7]) > 0.02


def test_turns_are_long_enough_and_go_both_ways() -> None:
    rng = np.random.default_rng(0)
    turns = np.array([_turn(*rng.random(3)) for _ in range(3000)])
    assert (turns >= 0).all()
    assert (turns <= 1).all()
    assert (np.abs(np.diff(turns)) >= LEAST_TURN - 1e-9).all()
    assert 0.4 < (turns[:, 1] > turns[:, 0]).mean() < 0.6
    assert 0.3 < np.isin(turns[:, 0], (0, 1)).mean() < 0.4


def test_success_is_never_there_to_begin_with() -> None:
    """However little is asked for; a hand alone may start where it is wanted."""
    for task in (*JOINTS, *FREE):
        env = TaskEnv(task)
        env.set_goal(np.array(suite().train[task][0]))
        for seed in range(40):
            proposal = dataclasses.replace(Proposal.draw(seed), part="object")
            asked = ProposedTask(env, proposal)
            assert not asked.judge(asked.begin())[1], (task, proposal)
            assert asked._enough <= SUCCESS


@pytest.mark.parametrize("task", ["push-v3", "drawer-close-v3", "window-open-v3"])
def test_equal_trials_are_equal_to_the_last_bit(task: str) -> None:
    """Whatever the simulator ran before; and every episode begins alike."""

    def run(runner: TrialRunner, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        inputs, rewards = [runner.begin(trial).copy()], []
        for _ in range(trial.steps):
            rewards.append(runner.step(rng.uniform(-1, 1, 4)).reward)
            inputs.append(runner.inputs.copy())
        return np.array(inputs), np.array(rewards)

    varied = Proposal.draw(4, vary=True)
    assert None not in (varied.shift, varied.hand)
    trial = proposed(task, varied)
    fresh, used = TrialRunner(task), TrialRunner(task)
    expected = run(fresh, trial)
    other = dataclasses.replace(trial, goal=suite().train[task][1], proposal=Proposal.draw(5))
    for before in (other, dataclasses.replace(trial, proposal=None)):
        run(used, before)
        for found, wanted in zip(run(used, trial), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(expected[0][0][:39], expected[0][6][:39])
    own = run(fresh, dataclasses.replace(trial, proposal=None))
    assert not np.array_equal(own[1], expected[1])


@pytest.mark.parametrize("task", JOINTS)
def test_moved_objects_are_stepped_as_officially(task: str) -> None:
    fast, official = TaskEnv(task, fast=True), TaskEnv(task, fast=False)
    rng, seen = np.random.default_rng(3), []
    actions = rng.uniform(-1, 1, (30, 4)).astype(np.float32)
    for env in (fast, official):
        env.set_goal(np.array(suite().train[task][2]))
        env.reset()
        assert env.object_joint is not None
        rows = [env.move_object(np.mean(env.object_joint).item())]
        rows += [env.step(action).obs for action in actions]
        seen.append(np.array(rows))
    np.testing.assert_array_equal(*seen)


def test_only_joints_are_moved_and_only_after_a_reset() -> None:
    env = TaskEnv("push-v3")
    env.set_goal(np.array(suite().train["push-v3"][0]))
    env.reset()
    assert env.object_joint is None
    with pytest.raises(RuntimeError, match="no joint"):
        env.move_object(0.1)
    drawer, asked, _ = began("drawer-close-v3", Proposal.draw(0))
    drawer.step(np.zeros(4, np.float32))
    with pytest.raises(RuntimeError, match="right after a reset"):
        drawer.move_object(0.0)
    assert asked.target.shape == (3,)


def test_a_trial_with_a_proposal_survives_json() -> None:
    for drawn in (Proposal.draw(7), Proposal.draw(4, vary=True)):
        trial = proposed("push-v3", drawn)
        assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial
    values = trial.to_json()
    del values["proposal"]["shift"], values["proposal"]["hand"]  # as older versions wrote it
    plain = dataclasses.replace(drawn, shift=None, hand=None)
    assert Trial.from_json(values).proposal == plain


def test_varied_scenes_are_a_part_of_the_proposals_that_ask_for_the_same() -> None:
    plain = [Proposal.draw(seed) for seed in range(2000)]
    varied = [Proposal.draw(seed, vary=True) for seed in range(2000)]
    assert [dataclasses.replace(one, shift=None, hand=None) for one in varied] == plain
    for name, share, low, high in (
        ("shift", SHIFTED, [-SHIFT] * 3, [SHIFT] * 3),
        ("hand", HAND_VARIED, *VARIED_HAND),
    ):
        places = [value for one in varied if (value := getattr(one, name)) is not None]
        assert len(places) / len(varied) == pytest.approx(share, abs=0.04)
        middle, spread = np.mean([low, high], axis=0), np.subtract(high, low)
        assert (abs(places - middle) <= spread / 2).all()
        np.testing.assert_allclose(np.mean(places, axis=0), middle, atol=0.05 * spread.max())


@pytest.mark.parametrize("task", ["push-v3", "drawer-close-v3"])
def test_a_shifted_object_is_seen_beside_its_place_and_judged_where_it_is(task: str) -> None:
    plain = dataclasses.replace(Proposal.draw(6), part="object")
    shift = (0.05, -0.02, 0.03)
    rows, rewards = [], []
    for proposal in (plain, dataclasses.replace(plain, shift=shift)):
        runner, rng = TrialRunner(task), np.random.default_rng(0)
        inputs = [runner.begin(proposed(task, proposal)).copy()]
        rewards.append([runner.step(rng.uniform(-1, 1, 4)).reward for _ in range(3)])
        rows.append([*inputs, runner.inputs.copy()])
    assert rewards[0] == rewards[1]
    moved = np.subtract(rows[1], rows[0])
    for frame in (0, FRAME):
        np.testing.assert_allclose(moved[:, frame + 4 : frame + 7], [shift] * 2, atol=1e-6)
        moved[:, frame + 4 : frame + 7] = 0
    assert not moved.any()


@pytest.mark.parametrize("task", ["reach-v3", "drawer-close-v3", "peg-insert-side-v3"])
def test_a_hand_starts_where_it_is_told_to_as_officially(task: str) -> None:
    """And where the task has it in the next episode that does not say."""
    hand, seen = (-0.3, 0.5, 0.25), []
    for env in (TaskEnv(task, fast=True), TaskEnv(task, fast=False)):
        env.set_goal(np.array(suite().train[task][2]))
        own = env.reset()
        rows = [env.reset(hand)]
        rows += [env.step(np.full(4, 0.5, np.float32)).obs for _ in range(5)]
        rows += [env.reset(hand), env.reset()]
        np.testing.assert_array_equal(rows[-1], own)
        np.testing.assert_array_equal(rows[-2], rows[0])
        np.testing.assert_allclose(rows[0][:3], hand, atol=0.02)
        seen.append(rows)
    np.testing.assert_array_equal(*seen)


def test_the_share_of_proposed_trials() -> None:
    """As asked in every task; the other trials are what they would have been without."""
    toy = Suite("toy", 1, {task: suite().train[task] for task in ("push-v3", *JOINTS)}, {})
    length = {"episodes": 1, "horizon": 5, "iteration": 2, "seed": 3}
    plain = toy.sample_trials(40, **length)
    mixed = toy.sample_trials(40, **length, proposals=0.25)
    assert toy.sample_trials(40, **length, proposals=0.0) == plain
    for task in toy.tasks:
        mine = [trial for trial in mixed if trial.task == task]
        assert sum(trial.proposal is not None for trial in mine) == 2
    assert [dataclasses.replace(trial, proposal=None) for trial in mixed] == plain
    assert len({trial.proposal for trial in mixed if trial.proposal}) == 10


def test_workers_tell_the_learner_where_the_part_is_wanted(lone) -> None:
    """Of a proposal its own target, of a task Meta-World's."""
    proposal = Proposal("hand", (0.25, 0.5, 0.75), 2.0, 5.0)
    asked = proposed("drawer-close-v3", proposal)
    own = dataclasses.replace(asked, proposal=None)
    batch = lone.run([asked, own], POLICY, lanes=2)
    target = began("drawer-close-v3", proposal)[1].target
    handle = np.add(suite().train["drawer-close-v3"][0], (0.0, -0.16, 0.09))
    np.testing.assert_allclose(batch.targets, [target, handle], atol=1e-6)
