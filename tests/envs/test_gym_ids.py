"""Strata by Gymnasium id: Meta-World's bits, streams that change tasks, trials."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import metaworld
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator

import envs
from envs import gym_ids
from envs.memory_tests.fork_streams import FORK_STREAMS
from envs.metaworld.goals import without_settling
from envs.metaworld.gym_task import FastGym, TaskMaker
from envs.metaworld.streams import PRESETS
from envs.viewing import gl
from tests.envs.viewing.scenes import drawing
from tests.exactness.stepping_pair import same

ROOT = Path(envs.__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of Meta-World's own spaces
IDS = [name for name in gym.registry if name.startswith("Strata/")]


def equal(ours: Any, theirs: Any) -> bool:
    """Equal to the last bit, through dictionaries and arrays; Gymnasium's own clock aside."""
    if isinstance(theirs, dict):
        keys = theirs.keys() - {"t", "_t"}
        return ours.keys() == theirs.keys() and all(equal(ours[k], theirs[k]) for k in keys)
    if isinstance(theirs, tuple) or np.asarray(theirs).dtype == object:
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    return same(ours, theirs)


def test_importing_is_cheap() -> None:
    """Workers import `envs`: ids must not bring Meta-World or torch with them."""
    program = (
        "import sys, envs; print(*{'torch', 'metaworld', 'stable_baselines3'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", IDS)
def test_entry_points_exist(name: str) -> None:
    spec = gym.spec(name)
    points = [point for point in (spec.entry_point, spec.vector_entry_point) if point]
    assert points
    assert all(callable(load_env_creator(point)) for point in points)  # type: ignore[arg-type]


def test_all_streams_have_an_id() -> None:
    assert set(gym_ids.STREAMS) == set(PRESETS) - set(FORK_STREAMS)


@pytest.mark.parametrize("task", ["reach-v3", "push-v3", "drawer-close-v3"])
def test_one_task_has_the_official_bits(task: str) -> None:
    """60 steps with a reset in between, which draws another goal."""
    options: dict[str, Any] = {"env_name": task, "seed": 7, "reward_function_version": "v2"}
    ours = gym.make("Strata/MT1", **options)
    with without_settling():
        theirs = gym.make("Meta-World/MT1", **options)
    assert isinstance(ours.unwrapped, FastGym)
    rng, goals = np.random.default_rng(1), []
    for step in range(60):
        if step % 30 == 0:
            first, official = ours.reset(), theirs.reset()
            assert equal(first[0], official[0])
            goals.append(first[0][36:39].tolist())
        action = rng.uniform(-1.2, 1.2, 4).astype(np.float32)
        assert equal(ours.step(action), theirs.step(action)), f"step {step}"
    assert goals[0] != goals[1]
    assert goals[0] != [0.0] * 3
    ours.close()
    theirs.close()


def assert_alike(ours: Any, theirs: Any, *, steps: int) -> None:
    """Two vector environments that give the same bits."""
    rng = np.random.default_rng(1)
    assert equal(ours.reset()[0], theirs.reset()[0])
    for step in range(steps):
        actions = rng.uniform(-1, 1, (ours.num_envs, 4)).astype(np.float32)
        assert equal(ours.step(actions), theirs.step(actions)), f"step {step}"


def test_multi_task_has_the_official_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One-hot identities, and an autoreset; drawer-close's rewards are of another type."""
    tasks = ("reach-v3", "drawer-close-v3")
    for name in ("MT10_V3", "MT10_V3_ARGS_KWARGS"):  # ten take long to make
        all_ten = getattr(metaworld._env_dict, name)
        monkeypatch.setattr(metaworld._env_dict, name, {task: all_ten[task] for task in tasks})
    monkeypatch.setattr(metaworld, "_N_GOALS", 50)  # Meta-World leaves it changed
    options: dict[str, Any] = {"seed": 2, "num_goals": 2, "num_tasks": 3, "use_one_hot": True}
    options["max_episode_steps"] = 4
    with without_settling():
        theirs = gym.make_vec("Meta-World/MT10", **options)
    ours = gym.make_vec("Strata/MT10", **options)
    assert (
        ours.reset()[0][:, 39:].tolist()
        == theirs.reset()[0][:, 39:].tolist()
        == [
            [1, 0, 0],
            [0, 1, 0],
        ]
    )
    assert_alike(ours, theirs, steps=6)
    names = [[one for one, _ in made.call("get_checkpoint")] for made in (ours, theirs)]  # pyright: ignore
    assert names[0] == names[1]
    ours.close()
    theirs.close()


