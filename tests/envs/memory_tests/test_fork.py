"""FORK trials: what they are drawn from, their four rules, and the leaks that each rule closes."""

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest

import envs.trials.trial as trial_module
from agents.input_layout import CUE, HAND, PREV_ACTION, PREV_DONE, PREV_REWARD, REWARD_CHANGE
from envs.memory_tests.fork import FORKS, JITTER, SITES, STILL, fork_settings, target_code
from envs.memory_tests.fork_task import ForkTask
from envs.memory_tests.skills import skill
from envs.metaworld.suites import make_suite, suite_problems
from envs.trials.trial import Trial, TrialRunner

Memoryless = Callable[[np.ndarray], np.ndarray]
"""Action (4,) from the present input (46,) alone."""


def trials_of(name: str, count: int = 1, split: str = "test", **length: int) -> list[Trial]:
    suite = make_suite(name, train_goals=count)
    assert suite.fork is not None
    shape = {"episodes": suite.fork.episodes, "horizon": suite.fork.horizon, **length}
    return suite.evaluation_trials(split, goals=count, **shape, seed=1)


def with_target(trial: Trial, target: int) -> Trial:
    assert trial.fork is not None
    fork = dataclasses.replace(trial.fork, targets=(target,) * trial.episodes)
    return dataclasses.replace(trial, fork=fork)


@pytest.fixture(scope="module")
def runner() -> TrialRunner:
    return TrialRunner("reach-v3")


def success(runner: TrialRunner, trials: list[Trial], policy: Memoryless) -> float:
    """Mean over all attempts of a policy without memory."""
    right = []
    for trial in trials:
        inputs = runner.begin(trial)
        while not runner.finished:
            step = runner.step_clipped(policy(inputs))
            right += [step.success] * step.done
    return float(np.mean(right))


# ------------------------------------------------------------------------------------- drawing


@pytest.mark.parametrize("name", ["FORK-reach-4-delay7-switch50-interference", "FORK-window"])
def test_a_trial_survives_json_and_is_a_function_of_its_seed(name: str) -> None:
    first, second = trials_of(name, 2)
    assert Trial.from_json(json.loads(json.dumps(first.to_json()))) == first
    assert trials_of(name, 1) == [first]
    assert first.fork != second.fork


def test_sites_are_jittered_and_their_jitter_is_not_that_of_training() -> None:
    forks = {
        split: [t.fork for t in trials_of("FORK-reach-8", 200, split)]
        for split in ("train", "test")
    }
    places = np.array([[fork.sites for fork in forks[split]] for split in forks])
    offsets = places - np.array(SITES)
    assert abs(offsets).max() <= JITTER
    assert offsets.std() == pytest.approx(JITTER / np.sqrt(3), rel=0.05)
    assert not set(places[0].ravel()) & set(places[1].ravel())
    drawn = np.bincount([fork.targets[0] for fork in forks["train"] + forks["test"]], minlength=8)
    assert (drawn > 25).all()  # of 50 on average


def test_knobs() -> None:
    settings = fork_settings("FORK-reach-4-delay50-switch10-interference")
    assert settings is not None
    assert (settings.delay, settings.switch, settings.horizon) == (50, 0.1, 100)
    assert settings.episodes == 2 * FORKS["FORK-reach-4"].episodes - 1
    (trial,) = trials_of("FORK-reach-2-switch100-interference", episodes=7)
    targets = trial.fork.targets
    assert targets[1::2] == (-1,) * 3
    assert np.diff(targets[::2]).all()
    problems = suite_problems("FORK-reach-4-delays", task=None, tasks=(), test_tasks=())
    assert len(problems) == 1
    assert "-delay50" in problems[0]


@pytest.mark.parametrize(
    "knobs",
    [
        "-delay999999999", "-delay451", "-delay" + "9" * 5000, "-delay-5", "-delay٣", "-delay",
        "-switch150", "-switch101", "-switch1e1", "-switch10-switch20", "-delay5-delay5",
        "-interference-interference", "-switch10-delay5", "-delay0", "-switch0", "-delay05",
        "-", "--delay5", "-delay5-", "-\x1b[2J",
    ],
)  # fmt: skip
def test_what_no_suite_can_be_called(knobs: str) -> None:
    """A delay of a billion steps, a chance above one, a second name of one suite."""
    assert fork_settings("FORK-reach-2" + knobs) is None
    assert suite_problems("FORK-reach-2" + knobs, task=None, tasks=(), test_tasks=())


