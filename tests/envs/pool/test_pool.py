"""The worker pool: the same bits from any number of workers."""

import copy
import warnings

import numpy as np
import pytest

from agents.input_layout import INPUT_DIM
from envs.pool.policies import ScriptedActor
from envs.pool.pool import Policy
from envs.trials.trial import Trial, TrialRunner
from tests.envs.pool_trials import (
    LANES,
    LONG,
    POLICY,
    SHORT,
    assert_same,
    make_trials,
)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_bits(make_pool, lone, expected, workers) -> None:
    """Twice on the same pool: used simulators and memory must not show either.

    In between a longer batch makes the shared memory grow.
    """
    pool, reference = lone if workers == 1 else make_pool(workers), expected(SHORT)
    assert_same(pool.run(SHORT, POLICY, lanes=LANES), reference)
    pool.run(make_trials(3, horizon=40), POLICY, lanes=LANES)
    assert_same(pool.run(SHORT, POLICY, lanes=LANES), reference)


def test_a_batch_is_what_its_trials_are(expected) -> None:
    """Columns are trials: each equals the trial run alone on the recorded actions.

    This is also what makes a trial reproducible outside the pool.
    """
    batch = expected(SHORT)
    assert batch.inputs.shape == (16, 5, INPUT_DIM)
    assert np.unique(batch.actions[:, :, 0]).size == 16 * 5
    for column, trial in enumerate(SHORT):
        runner = TrialRunner(trial.task)
        inputs = runner.begin(trial)
        for t in range(trial.steps):
            np.testing.assert_array_equal(batch.inputs[t, column], inputs)
            step = runner.step(batch.actions[t, column])
            assert batch.rewards[t, column] == np.float32(step.reward)
            assert batch.successes[t, column] == step.success
    assert not batch.faults.any()


def test_a_batch_is_its_owner_s(lone) -> None:
    """The next run overwrites the shared memory but not what the last one returned."""
    first = lone.run(SHORT, POLICY, lanes=LANES)
    kept = copy.deepcopy(first)
    lone.run(SHORT[::-1], POLICY, lanes=LANES)
    assert_same(first, kept)


def test_random_and_scripted_policies_run_too(lone) -> None:
    """Floor and ceiling come from the same trials; the expert reaches where chance does not."""
    trials = make_trials(3, episodes=1, horizon=100)
    random = lone.run(trials, Policy("random"), lanes=3)
    scripted = lone.run(trials, Policy("scripted"), lanes=3)
    assert scripted.successes.any(axis=0).all()
    assert scripted.rewards.mean() > 2 * random.rewards.mean()
    assert np.abs(random.actions).max() <= 1
    assert abs(random.actions.mean()) < 0.1
    assert (scripted.inputs[..., 36:39] == 0).all()  # the expert peeks, the record does not


def test_experts_do_not_complain() -> None:
    """Meta-World warns of every step whose response the box clips; the console is for our words."""
    runner = TrialRunner("reach-v3")
    far = Trial("reach-v3", (0.1, 0.65, 0.02, 0.1, 0.9, 0.29), 0, "train", 1, 20, seed=0)
    inputs, actor = runner.begin(far), ScriptedActor([runner])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        actions = [actor.act(inputs[None], np.zeros((1, 4)))[0][0] for _ in range(2)]
        warnings.warn("heard", stacklevel=1)
    assert (np.abs(actions) == 1).any(), "the box was not reached: nothing to complain of"
    assert [str(warning.message) for warning in caught] == ["heard"]


def test_trials_of_one_run_are_of_one_length(lone) -> None:
    with pytest.raises(ValueError, match="same episodes and horizon"):
        lone.run([*SHORT, *LONG], POLICY, lanes=LANES)