def test_the_number_of_goals_is_no_lasting_setting() -> None:
    before = metaworld._N_GOALS
    env: Any = gym.make("Strata/MT1", env_name="reach-v3", num_goals=3)
    assert len(env.get_wrapper_attr("tasks")) == 3
    assert before == metaworld._N_GOALS
    env.close()


@pytest.mark.parametrize(("split", "strategy"), [("train", "sync"), ("test", "async")])
def test_meta_learning_has_the_official_bits(split: str, strategy: str) -> None:
    """Train is train here; Meta-World's own id of that name gives its test split."""
    options: dict[str, Any] = {"seed": 3, "meta_batch_size": 1, "max_episode_steps": 20}
    options |= {"recurrent_info_in_obs": True}
    ours: Any = gym.make_vec(
        f"Strata/ML1-{split}", env_name="push-v3", vector_strategy=strategy, **options
    )
    make = metaworld.make_ml_envs_train if split == "train" else metaworld.make_ml_envs_test
    with without_settling():
        theirs: Any = make("push-v3", **options)
    for made in (ours, theirs):
        made.call("sample_tasks")
    assert_alike(ours, theirs, steps=22)
    assert ours.get_attr("terminate_on_success") == (split == "test",)
    ours.close()
    theirs.close()


def test_the_official_id_of_the_train_split_still_gives_test() -> None:
    """If this fails, Meta-World is mended: docs/gym.md still warns of it."""
    with without_settling():
        made: Any = gym.make_vec(
            "Meta-World/ML1-train", env_name="reach-v3", seed=1, meta_batch_size=1
        )
    assert made.get_attr("terminate_on_success") == (True,)
    made.close()


def test_what_cannot_be_made_is_told() -> None:
    with pytest.raises(ValueError, match="did you mean reach-v3"):
        gym.make("Strata/MT1", env_name="reach")
    with pytest.raises(ValueError, match="'sync' or 'async'"):
        gym.make_vec("Strata/MT10", vector_strategy="pool", num_goals=1)
    with pytest.raises(ValueError, match="two tasks or more"):
        gym.make("Strata/Stream", tasks=["reach-v3"])
    with pytest.raises(ValueError, match="horizon"):
        gym.make("Strata/CW10", horizon=501)
    with pytest.raises(ValueError, match="Strata/FORK-reach-2"):
        gym.make("Strata/Trials", suite="FORK-reach-2")


def test_a_task_must_be_set_and_actions_be_finite() -> None:
    env: Any = TaskMaker("reach-v3")()
    for act in (env.reset, lambda: env.step(np.zeros(4))):
        with pytest.raises(RuntimeError, match="set_task"):
            act()
    with without_settling():
        env.set_task(metaworld.MT1("reach-v3", seed=1).train_tasks[0])
    env.reset()
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full(4, np.nan))
    env._freeze_rand_vec = False
    with pytest.raises(RuntimeError, match="chooses the goal"):
        env.reset()
    env.close()


STREAM: Any = {
    "tasks": ["reach-v3", "door-open-v3"],
    "cycles": 2,
    "phase_steps": 5,
    "horizon": 3,
}


def played(env: gym.Env) -> list[tuple]:
    """What a whole stream gives: of each step what was told, and whether it ended an episode."""
    told, ended = [], True
    for _ in range(20):
        if ended:
            env.reset()
        obs, _, terminated, ended, info = env.step(np.zeros(4, np.float32))
        assert not terminated
        assert info["is_success"] == bool(info["success"])
        where = [info[key] for key in ("task", "task_index", "phase")]
        told.append((*where, ended, obs[39:].tolist()))
    return told


