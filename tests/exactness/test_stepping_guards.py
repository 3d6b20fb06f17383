"""What fast stepping refuses, reports and leaves alone."""

from __future__ import annotations

import inspect
import itertools
import math
import sys
import warnings
from pathlib import Path

import mujoco
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.utils import reward_utils
from stepping_pair import Pair, goals, same, state

from envs.metaworld import fast_step, fast_task, primitives, task_env
from envs.metaworld.task_env import MAX_HORIZON, TASKS, TaskEnv


def test_official_classes_stay_official():
    official = ALL_V3_ENVIRONMENTS["stick-pull-v3"]
    module = sys.modules[official.__module__]
    before = {owner: dict(vars(owner)) for owner in (official, module, np.linalg, reward_utils)}
    for base in official.__mro__:
        before[base] = dict(vars(base))
    fast_task.fast_class.cache_clear()
    env = TaskEnv("stick-pull-v3", fast=True)
    env.set_goal(goals("stick-pull-v3", 1)[0])
    env.reset()
    env.step(np.zeros(4, np.float32))
    for owner, names in before.items():
        now = dict(vars(owner))
        for volatile in ("_abc_impl", "__annotations_cache__"):
            now.pop(volatile, None), names.pop(volatile, None)
        assert now == names, owner
    assert isinstance(env.env, official)
    assert official.compute_reward.__globals__ is vars(module)
    assert module.np is np
    assert type(official().data) is mujoco.MjData


def test_only_positions_of_bodies_and_sites_are_edited_by_resets():
    """What a snapshot restores of the model is all that Meta-World changes in it."""

    def arrays(model):
        named = {name: getattr(model, name) for name in dir(model) if name[0] != "_"}
        return {k: v.copy() for k, v in named.items() if isinstance(v, np.ndarray)}

    for task in ("assembly-v3", "door-open-v3", "sweep-v3"):
        env = TaskEnv(task, fast=True)
        before = arrays(env.env.model)
        env.set_goal(goals(task, 1)[0])
        env.reset()
        after = arrays(env.env.model)
        changed = {name for name, x in before.items() if x.tobytes() != after[name].tobytes()}
        assert changed <= {"body_pos", "site_pos"}


def test_unverified_versions_are_stepped_officially(monkeypatch):
    monkeypatch.setattr(task_env, "VERIFIED", {"metaworld": "3.1.1", "mujoco": "3.2.9"})
    task_env._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"3\.2\.9.*stepping officially"):
        env = TaskEnv("reach-v3")
    assert not env.fast
    assert type(env.env) is ALL_V3_ENVIRONMENTS["reach-v3"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not TaskEnv("reach-v3").fast
        assert not TaskEnv("reach-v3", fast=False).fast
    with pytest.raises(RuntimeError, match="verified on"):
        TaskEnv("reach-v3", fast=True)
    task_env._warn_once.cache_clear()


def test_this_machine_uses_the_verified_versions_and_exact_primitives():
    assert task_env.unverified() == ""
    assert primitives.differences() == ()
    assert TaskEnv("reach-v3").fast


@pytest.mark.parametrize("fast", [True, False])
def test_non_finite_actions_never_reach_the_physics(fast):
    env = TaskEnv("reach-v3", fast=fast)
    env.set_goal(goals("reach-v3", 1)[0])
    env.reset()
    env.step(np.full(4, 0.5, np.float32))
    before = state(env.env)
    for i, bad in itertools.product(range(4), (math.nan, math.inf, -math.inf)):
        action = np.zeros(4, np.float32)
        action[i] = bad
        with pytest.raises(ValueError, match="finite"):
            env.step(action)
    with pytest.raises(ValueError, match="4 finite"):
        env.step(np.zeros(3, np.float32))
    assert same(state(env.env), before)
    assert env.env.curr_path_length == 1
    assert not env.step(np.zeros(4, np.float32)).fault


def test_a_blown_up_simulation_is_a_fault(tmp_path, monkeypatch):
    """It is flagged at that step, and goes on as the official environment does."""
    monkeypatch.chdir(tmp_path)
    pair = Pair("push-v3")
    goal = goals("push-v3", 1)[0]
    rng = np.random.default_rng(0)
    # The first time from a simulated reset, then from a remembered one.
    for name, value in [("qvel", 1e12), ("qpos", math.nan), ("qvel", math.inf), ("qpos", 1e11)]:
        pair.reset(goal)
        for at in range(15):
            blown = at in (0, 5, 6, 11)
            if blown:
                for env in (pair.ours.env, pair.official):
                    getattr(env.data, name)[3] = value
            pair.official.data.warning.number[:] = 0
            assert pair.ours.env.data.warning.number.sum() == 0
            action = rng.uniform(-1, 1, 4).astype(np.float32)
            result = pair.ours.step(action)
            obs, reward, *_ = pair.official.step(action)
            assert same(result.obs, obs)
            assert same(result.reward, reward)
            assert result.fault == blown == (pair.official.data.warning.number.sum() > 0)
    assert not list(tmp_path.iterdir()), "MuJoCo wrote a log"


def test_the_official_fallback_sees_faults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = TaskEnv("push-v3", fast=False)
    env.set_goal(goals("push-v3", 1)[0])
    env.reset()
    env.env.data.qvel[:] = 1e12
    assert env.step(np.zeros(4, np.float32)).fault
    assert not env.step(np.zeros(4, np.float32)).fault
    assert not list(tmp_path.iterdir())


def test_edits_of_the_state_between_steps_are_honoured():
    pair = Pair("push-v3")
    pair.reset(goals("push-v3", 1)[0])
    rng = np.random.default_rng(1)
    for at in range(40):
        if at % 5 == 0:
            delta = rng.normal(scale=0.01, size=15)
            for env in (pair.ours.env, pair.official):
                (env.data.qvel if at % 2 else env.data.qpos)[:15] += delta
        assert pair.step(rng.uniform(-1, 1, 4).astype(np.float32)) is not None


def test_memory_of_resets_is_bounded(monkeypatch):
    monkeypatch.setattr(fast_step, "MEMO_GOALS", 2)
    pair = Pair("reach-v3")
    drawn = goals("reach-v3", 4)
    for goal in [*drawn, *drawn[::-1], drawn[0]]:
        pair.episode(goal, 0, scripted=False, length=5)
        assert len(pair.ours._stepper.memo) <= 2


def test_what_is_kept_of_resets_is_all_that_grows(monkeypatch):
    """A worker's memory rose by 45 KB an iteration: 5 KB for each goal that it had not seen yet."""
    monkeypatch.setattr(fast_step, "MEMO_GOALS", 16)
    env, taken = TaskEnv("reach-v3"), []
    *start, height = goals("reach-v3", 1)[0]
    for number in range(360):
        env.set_goal((*start, height + 1e-5 * number))
        env.reset()
        if number >= 120:
            taken.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4)  # KiB
    assert max(taken[-40:]) - max(taken[:40]) < 200 * 5 / 3  # of the 1000 that were kept without


