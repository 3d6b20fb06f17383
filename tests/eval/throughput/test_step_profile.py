"""The profile of a step: its parts add up, and it leaves MuJoCo and the stepper as they were."""

import json
from pathlib import Path

import mujoco
import numpy as np
import pytest

from envs.metaworld import task_env
from envs.metaworld.task_env import TaskEnv
from eval.throughput import __main__ as program
from eval.throughput.step_profile import Timers, environments, timed_physics

GOALS = {"reach-v3": ((0.0, 0.6, 0.02, 0.1, 0.8, 0.1),), "drawer-close-v3": ((0.05, 0.9, 0.0),)}


def test_timers_change_nothing_but_the_time() -> None:
    before = mujoco.mj_step
    timers = Timers()
    with timed_physics(timers):
        timed = environments(GOALS, timers)
    assert mujoco.mj_step is before
    for env, (task, goals) in zip(timed, GOALS.items(), strict=True):
        plain = TaskEnv(task)
        plain.set_goal(goals[0])
        np.testing.assert_array_equal(env.reset(), plain.reset())
        for action in np.random.default_rng(0).uniform(-1, 1, (5, 4)).astype(np.float32):
            one, two = env.step(action), plain.step(action)
            np.testing.assert_array_equal(one.obs, two.obs)
            assert one.reward == two.reward
    assert timers.calls["advance"] == timers.calls["evaluate"] == 10
    assert timers.calls["mj_step"] >= 10


def test_the_program_writes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "profile.json"
    arguments = "--profile --tasks reach-v3 --steps 40 --repeats 2"
    assert program.main([*arguments.split(), "--out", str(out)]) == 0
    found = json.loads(out.read_text())["profile"]
    assert all(value >= 0 for value in found.values())
    assert 0 < found["physics"] < found["step"] * 2
    assert 1 < found["memory"] < 100
    assert "MuJoCo's functions" in out.with_suffix(".md").read_text()


def test_a_profile_has_no_contenders(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(["--profile", "--only", "ours"])
    assert ended.value.code == 2
    assert "--profile measures no contenders" in capsys.readouterr().err


def test_versions_that_are_not_stepped_fast_have_no_profile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(task_env, "VERIFIED", {"mujoco": "0.0.1"})
    with pytest.raises(SystemExit) as ended:
        program.main(["--profile"])
    assert ended.value.code == 2
    assert "--profile times the parts of a fast step" in capsys.readouterr().err