class TestStreams:
    def test_tasks_change_at_the_end_of_their_budgets(self) -> None:
        """Episodes of 3 and 2 steps in phases of 5; the identity follows, in info and in sight."""
        env = gym.make("Strata/Stream", **STREAM, use_one_hot=True)
        told = played(env)
        assert [step[2] for step in told] == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
        assert [step[0] for step in told] == (["reach-v3"] * 5 + ["door-open-v3"] * 5) * 2
        assert [step[3] for step in told] == [False, False, True, False, True] * 4
        assert all(step[4] == np.eye(2)[step[1]].tolist() for step in told)
        env.reset()
        with pytest.raises(gym.error.ResetNeeded, match="over after 20 steps"):
            env.step(np.zeros(4, np.float32))
        env.close()

    def test_seeds_choose_the_goals_of_each_reset(self) -> None:
        """As many goals as resets; the same seed gives the same ones, at `make` and at reset."""
        made: dict[str, Any] = {"tasks": ["reach-v3", "push-v3"], "horizon": 1}
        told = []
        for env in (gym.make("Strata/Stream", **made, seed=s) for s in (1, 1, 2)):
            told.append([env.reset()[1]["goal_index"] for _ in range(8)])
            told.append([env.reset(seed=9)[1]["goal_index"], env.reset()[1]["goal_index"]])
            env.close()
        assert told[0] == told[2] != told[4]
        assert told[1] == told[3] == told[5]
        assert len(set(told[0])) > 3

    def test_its_steps_are_the_task_s_own(self) -> None:
        """Observation, reward and info of Meta-World's environment on the goal that is named."""
        env = gym.make("Strata/CW10", seed=4)
        obs, info = env.reset()
        assert info["task"] == "hammer-v3"
        with without_settling():
            benchmark = metaworld.MT1("hammer-v3", seed=4)
        theirs = benchmark.train_classes["hammer-v3"]()
        theirs.set_task(benchmark.train_tasks[info["goal_index"]])
        assert equal(obs, theirs.reset()[0])
        for action in np.random.default_rng(0).uniform(-1, 1, (10, 4)).astype(np.float32):
            ours, official = env.step(action), theirs.step(action)
            assert equal(ours[:2], official[:2])
            assert equal({k: ours[4][k] for k in official[4]}, official[4])
        env.close()

    def test_goals_can_be_hidden(self) -> None:
        for hidden in (True, False):
            env = gym.make("Strata/CW20", goal_hidden=hidden)
            assert (env.reset()[0][36:39] == 0).all() == hidden
            assert env.unwrapped.stream.total_steps == 20_000_000  # type: ignore[attr-defined]
            env.close()

    def test_resets_and_steps_keep_their_order(self) -> None:
        env = gym.make("Strata/Stream", **STREAM).unwrapped
        with pytest.raises(gym.error.ResetNeeded):
            env.step(np.zeros(4, np.float32))
        with pytest.raises(gym.error.ResetNeeded):
            env.render()
        env.close()

    def test_in_a_vector_each_has_its_own(self) -> None:
        vector = gym.make_vec("Strata/Stream", num_envs=2, vectorization_mode="sync", **STREAM)
        vector.reset(seed=1)
        for _ in range(7):  # two of them autoresets
            *_, infos = vector.step(np.zeros((2, 4), np.float32))
        assert list(infos["phase"]) == [1, 1]
        vector.close()


def test_trials_by_id() -> None:
    options: dict[str, Any] = {"suite": "ML1", "task": "reach-v3", "episodes": 2, "horizon": 3}
    env = gym.make("Strata/Trials", **options, split="test")
    _, info = env.reset()
    assert info == {"task": "reach-v3", "goal_index": 0}
    assert "is_success" in env.step(env.action_space.sample())[4]
    env.close()
    vector = gym.make_vec("Strata/Trials", num_envs=3, workers=1, count=4, **options)
    assert len(vector.unwrapped.trials) == 6  # type: ignore[attr-defined]
    inputs, infos = vector.reset()
    assert inputs.shape[0] == 3
    assert list(infos["task"]) == ["reach-v3"] * 3
    assert "is_success" in vector.step(vector.action_space.sample())[4]
    vector.close()


@drawing
def test_record_video_works(tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    env = gym.make("Strata/CW10", render_mode="rgb_array", width=64, height=64, horizon=4)
    env = gym.wrappers.RecordVideo(env, str(tmp_path), video_length=4, disable_logger=True)
    env.reset()
    for _ in range(4):
        env.step(np.array([1, 1, -1, 1], np.float32))
    env.close()
    assert list(tmp_path.glob("*.mp4"))


@drawing
def test_pictures_are_the_official_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours choose OpenGL without MUJOCO_GL, and draw in turns though each has its own context."""
    with without_settling():
        benchmark = metaworld.MT1("reach-v3", seed=1)
    makers: list[Any] = [TaskMaker("reach-v3")] * 2
    envs_ = [
        made(render_mode="rgb_array", camera_name="corner", width=64, height=64)
        for made in [*makers, benchmark.train_classes["reach-v3"]]
    ]
    for env, task in zip(envs_, [0, 1, 0], strict=True):
        env.set_task(benchmark.train_tasks[task])
        env.reset()
        env.step(np.ones(4, np.float32))
    ours, other, again = envs_[0].render(), envs_[1].render(), envs_[0].render()
    monkeypatch.setenv("MUJOCO_GL", gl.backend())
    np.testing.assert_array_equal(ours, envs_[2].render())
    np.testing.assert_array_equal(ours, again)
    assert (ours != other).any()
    assert ours.std() > 10
    for env in envs_:
        env.close()
