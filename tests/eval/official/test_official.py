"""Meta-World's protocol on held-out goals: environments, plans, and processes that are lost."""

import os
import signal
import time
from dataclasses import replace

import metaworld
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from envs.metaworld.goals import goals_of, without_settling
from envs.metaworld.suites import Suite, make_suite
from envs.pool.pool import WorkerError
from eval.official import meta_evaluation
from eval.official.meta_evaluation import (
    OfficialPlan,
    official_envs,
    official_evaluation,
    official_plan,
)
from tests.eval.official.test_protocol import CUSTOM, HORIZON, make_agent
from train.collect import acting_policy


def test_the_official_environments_are_those_of_meta_world_on_held_out_goals() -> None:
    suite = make_suite("ML1", task="reach-v3")
    plan = official_plan(suite, "test")
    assert plan == OfficialPlan(rounds=5, environments=10, goals=50, horizon=500)
    plan = replace(plan, environments=2)  # ten take long to make
    with without_settling():
        theirs = metaworld.make_ml_envs(
            "reach-v3",
            seed=1,
            meta_batch_size=2,
            split="test",
            task_select="pseudorandom",
            total_tasks_per_cls=50,
            recurrent_info_in_obs=True,
        )
    with official_envs(suite, "test", plan) as ours:
        assert isinstance(ours, SyncVectorEnv)
        used = []
        for envs in (ours, theirs):
            envs.call("sample_tasks")  # shuffles as well
            classes = metaworld.ALL_V3_ENVIRONMENTS
            used.append([goals_of(tasks, classes)["reach-v3"] for tasks in envs.get_attr("tasks")])
        assert used[0] == used[1]
        assert str(ours.envs[0]) == str(theirs.envs[0])  # type: ignore[attr-defined]
    theirs.close()
    every = [goal for goals in used[0] for goal in goals]
    assert sorted(every) == sorted(suite.test["reach-v3"])
    assert not set(every) & set(suite.train["reach-v3"])


def test_plans_divide_and_cover_every_goal_once() -> None:
    def suite(name: str, tasks: int, *, hidden: bool = True) -> Suite:
        goals = {f"t{i}": tuple((float(j),) for j in range(50)) for i in range(tasks)}
        return Suite(name, 1, goals, goals if hidden else {}, goal_hidden=hidden)

    assert official_plan(suite("ML10", 5), "test") == OfficialPlan(10, 20, 40, 500)
    assert official_plan(suite("ML10", 10), "train") == OfficialPlan(20, 20, 40, 500)
    assert official_plan(suite("ML45", 5), "test") == OfficialPlan(5, 45, 45, 500)
    assert official_plan(suite("ML45", 45), "train") == OfficialPlan(45, 45, 45, 500)
    assert official_plan(suite("custom", 3), "test", 2, 100) == OfficialPlan(2, 18, 36, 100)
    few = Suite("ML1", 1, {"t0": tuple((float(j),) for j in range(8))}, {}, goal_hidden=True)
    assert official_plan(few, "train") == OfficialPlan(1, 8, 8, 500)
    with pytest.raises(ValueError, match="ML suites only"):
        official_plan(suite("MT10", 10, hidden=False), "train")


PLAN = OfficialPlan(rounds=1, environments=2, goals=2, horizon=HORIZON)


def test_processes_and_none_give_the_same_figure() -> None:
    policy, figures = acting_policy(make_agent(log_std=0.0)), []
    for workers in (1, 2):
        counted: list[int] = []
        with official_envs(CUSTOM, "test", PLAN, workers=workers) as envs:
            found = official_evaluation(policy, envs, PLAN, seed=1, on_steps=counted.append)
        figures.append((found.success, found.mean_return, found.task_success))
        assert counted[-1] == 2 * HORIZON * 12  # 10 of adaptation, then 3 episodes of 2
    assert figures[0] == figures[1]


@pytest.mark.parametrize(
    ("signal_number", "wait"),
    [(signal.SIGKILL, "step"), (signal.SIGSTOP, "step"), (signal.SIGSTOP, "call")],
)
def test_a_lost_environment_ends_the_evaluation_soon(
    signal_number: int, wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []
    lost = 0.0

    def run() -> None:
        nonlocal lost
        with official_envs(CUSTOM, "test", PLAN, workers=2) as envs:
            pids.extend(process.pid for process in envs.processes)  # type: ignore[attr-defined]
            envs.call("sample_tasks")
            envs.reset()
            waiting = getattr(meta_evaluation._Processes, f"{wait}_wait")
            monkeypatch.setattr(waiting, "__defaults__", (1.0,))
            os.kill(pids[0], signal_number)
            lost = time.monotonic()
            for _ in range(HORIZON):
                arguments = np.zeros((2, 4), dtype=np.float32) if wait == "step" else "sample_tasks"
                getattr(envs, wait)(arguments)

    with pytest.raises(WorkerError, match="official evaluation"):
        run()
    assert time.monotonic() - lost < 30
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
