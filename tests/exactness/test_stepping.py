"""Fast stepping equals official Meta-World to the last bit."""

from __future__ import annotations

import itertools
import types
import warnings
from collections import Counter

import mujoco
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.utils import reward_utils
from stepping_pair import COUNT, Pair, goals

from envs.metaworld import advance, exact_scalars, fast_task, primitives
from envs.metaworld.task_env import MAX_HORIZON, TASKS, TaskEnv

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


@pytest.fixture(params=["compiled", "compiled but the norm", "python"])
def either(request, monkeypatch):
    """All in C that can be, here and where BLAS fuses products into sums, and nothing in C."""
    if request.param == "python":
        monkeypatch.setattr(primitives, "compiled", None)
    elif primitives.compiled is None:
        pytest.skip("nothing was compiled")
    if request.param == "compiled but the norm":
        monkeypatch.setattr(exact_scalars, "norm", exact_scalars.blas_norm)
        monkeypatch.setitem(exact_scalars.PYTHON, "norm", exact_scalars.blas_norm)
    monkeypatch.setattr(primitives, "best", primitives._choose(primitives.compiled))
    for function in (primitives.substitutes, fast_task.fast_class):
        function.cache_clear()
    yield
    for function in (primitives.substitutes, fast_task.fast_class):
        function.cache_clear()


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("task", QUICK)
def test_equals_official(task):
    compare(Pair(task), n_goals=2, length=25)


@pytest.mark.filterwarnings("ignore:Constant")
@pytest.mark.parametrize("task", ["push-v3", "pick-place-v3"])
def test_equals_official_with_the_object_in_the_gripper(task):
    """There the action's float32 enters the reward, and touching the object counts."""
    pair = Pair(task)
    pair.episode(goals(task, 2)[0], seed=0, scripted=True, length=100)
    assert pair.successes


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(("hidden", "version"), [(False, "v2"), (True, "v1")])
def test_equals_official_in_other_variants(hidden, version):
    for task in ("door-open-v3", "peg-insert-side-v3"):
        compare(Pair(task, hidden, version), n_goals=1, length=30)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int64])
def test_equals_official_with_other_kinds_of_actions(kind):
    pair = Pair("drawer-close-v3")
    pair.reset(goals("drawer-close-v3", 1)[0])
    for row in np.random.default_rng(0).uniform(-2, 2, (20, 8)).astype(kind):
        pair.step(row[::2])  # which is not contiguous


@pytest.mark.skipif(primitives.compiled is None, reason="nothing was compiled")
def test_what_the_compiled_step_cannot_take_is_refused():
    array, counts = np.zeros(3), np.zeros(8, np.int32)
    read_only = np.zeros(3)
    read_only.flags.writeable = False
    for arguments in (
        (),
        ((array,), counts, 0.01, (), 1),
        ((array,) * 11, counts, 0.01, (len,) * 6, 1),
        ((read_only, *(array,) * 10), counts, 0.01, (len,) * 6, 1),
        ((array,) * 11, np.zeros(8), 0.01, (len,) * 6, 1),
        ((array,) * 11, counts, 0.01, (len,) * 6, 3),
    ):
        with pytest.raises(TypeError):
            primitives.compiled.Advance(*arguments)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("sizes", [(5, 4), (6, 4), (3, 8)])
def test_objects_of_other_sizes_are_refused(sizes):
    env, now = TaskEnv("reach-v3").env, [3, 4]
    env._get_pos_objects = lambda: np.zeros(now[0])
    env._get_quat_objects = lambda: np.zeros(now[1])
    step = advance.make_advance(env, np.zeros(39))
    step(np.zeros(4, np.float32))
    now[:] = sizes
    with pytest.raises(ValueError):
        step(np.zeros(4, np.float32))


@pytest.mark.usefixtures("either")
def test_an_error_of_mujoco_is_an_exception(monkeypatch):
    def fail(*_):
        raise mujoco.FatalError("made up")

    env = TaskEnv("reach-v3").env
    monkeypatch.setattr(mujoco, "mj_forward", fail)
    step = advance.make_advance(env, np.zeros(39))
    for _ in range(3):
        with pytest.raises(mujoco.FatalError, match="made up"):
            step(np.zeros(4, np.float32))


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
