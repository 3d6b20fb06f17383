"""Fast stepping equals official Meta-World to the last bit, and refuses what it can't promise."""

from __future__ import annotations

import functools
import itertools
import math
import pickle
import re
import sys
import types
import warnings
from collections import Counter
from collections.abc import Callable

import mujoco
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP
from metaworld.types import Task
from metaworld.utils import reward_utils

from envs import fast_step, fast_task, primitives, stepping
from envs.stepping import MAX_HORIZON, TASKS, TaskEnv

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
# Tasks that between them use every primitive: touching, caging (inherited and own), SciPy's
# rotation, two objects, the Gaussian sigmoid, a bare `tolerance`, a live view as the target.
QUICK = (
    "assembly-v3",
    "basketball-v3",
    "drawer-close-v3",
    "pick-place-v3",
    "push-v3",
    "stick-push-v3",
)
COUNT: Counter[str] = Counter()
V1_ERRORS: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def steps_compared(request):
    """Say at the end how much was compared."""
    yield
    if COUNT:
        capture = request.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\nstepping compared with the official environment: {dict(COUNT)}")
            for line, count in sorted(V1_ERRORS.items()):
                print(f"  raised by official code, {count} times: {line}")


@functools.cache
def goals(task: str, n: int) -> list[np.ndarray]:
    """Goals drawn as Meta-World's benchmarks draw them."""
    before = np.random.get_state()
    np.random.seed(TASKS.index(task))
    env = ALL_V3_ENVIRONMENTS[task]()
    env._freeze_rand_vec, env._set_task_called = False, True
    drawn = []
    for _ in range(n):
        env.reset()
        drawn.append(np.array(env._last_rand_vec))
    np.random.set_state(before)
    return drawn


def same(a: object, b: object) -> bool:
    """Equal to the last bit (any NaN equals any NaN, and -0.0 differs from 0.0)."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    if x.shape != y.shape:
        return False
    if x.tobytes() == y.tobytes():
        return True
    x, y = np.atleast_1d(x), np.atleast_1d(y)
    nan = np.isnan(x) & np.isnan(y)
    return bool((nan | (x.view(np.int64) == y.view(np.int64))).all())


def state(env) -> np.ndarray:
    """All of the simulation's state, and the parts of the model that resets edit."""
    size = mujoco.mj_stateSize(env.model, STATE)
    vector = np.empty(size)
    mujoco.mj_getState(env.model, env.data, vector, STATE)
    return np.concatenate([vector, env.model.body_pos.ravel(), env.model.site_pos.ravel()])


class Pair:
    """A fast environment and an official one, driven alike and compared at each step.

    With `both`, a second fast environment has the other visibility of the goal and the other
    reward: the official one need not simulate again to say what these are. Its observation then
    differs in the goal alone, and the same `evaluate_state` gives the other reward.
    """

    def __init__(self, task: str, hidden: bool = True, version: str = "v2", both: bool = False):
        self.task, self.hidden, self.version = task, hidden, version
        self.successes = 0
        self.errors: Counter[str] = Counter()
        self.ours = TaskEnv(task, reward_version=version, goal_hidden=hidden, fast=True)
        self.official = ALL_V3_ENVIRONMENTS[task](reward_function_version=version)
        self.others: list[TaskEnv] = []
        if both:
            other = "v1" if version == "v2" else "v2"
            self.others = [TaskEnv(task, reward_version=other, goal_hidden=not hidden, fast=True)]

    def reset(self, goal: np.ndarray) -> np.ndarray:
        data = {"rand_vec": goal, "env_cls": type(self.official)}
        data["partially_observable"] = self.hidden
        self.official.set_task(Task(self.task, pickle.dumps(data)))
        theirs = self.official.reset()[0]
        for env in (self.ours, *self.others):
            env.set_goal(goal)
            ours = env.reset()
            assert ours.shape == (39,)
            assert ours.dtype == np.float64
            assert same(ours[:36], theirs[:36]), f"{self.task}: first observation"
            assert same(state(env.env), state(self.official)), f"{self.task}: state after reset"
            goal_seen = self.official._target_pos if env in self.others else theirs[36:]
            assert same(ours[36:], goal_seen if self.hidden or env is self.ours else np.zeros(3))
        return theirs.copy()

    def step(self, action: np.ndarray) -> np.ndarray | None:
        """Step all; the observation, or None where official code raises, and ours the same."""
        official = self.official
        at = f"{self.task}, step {official.curr_path_length}"
        obs = self._check(self.ours, action, at, lambda: official.step(action))
        for env in self.others:
            self._check(env, action, at, functools.partial(self._other_step, action))
        return obs

    def _other_step(self, action: np.ndarray) -> tuple:
        """What the official environment's last step would have returned in the other variant."""
        official, version = self.official, self.version
        obs = official._last_stable_obs.copy()
        space = official.goal_space
        obs[36:] = np.clip(official._target_pos, space.low, space.high) if self.hidden else 0.0
        official.reward_function_version = "v1" if version == "v2" else "v2"
        try:
            reward, info = official.evaluate_state(obs, action)
        finally:
            official.reward_function_version = version
        return obs, reward, False, False, info

    def _check(
        self, env: TaskEnv, action: np.ndarray, at: str, official_step: Callable[[], tuple]
    ) -> np.ndarray | None:
        COUNT["steps"] += 1
        try:
            obs, reward, _, _, info = official_step()
        except Exception as error:
            with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
                env.step(action)
            self.errors[f"{self.task}: {error!r}"] += 1
            return None
        result = env.step(action)
        assert same(result.obs, obs), f"{at}: observation {result.obs - obs}"
        assert same(result.reward, reward), f"{at}: reward {result.reward} and {reward}"
        assert result.success == (info["success"] == 1), at
        assert result.info.keys() == info.keys(), at
        for key, value in info.items():
            assert same(result.info[key], value), f"{at}: {key} {result.info[key]} and {value}"
        self.successes += result.success
        result.obs[:] = math.nan  # what is returned is ours to write on
        return obs

    def episode(self, goal: np.ndarray, seed: int, scripted: bool, length: int) -> None:
        rng = np.random.default_rng(seed)
        policy = ENV_POLICY_MAP[self.task]()
        obs: np.ndarray | None = self.reset(goal)
        for _ in range(length):
            if obs is None:
                break
            if scripted:
                obs[36:39] = self.official._target_pos
                action = policy.get_action(obs) + (seed % 2) * rng.normal(scale=0.1, size=4)
            else:
                action = rng.normal(scale=1.0, size=4)
            obs = self.step(np.clip(action, -1.2, 1.2).astype(np.float32))
        for env in (self.ours, *self.others):
            assert same(state(env.env), state(self.official)), f"{self.task}: state at the end"
        COUNT["episodes"] += 1