def test_the_longest_delay() -> None:
    for name, delay in (("FORK-reach-2", 450), ("FORK-window", 400)):
        settings = fork_settings(f"{name}-delay{delay}")
        assert settings is not None
        assert settings.horizon == 500
        assert fork_settings(f"{name}-delay{delay + 1}") is None


@pytest.mark.parametrize("name", ["FORK-reach-2-switch50", "FORK-reach-4-switch75"])
def test_a_target_that_is_drawn_anew_tests_no_memory(name: str) -> None:
    """Bayes' ceiling is chance then, and a memory index would divide by zero."""
    settings = fork_settings(name)
    assert settings is not None
    (problem,) = settings.problems(settings.episodes, settings.horizon)
    assert "no memory can help" in problem


@pytest.mark.parametrize(
    ("name", "episodes", "horizon", "says"),
    [
        ("FORK-reach-2", 1, 50, "--episodes must be at least 2"),
        ("FORK-reach-2-interference", 2, 50, "--episodes must be at least 3"),
        ("FORK-reach-4-switch10", 11, 50, "at most 10 attempts have a ceiling"),
        ("FORK-reach-4-delay50", 4, 55, "--horizon must be above 55"),
    ],
)
def test_trials_that_test_no_memory(name: str, episodes: int, horizon: int, says: str) -> None:
    """Of one attempt a report divided by zero; the ceiling of many with a switch never came."""
    settings = fork_settings(name)
    assert settings is not None
    (problem,) = settings.problems(episodes, horizon)
    assert says in problem
    assert settings.problems(settings.episodes, settings.horizon) == []


# --------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize("name", ["FORK-reach-2", "FORK-drawer"])
def test_nothing_before_the_outcome_depends_on_the_target(name: str) -> None:
    """R1 and R3: bit for bit, up to the last step of the attempt and on from its outcome."""
    (trial,) = trials_of(name, episodes=2)
    seen = []
    for target in (0, 1):
        runner, rng, rows = TrialRunner(trial.task), np.random.default_rng(0), []
        runner.begin(with_target(trial, target))
        act = skill(runner, 0)
        while runner.episode == 0:
            rows.append(runner.inputs.copy())
            runner.step_clipped(act())
        while not runner.finished:
            rows.append(runner.inputs.copy())
            runner.step_clipped(rng.uniform(-1, 1, 4).astype(np.float32))
        seen.append(rows)
    outcome = slice(trial.horizon, trial.horizon + STILL)
    one, two = np.array(seen)
    assert (one[outcome, PREV_REWARD] == 1).all()
    assert (two[outcome, PREV_REWARD] == -1).all()
    one[outcome, PREV_REWARD] = two[outcome, PREV_REWARD]
    np.testing.assert_array_equal(one, two)


def test_inputs_show_the_outcome_in_the_still_steps_and_nothing_else(runner) -> None:
    """R3 and R4: no reward, no change of it, no action before the arm obeys."""
    (trial,) = trials_of("FORK-reach-2", episodes=3)
    rows, ones = [runner.begin(trial).copy()], np.ones(4, np.float32)
    while not runner.finished:
        runner.step_clipped(ones)
        rows.append(runner.inputs.copy())
    inputs = np.array(rows[:-1]).reshape(3, trial.horizon, -1)
    assert not inputs[..., REWARD_CHANGE].any()
    assert not inputs[:, STILL:, PREV_REWARD].any()
    assert (inputs[:, :STILL, PREV_REWARD] == [[0], [-1], [-1]]).all()
    assert not inputs[:, : STILL + 1, PREV_ACTION].any()
    assert (inputs[:, STILL + 1 :, PREV_ACTION] == 1).all()
    assert inputs[..., PREV_DONE].nonzero()[1].tolist() == [0, 0]


