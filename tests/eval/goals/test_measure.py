"""Counting: every (task, goal, episode) once, whatever fails, unlike the official evaluator."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from agents.input_layout import INPUT_DIM
from agents.rl2 import AgentConfig, RL2Agent
from envs.metaworld.suites import Suite
from envs.pool.pool import Policy
from envs.pool.shared_rollout import TrialBatch
from envs.trials.trial import Trial
from eval.goals import measure
from eval.goals.measure import LANES
from eval.goals.metrics import Outcomes, bootstrap_means, summarise
from eval.official import meta_evaluation
from eval.official.meta_evaluation import OfficialPlan, official_evaluation
from eval.official.protocol import OFFICIAL_DIM
from train.collect import acting_policy

TASKS = {  # Meta-World's test tasks of ML10, and their classes
    "drawer-open-v3": "SawyerDrawerOpenEnvV3",
    "door-close-v3": "SawyerDoorCloseEnvV3",
    "shelf-place-v3": "SawyerShelfPlaceEnvV3",
    "sweep-into-v3": "SawyerSweepIntoGoalEnvV3",
    "lever-pull-v3": "SawyerLeverPullEnvV3",
}
GOALS, EPISODES, HORIZON, SUCCESS_AT = 40, 2, 25, 4
NUMBERS = {name: ((0.0,),) * GOALS for name in TASKS}
STUB_SUITE = Suite("ML10", 1, train={}, test=NUMBERS)


@dataclass
class StubPool:
    """Trials whose goal is solvable succeed from step `SUCCESS_AT` of each episode, others never.

    `solvable`: (task, goal) bool; `faults`: (task, goal) -> step of the trial at which physics end.
    """

    solvable: np.ndarray
    faults: dict[tuple[int, int], int]
    workers: int = 1
    largest: int = 0

    def run(self, trials: Sequence[Trial], policy: Policy, *, lanes: int) -> TrialBatch:
        self.largest = max(self.largest, len(trials))
        steps, count = trials[0].steps, len(trials)
        arrays = {n: np.zeros(s, dtype=k) for n, k, s in TrialBatch.spec(steps, count)}
        for column, trial in enumerate(trials):
            place = list(TASKS).index(trial.task), trial.goal_index
            clock = np.arange(steps) % trial.horizon + 1
            arrays["successes"][:, column] = self.solvable[place] & (clock >= SUCCESS_AT)
            arrays["rewards"][:, column] = trial.goal_index
            fault = self.faults.get(place, steps)
            arrays["successes"][fault:, column] = False
            arrays["rewards"][fault:, column] = 0
            arrays["faults"][fault:, column] = True
        return TrialBatch(**arrays)


class StubEnvs:
    """The same world as vector environments: `per_task` of each task, goals dealt among them."""

    def __init__(self, solvable: np.ndarray, per_task: int) -> None:
        self.goals = [row[i::per_task] for row in solvable for i in range(per_task)]
        self.names = [name for name in TASKS.values() for _ in range(per_task)]
        self.num_envs, self.round, self.terminates = len(self.names), -1, False

    def get_attr(self, name: str) -> tuple[Any, ...]:
        return tuple(self.names) if name == "task_name" else (self.terminates,) * self.num_envs

    def call(self, name: str, *arguments: Any) -> None:
        self.round += name == "sample_tasks"
        if name == "toggle_terminate_on_success":
            self.terminates = arguments[0]

    def reset(self) -> tuple[np.ndarray, dict]:
        self.clock = np.zeros(self.num_envs, dtype=int)
        return np.zeros((self.num_envs, OFFICIAL_DIM)), {}

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        self.clock += 1
        solvable = np.array([goals[self.round % len(goals)] for goals in self.goals])
        success = solvable & (self.clock >= SUCCESS_AT)
        ended, cut = success & self.terminates, self.clock == HORIZON
        self.clock[ended | cut] = 0
        zeros = np.zeros(self.num_envs)
        infos = {"final_info": {"episode": {"r": zeros}, "success": success}}
        return np.zeros((self.num_envs, OFFICIAL_DIM)), zeros, ended, cut, infos


def tiny_policy() -> Policy:
    torch.manual_seed(0)
    return acting_policy(RL2Agent(AgentConfig(hidden=4, encoder=4)))


def strata(pool: Any, episodes: int = EPISODES, goals: int = GOALS) -> Outcomes:
    return measure.measure(
        tiny_policy(),
        STUB_SUITE,
        "test",
        goals=goals,
        episodes=episodes,
        horizon=HORIZON,
        seed=1,
        pool=pool,
    )


def stock(solvable: np.ndarray, per_task: int, rounds: int) -> float:
    envs: Any = StubEnvs(solvable, per_task)
    plan = OfficialPlan(rounds, envs.num_envs, GOALS, HORIZON)
    return official_evaluation(tiny_policy(), envs, plan, seed=0).success


def test_strata_is_unbiased_where_the_official_evaluator_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tenth of the goals is solvable, quickly: 4 of 25 steps, like 80 of 500."""
    fewer = functools.partial(bootstrap_means, samples=1000)
    monkeypatch.setattr("eval.goals.metrics.bootstrap_means", fewer)
    truth, rng = 0.1, np.random.default_rng(0)
    worlds = [rng.random((len(TASKS), GOALS)) < truth for _ in range(25)]
    ours = []
    for world in worlds:
        outcomes = strata(StubPool(world, {}))
        np.testing.assert_array_equal(outcomes.success, np.repeat(world[..., None], EPISODES, 2))
        ours.append(summarise(outcomes).mean.success[-1])
    rates = np.array([interval.value for interval in ours])
    error = rates.std(ddof=1) / len(rates) ** 0.5
    assert abs(rates.mean() - truth) < 3 * error < 0.03
    covered = np.mean([interval.low <= truth <= interval.high for interval in ours])
    assert covered > 0.8

    monkeypatch.setattr(meta_evaluation, "ADAPTATION_EPISODES", 1)  # nothing is learnt here anyway
    theirs = np.mean([stock(world, per_task=4, rounds=10) for world in worlds[:3]])
    assert theirs > 0.25  # reference/metaworld.md §0.1 reports 35%
    # The bias comes from counting over environments that share a task: with one each, none.
    alone = np.mean([stock(world, per_task=1, rounds=10) for world in worlds[:2]])
    seen = np.mean([world[:, :10] for world in worlds[:2]])
    assert alone == pytest.approx(float(seen))


