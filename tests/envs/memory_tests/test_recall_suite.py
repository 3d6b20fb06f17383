"""RECALL: its lifetimes, its ceilings, and what its agents reach in the simulator."""

import dataclasses

import numpy as np
import pytest

from agents.input_layout import CUE, PREV_ACTION, PREV_REWARD
from envs.memory_tests.fork import CLOSING, CODES, STILL, Fork, fork_settings
from envs.memory_tests.recall import Life, ceiling, without_store
from envs.memory_tests.recall_table import play_lifetimes
from envs.metaworld.suites import Suite, make_suite, suite_problems
from envs.trials.trial import Trial, TrialRunner

SHAPE = {"episodes": 2, "horizon": 50}


def suite_of(name: str = "RECALL-code-4") -> Suite:
    return make_suite(name, train_goals=50)


def fork_of(trial: Trial) -> Fork:
    assert trial.fork is not None
    return trial.fork


def test_exact_ceilings() -> None:
    np.testing.assert_array_equal(ceiling(4, 4, 2)[:, 0], [0.25, 0.75, 1, 1])
    np.testing.assert_array_equal(ceiling(4, 4, 2)[:, 1], [0.5, 1, 1, 1])
    np.testing.assert_array_equal(without_store(4, 4, 2)[:, 0], [0.25] * 4)
    np.testing.assert_array_equal(without_store(4, 4, 2)[:, 1], [0.5] * 4)


def test_every_context_is_met_once_an_iteration_and_keeps_its_target() -> None:
    suite, met = suite_of("RECALL-code-4-contexts3"), {}
    for iteration in range(4):
        trials = suite.sample_trials(6, **SHAPE, iteration=iteration, seed=1)
        met[iteration] = {}
        for trial in trials:
            (first, second), fork = fork_of(trial).meetings, fork_of(trial)
            assert first == second
            assert first.exposure == iteration + 1
            assert fork.targets[0] == fork.targets[1]
            met[iteration][first.slot, first.context] = (first.cue, fork.targets[0], first.lifetime)
    assert all(found == met[0] for found in met.values())
    assert len(met[0]) == 6
    later = suite.sample_trials(6, **SHAPE, iteration=4, seed=1)
    assert fork_of(later[0]).meetings[0].exposure == 1
    assert {fork_of(t).meetings[0].lifetime for t in later}.isdisjoint(
        v[2] for v in met[0].values()
    )


def test_lags_count_trials_since_the_context_was_met_last() -> None:
    settings = fork_settings("RECALL-code-4")
    assert settings is not None
    life, last = Life.draw(settings, 1, 0, 0, split="test", goals=1), {}
    met = [m for r in range(4) for m, _, _ in life.meetings(r + 1)]
    for number, meeting in enumerate(met):
        assert meeting.lag == (number - last[meeting.context] if meeting.exposure > 1 else 0)
        assert meeting.lag <= 11
        last[meeting.context] = number
    assert len({meeting.cue for meeting in met}) == 6


def test_bindings_are_uniform_and_independent_of_the_cue() -> None:
    """Weights that learn a cue's target by heart learn nothing."""
    settings = fork_settings("RECALL-code-4-contexts24")
    assert settings is not None
    lives = [Life.draw(settings, 1, n, 0, split="train", goals=1) for n in range(200)]
    counts = np.zeros((len(CODES), 4))
    for life in lives:
        for cue, target in zip(life.cues, life.targets, strict=True):
            counts[CODES.index(cue), target] += 1
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert counts.sum(axis=1).min() > 100
    assert abs(shares - 0.25).max() < 0.15
    assert abs(counts.sum(axis=0) / counts.sum() - 0.25).max() < 0.03


def test_training_and_test_have_different_streams_and_seeds_decide() -> None:
    suite = suite_of()
    train = suite.sample_trials(12, **SHAPE, iteration=0, seed=1)
    test = suite.lifetime_rounds("test", 2, **SHAPE, seed=1)
    assert [t.seed for t in test[0]] != [t.seed for t in train]
    assert fork_of(test[0][0]).sites != fork_of(train[0]).sites
    assert test == suite.lifetime_rounds("test", 2, **SHAPE, seed=1)
    assert test[0][:6] == suite.lifetime_rounds("test", 1, **SHAPE, seed=1)[0]
    assert Trial.from_json(train[0].to_json()) == train[0]


def test_a_flat_lifetime_is_one_trial() -> None:
    suite = suite_of("RECALL-code-4-contexts3-flat")
    assert suite.fork is not None
    assert suite.fork.episodes == 24
    (trial,) = suite.lifetime_rounds("test", 1, episodes=24, horizon=50, seed=1)[0]
    fork = fork_of(trial)
    assert fork.firsts == tuple(range(0, 24, 2))
    assert [fork.meetings[e].exposure for e in fork.firsts] == [
        r for r in (1, 2, 3, 4) for _ in "abc"
    ]
    assert len(suite.sample_trials(2, episodes=24, horizon=50, iteration=3, seed=1)) == 2


@pytest.mark.parametrize(
    "name", ["RECALL-code-5", "RECALL-code-4-contexts25", "RECALL-code-4-delay5"]
)
def test_other_names_are_refused(name: str) -> None:
    (problem,) = suite_problems(name, task=None, tasks=(), test_tasks=())
    assert "-contexts12" in problem