def test_practice_shows_the_target_in_the_still_steps_and_nothing_else_changes(runner) -> None:
    (trial,) = trials_of("FORK-reach-8-switch50-interference", episodes=7)
    seen = {}
    for shown in (False, True):
        rows = [runner.begin(dataclasses.replace(trial, practise=shown, shown=shown)).copy()]
        while not runner.finished:
            runner.step_clipped(np.full(4, 0.3, np.float32))
            rows.append(runner.inputs.copy())
        seen[shown] = np.array(rows[:-1]).reshape(7, trial.horizon, -1)
    code = np.zeros((7, trial.horizon, 3), np.float32)
    for episode in trial.fork.attempts:
        code[episode, :STILL] = target_code(trial.fork.targets[episode])
    np.testing.assert_array_equal(seen[True][..., CUE], code)
    assert not seen[False][..., CUE].any()
    seen[True][..., CUE] = 0.0
    np.testing.assert_array_equal(seen[True], seen[False])


def test_a_trial_that_shows_its_target_is_practice() -> None:
    (trial,) = trials_of("FORK-reach-2")
    with pytest.raises(ValueError, match="practice"):
        dataclasses.replace(trial, shown=True)


def test_each_target_has_a_code_of_its_own() -> None:
    assert len({target_code(target) for target in range(8)}) == 8


def test_in_the_still_steps_the_hand_is_pushed_whatever_the_action(runner) -> None:
    trials, hands = trials_of("FORK-reach-2", 2, episodes=2), []
    for trial in (trials[0], trials[0], trials[1]):
        runner.begin(trial)
        for t in range(2 * trial.horizon):
            runner.step_clipped(np.full(4, -1.0 if len(hands) % 2 else 1.0, np.float32))
            if t % trial.horizon == STILL - 1:
                hands.append(runner.inputs[HAND].copy())
        if len(hands) == 2:
            hands.reverse()  # the second run of the trial acts the other way in each attempt
    assert np.array_equal(hands[:2][::-1], hands[2:4])
    assert np.linalg.norm(np.subtract(hands[1], hands[0])) > 0.005
    assert np.linalg.norm(np.subtract(hands[2], hands[4])) > 0.005


def test_the_first_touch_is_the_choice_and_ends_the_attempt(runner) -> None:
    """R2; and what is trained on: progress, 5 for the right site, nothing for or after a wrong."""
    (trial,) = trials_of("FORK-reach-2", episodes=2)
    trial = with_target(trial, 1)
    runner.begin(trial)
    rewards, choices, places = [], [], []
    for option in (0, 1):
        act = skill(runner, option)
        while True:
            step = runner.step_clipped(act())
            rewards.append(step.reward)
            choices.append(step.choice)
            places.append(runner.inputs[HAND].copy())
            if step.choice >= 0:
                act = lambda: np.ones(4, np.float32)  # noqa: E731
            if step.done:
                break
    first, second = np.reshape(rewards, (2, -1))
    wrong, right = np.reshape(choices, (2, -1))
    assert set(wrong) == {-1, 0}
    assert set(right) == {-1, 1}
    for chosen, reward in ((wrong, first), (right, second)):
        at = int((chosen >= 0).argmax())
        assert (np.diff(chosen) != 0).sum() == 1
        assert not reward[:STILL].any()
        assert not reward[at + 1 :].any()
    assert abs(first).max() < 0.1
    assert second.max() == pytest.approx(5, abs=0.1)
    at = int((wrong >= 0).argmax())
    assert np.array_equal(places[at], places[trial.horizon - 2])


def test_a_joint_pays_for_every_step_after_the_right_way() -> None:
    """Meta-World's reward of the drawn way until then, so that waiting never pays."""
    (trial,) = trials_of("FORK-drawer", episodes=2)
    runner, rewards, choices = TrialRunner(trial.task), [], []
    runner.begin(with_target(trial, 1))
    for option in (0, 1):
        act = skill(runner, option)
        for _ in range(trial.horizon):
            step = runner.step_clipped(act())
            rewards.append(step.reward)
            choices.append(step.choice)
    first, second = np.reshape(rewards, (2, -1))
    wrong, right = np.reshape(choices, (2, -1))
    assert not first[1 + int((wrong == 0).argmax()) :].any()
    at = int((right == 1).argmax())
    assert second[at] == pytest.approx(4.1, abs=0.15)
    assert len(second) > at + 1
    assert second[at + 1 :] == pytest.approx(0.2)
    assert 0 < second[STILL:at].max() <= 0.2