def compare(pair: Pair, n_goals: int, length: int) -> None:
    """Random and scripted actions; goals A, B, ... twice each, then A again after the others."""
    task = pair.task
    drawn = goals(task, n_goals)
    seeds = itertools.count()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for scripted in (False, True):
            for goal in drawn:
                for _ in range(2):
                    pair.episode(goal, next(seeds), scripted, length)
            pair.episode(drawn[0], next(seeds), scripted, length)
    V1_ERRORS.update(pair.errors)
    COUNT["pairs"] += 1
    COUNT["pairs that solved the task"] += pair.successes > 0


@pytest.mark.parametrize("task", QUICK)
def test_equals_official(task):
    compare(Pair(task), n_goals=2, length=25)


@pytest.mark.parametrize("task", ["push-v3", "pick-place-v3"])
def test_equals_official_with_the_object_in_the_gripper(task):
    """There the action's float32 enters the reward, and touching the object counts."""
    pair = Pair(task)
    pair.episode(goals(task, 2)[0], seed=0, scripted=True, length=100)
    assert pair.successes


@pytest.mark.parametrize(("hidden", "version"), [(False, "v2"), (True, "v1")])
def test_equals_official_in_other_variants(hidden, version):
    for task in ("door-open-v3", "peg-insert-side-v3"):
        compare(Pair(task, hidden, version), n_goals=1, length=30)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("task", TASKS)
def test_equals_official_everywhere(task):
    """Meta-learning with reward v2, and multi-task with reward v1, against the same episodes."""
    compare(Pair(task, both=True), n_goals=3, length=MAX_HORIZON)


def test_official_fallback_equals_official():
    pair = Pair("push-v3")
    pair.ours = TaskEnv("push-v3", fast=False)
    assert not pair.ours.fast
    assert type(pair.ours.env) is ALL_V3_ENVIRONMENTS["push-v3"]
    for goal in goals("push-v3", 2):
        pair.episode(goal, 0, scripted=False, length=30)


def test_the_comparison_notices_one_ulp(monkeypatch):
    """The long tail with its scale squared first: the same but for rounding."""

    def sloppy(x, bounds=(0.0, 0.0), margin=0.0, sigmoid="gaussian", value_at_margin=0.1):
        if sigmoid == "long_tail" and margin > 0 and x > bounds[1]:
            return 1.0 / ((float(x - bounds[1]) / float(margin)) ** 2 * 9.0 + 1.0)
        return reward_utils.tolerance(x, bounds, margin, sigmoid, value_at_margin)

    names = dict(primitives.substitutes())
    names["reward_utils"] = types.SimpleNamespace(**vars(names["reward_utils"]))
    names["reward_utils"].tolerance = sloppy
    monkeypatch.setattr(primitives, "substitutes", lambda: names)
    fast_task.fast_class.cache_clear()
    try:
        pair = Pair("reach-v3")
        with pytest.raises(AssertionError, match="reward"):
            pair.episode(goals("reach-v3", 1)[0], 0, scripted=False, length=MAX_HORIZON)
    finally:
        fast_task.fast_class.cache_clear()


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

    for task in QUICK[:3]:
        env = TaskEnv(task, fast=True)
        before = arrays(env.env.model)
        env.set_goal(goals(task, 1)[0])
        env.reset()
        after = arrays(env.env.model)
        changed = {name for name, x in before.items() if x.tobytes() != after[name].tobytes()}
        assert changed <= {"body_pos", "site_pos"}


def test_unverified_versions_are_stepped_officially(monkeypatch):
    monkeypatch.setattr(stepping, "VERIFIED", {"metaworld": "3.1.1", "mujoco": "3.2.9"})
    stepping._warn_once.cache_clear()
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
    stepping._warn_once.cache_clear()


def test_this_machine_uses_the_verified_versions_and_exact_primitives():
    assert stepping.unverified() == ""
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


def test_a_goal_that_the_task_would_redraw_for_ever_is_refused():
    env = TaskEnv("push-v3", fast=True)
    env.set_goal(np.array([0.0, 0.8, 0.02, 0.0, 0.8, 0.02]))
    with pytest.raises(ValueError, match="refuses the goal"):
        env.reset()
    env.set_goal(goals("push-v3", 1)[0])
    env.reset()