def test_a_physics_fault_counts_as_failure_from_its_episode_on() -> None:
    solvable = np.ones((len(TASKS), GOALS), dtype=bool)
    faults = {(0, 1): 0, (2, 3): HORIZON + 10}  # in the first episode; in the second, after success
    outcomes = strata(StubPool(solvable, faults), episodes=3)
    assert outcomes.success[0, 1].tolist() == [False, False, False]
    assert outcomes.success[2, 3].tolist() == [True, False, False]
    assert outcomes.last_step_success[2, 3].tolist() == [True, False, False]
    assert outcomes.returns[2, 3].tolist() == [3 * HORIZON, 3 * 10, 0]
    assert outcomes.faults[2, 3].tolist() == [False, True, True]
    assert outcomes.success.sum() == 5 * GOALS * 3 - 5
    assert outcomes.steps_to_success[2, 3].tolist() == [SUCCESS_AT, HORIZON, HORIZON]
    assert outcomes.share_in_success[2, 3].tolist() == [1 - (SUCCESS_AT - 1) / HORIZON, 0, 0]
    assert summarise(outcomes).faulted == 2


def test_memory_is_bounded_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = np.random.default_rng(0).random((len(TASKS), GOALS)) < 0.5
    whole, parts = StubPool(world, {}), StubPool(world, {})
    expected = strata(whole)
    assert whole.largest == len(TASKS) * GOALS
    monkeypatch.setattr(measure, "CHUNK_BYTES", 300_000)
    found = strata(parts)
    row = INPUT_DIM * 4 + 4 * 4 + 4 + 4 + 1 + 1
    assert 2 * parts.largest * EPISODES * HORIZON * row <= 300_000
    assert parts.largest % LANES == 0
    np.testing.assert_array_equal(found.success, expected.success)
    np.testing.assert_array_equal(found.returns, expected.returns)
    crowd = StubPool(world, {}, workers=50)
    strata(crowd)
    assert crowd.largest == 50 * LANES  # a block for everyone, whatever the bound
    first = strata(StubPool(world, {}), goals=3)
    np.testing.assert_array_equal(first.success, expected.success[:, :3])