def test_hands_elsewhere_push_no_goal_out_of_the_memory_of_resets(monkeypatch):
    """They are a trial's own and return within it alone; goals return in every iteration."""
    env = TaskEnv("reach-v3")
    simulated, simulate = [], env._stepper._simulate
    monkeypatch.setattr(env._stepper, "_simulate", lambda: simulated.append(1) or simulate())
    goal = goals("reach-v3", 1)[0]
    for hands, known in ((None, 1), (None, 1), (0.0, 2), (0.0, 2), (0.1, 3), (0.0, 4), (None, 4)):
        env.set_goal(goal)
        env.reset(hands if hands is None else (hands, 0.6, 0.2))
        assert len(simulated) == known
    assert len(env._stepper.memo) == 1


def test_episodes_end_after_the_limit():
    pair = Pair("reach-v3")
    goal = goals("reach-v3", 1)[0]
    pair.episode(goal, 0, scripted=False, length=MAX_HORIZON)
    with pytest.raises(ValueError, match="truncate"):
        pair.official.step(np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="ended after 500 steps"):
        pair.ours.step(np.zeros(4, np.float32))
    pair.episode(goal, 1, scripted=False, length=5)


@pytest.mark.parametrize("fast", [True, False])
def test_misuse_is_refused(fast):
    env = TaskEnv("reach-v3", fast=fast)
    with pytest.raises(RuntimeError, match="set_goal"):
        env.reset()
    with pytest.raises(ValueError, match="a goal is"):
        env.set_goal(np.zeros(3))
    with pytest.raises(ValueError, match="a goal is"):
        env.set_goal(np.full(6, math.nan))
    env.set_goal(goals("reach-v3", 1)[0])
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(4, np.float32))
    env.reset()
    env.close()
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="unknown task"):
        TaskEnv("reach-v2")
    with pytest.raises(ValueError, match="reward_version"):
        TaskEnv("reach-v3", reward_version="v3")


REDRAWING = [
    task for task in TASKS if "while " in inspect.getsource(ALL_V3_ENVIRONMENTS[task].reset_model)
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("task", REDRAWING)
def test_a_goal_that_the_task_would_redraw_for_ever_is_refused(task, fast):
    """Whichever way it is stepped, and a good goal works right after."""
    env = TaskEnv(task, fast=fast)
    good = goals(task, 1)[0]
    bad = good.copy()
    bad[:2] = bad[3:5] if len(bad) == 6 else ALL_V3_ENVIRONMENTS[task]().goal[:2]
    for _ in range(2):
        env.set_goal(bad)
        with pytest.raises(ValueError, match=f"{task} refuses the goal .*0.25 m apart"):
            env.reset()
    env.set_goal(good)
    env.reset()
    env.step(np.zeros(4, np.float32))


def test_all_tasks_that_redraw_are_known():
    """Eighteen and more of Meta-World's 50; if none were found the test above would be empty."""
    assert len(REDRAWING) >= 18