def test_a_delay_is_idle(runner) -> None:
    (trial,) = trials_of("FORK-reach-2-delay6", episodes=2)
    runner.begin(trial)
    rows = []
    for _ in range(trial.horizon):
        rows.append(runner.inputs.copy())
        step = runner.step_clipped(np.ones(4, np.float32))
    assert trial.horizon == 56
    assert step.choice == -1
    np.testing.assert_array_equal(rows[-1][HAND], rows[-6][HAND])
    assert not np.array_equal(rows[-7][HAND], rows[-6][HAND])
    assert runner.inputs[PREV_REWARD] == -1


def test_an_attempt_in_another_scene_keeps_the_outcome_for_the_next_own_one(runner) -> None:
    (trial,) = trials_of("FORK-reach-2-interference", episodes=3)
    runner.begin(with_target(trial, 0))
    fork = dataclasses.replace(trial.fork, targets=(0, -1, 0))
    runner.begin(dataclasses.replace(trial, fork=fork))
    act, rows = skill(runner, 0), []
    for t in range(3 * trial.horizon):
        rows.append(runner.inputs.copy())
        step = runner.step_clipped(act() if t < trial.horizon else np.ones(4, np.float32))
        if trial.horizon <= t < 2 * trial.horizon:
            assert (step.reward, step.success, step.choice) == (0, False, -1)
    own, other, again = np.array(rows).reshape(3, trial.horizon, -1)
    assert not other[:, PREV_REWARD].any()
    assert (again[:STILL, PREV_REWARD] == 1).all()
    assert abs(other[0, 4:7] - own[0, 4:7]).max() > 0.02


# --------------------------------------------------------------------------------------- leaks


def side(inputs: np.ndarray) -> np.ndarray:
    """Full speed to the site of the hand's own side of the start."""
    return towards(inputs, left=inputs[0] < 0)


def towards(inputs: np.ndarray, *, left: bool) -> np.ndarray:
    site = np.array(SITES[0] if left else SITES[1])
    return np.append(np.clip((site - inputs[HAND]) * 25, -1, 1), 0).astype(np.float32)


def stigmergy(inputs: np.ndarray) -> np.ndarray:
    """Writes the outcome into the place of its own hand while it is shown, and reads it there."""
    if inputs[PREV_REWARD]:
        return towards(inputs, left=bool(inputs[PREV_REWARD] < 0))  # it began to the right
    return side(inputs)


def sweep(inputs: np.ndarray) -> np.ndarray:
    """To the left; once near it, to the right for good: the previous action tells the way."""
    back = inputs[0] < -0.15 or inputs[PREV_ACTION][0] > 0.5
    return towards(inputs, left=not back)


def climb(inputs: np.ndarray) -> np.ndarray:
    """Goes on in the direction that pays, and turns round in the one that does not."""
    to_left = inputs[PREV_ACTION][0] <= 0
    return towards(inputs, left=bool(to_left == (inputs[PREV_REWARD] >= 0)))


class Moving(ForkTask):
    """Without R4."""

    def _applied(self, action):
        return action


class Sweeping(ForkTask):
    """Without R2: touching a wrong target commits to nothing."""

    def _chosen(self):
        touched = super()._chosen()
        return touched if touched == self.target else -1


class Telling(ForkTask):
    """Without R3: the training reward is shown."""

    def step(self, action):
        result = super().step(action)
        self._told = result.reward
        return result

    def shown(self, action):
        action, outcome = super().shown(action)
        return action, outcome if self.still else self._told


@pytest.mark.parametrize(
    ("policy", "without", "leak"),
    [(stigmergy, Moving, 0.65), (sweep, Sweeping, 0.9), (climb, Telling, 0.9)],
)
def test_each_rule_closes_a_leak(policy, without, leak, runner, monkeypatch) -> None:
    """A policy without memory is right half of the time, and far more often without the rule.

    Targets are balanced, so half is exact for one that always goes the same way.
    """
    trials = [
        with_target(trial, i % 2)
        for i, trial in enumerate(trials_of("FORK-reach-2", 16, episodes=2, horizon=70))
    ]
    attempts = 2 * len(trials)
    assert success(runner, trials, policy) <= 0.5 + 3 * np.sqrt(0.25 / attempts)
    monkeypatch.setattr(trial_module, "ForkTask", without)
    assert success(runner, trials, policy) > leak