def played(trial: Trial, action: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Inputs of all steps, and the choice after each."""
    runner = TrialRunner(trial.task)
    inputs, choices = [runner.begin(trial).copy()], []
    while not runner.finished:
        choices.append(runner.step(action).choice)
        inputs.append(runner.inputs.copy())
    runner.close()
    return np.array(inputs[:-1]), choices


def test_the_cue_shows_in_still_steps_and_the_outcome_in_closing_ones() -> None:
    trial = suite_of().lifetime_rounds("test", 1, **SHAPE, seed=1)[0][0]
    inputs, choices = played(trial, np.array([1.0, 1.0, 0.0, 0.0]))
    cue = np.float32(fork_of(trial).meetings[0].cue)
    clock = np.arange(100) % 50
    np.testing.assert_array_equal(inputs[clock < STILL][:, CUE], np.tile(cue, (2 * STILL, 1)))
    assert (inputs[clock >= STILL][:, CUE] == 0).all()
    right = [choices[e * 50 + 49] == fork_of(trial).targets[e] for e in range(2)]
    closing = inputs[50 - CLOSING : 50]
    assert (closing[:, PREV_REWARD] == (1 if right[0] else -1)).all()
    assert (inputs[100 - CLOSING :, PREV_REWARD] == (1 if right[1] else -1)).all()
    moving = inputs[(clock >= STILL) & (clock < 50 - CLOSING)]
    assert (moving[:, PREV_REWARD] == 0).all()
    assert (closing[:, PREV_ACTION] == 0).all()
    np.testing.assert_array_equal(closing[:, :36], np.tile(inputs[0, :36], (CLOSING, 1)))


def test_what_is_seen_in_a_first_attempt_does_not_depend_on_the_target() -> None:
    """No leak: the same trial with another binding looks the same until the attempt is over."""
    trial = suite_of().lifetime_rounds("test", 1, **SHAPE, seed=1)[0][0]
    fork = fork_of(trial)
    other = tuple((target + 1) % 4 for target in fork.targets)
    changed = dataclasses.replace(trial, fork=dataclasses.replace(fork, targets=other))
    action = np.array([0.5, 1.0, 0.2, 0.0])
    one, two = played(trial, action)[0], played(changed, action)[0]
    np.testing.assert_array_equal(one[: 50 - CLOSING], two[: 50 - CLOSING])


def success_of(remember: bool, slots: int) -> np.ndarray:
    """(R, K) success of the table agents."""
    rounds = suite_of().lifetime_rounds("test", slots, **SHAPE, seed=3)
    played = play_lifetimes(rounds, np.random.default_rng(1), remember=remember)
    targets = np.array([fork_of(t).targets for trials in rounds for t in trials])
    hits = np.array(list(played)) == targets
    return hits.reshape(4, -1, 2).mean(axis=1)


@pytest.mark.slow
def test_a_dictionary_reaches_the_ceiling_and_without_it_there_is_none() -> None:
    """96 trials a round: within three standard errors of the exact curves."""
    np.testing.assert_allclose(success_of(True, 16), ceiling(4, 4, 2), atol=0.14)
    np.testing.assert_allclose(success_of(False, 16), without_store(4, 4, 2), atol=0.15)


def test_a_dictionary_knows_at_the_third_meeting() -> None:
    found = success_of(True, 3)
    np.testing.assert_array_equal(found[2:], 1.0)
    assert found[0, 0] < 0.7


def test_in_scenes_the_place_of_the_object_is_the_cue() -> None:
    suite = suite_of("RECALL-scene-drawer-contexts3")
    rounds = suite.lifetime_rounds("test", 2, episodes=2, horizon=100, seed=1)
    places: dict[tuple[int, int], set] = {}
    for trial in (trial for trials in rounds for trial in trials):
        meeting = fork_of(trial).meetings[0]
        assert meeting.cue == ()
        places.setdefault((meeting.slot, meeting.context), set()).add(trial.goal)
    assert all(len(found) == 1 for found in places.values())
    assert len(set.union(*places.values())) >= 3
    assert suite_problems("RECALL-scene-drawer-flat", task=None, tasks=(), test_tasks=())
    assert fork_settings("RECALL-code-4-contexts12-flat") is not None
    assert fork_settings("RECALL-code-4-contexts13-flat") is None  # more attempts than a trial has


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["drawer", "window", "lock"])
def test_a_dictionary_knows_a_place_again(scene: str) -> None:
    """At the second meeting one attempt in two targets says all."""
    suite = suite_of(f"RECALL-scene-{scene}-contexts3")
    rounds = suite.lifetime_rounds("test", 4, episodes=2, horizon=100, seed=1)
    played = list(play_lifetimes(rounds, np.random.default_rng(1)))
    targets = np.array([fork_of(t).targets for trials in rounds for t in trials])
    success = (np.array(played) == targets).reshape(4, -1, 2).mean(axis=1)
    assert success[1:].mean() > 0.85
    assert success[0, 0] < 0.9


@pytest.mark.parametrize(
    ("scene", "gap", "near"),
    [("drawer", 0.0048, 0.35), ("window", 0.028, 0.03), ("lock", 0.014, 0.08)],
)
def test_how_near_the_places_of_one_lifetime_are(scene: str, gap: float, near: float) -> None:
    """The table of docs/memory-benchmarks.md: 40 test lifetimes of six places."""
    suite = suite_of(f"RECALL-scene-{scene}")
    assert suite.fork is not None
    goals = np.array(suite.test[suite.tasks[0]])[:, :3]
    smallest, neighbours = [], []
    for slot in range(40):
        life = Life.draw(suite.fork, 1, 0, slot, split="test", goals=len(np.unique(goals, axis=0)))
        apart = np.linalg.norm(goals[life.places][:, None] - goals[life.places], axis=-1)
        apart[np.diag_indices(6)] = np.inf
        smallest.append(apart.min())
        neighbours += apart.min(axis=1).tolist()
    assert np.median(smallest) == pytest.approx(gap, rel=0.05)
    assert np.mean(np.array(neighbours) < 0.01) == pytest.approx(near, abs=0.006)
