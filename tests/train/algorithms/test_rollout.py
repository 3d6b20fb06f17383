"""Advantages against hand and SB3, stretches that lose no step, and what a rollout says."""

import dataclasses
import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.input_layout import INPUT_DIM
from envs.pool.shared_rollout import TrialBatch
from envs.trials.practice import Proposal
from envs.trials.trial import Trial
from train.algorithms.rollout import (
    Rollout,
    Sequences,
    gae,
    normalise_per_task,
    pad_goals,
    step_discounts,
)
from train.collect import proposal_metrics, success_metrics

EPISODES, HORIZON, TRIALS = 3, 4, 5
STEPS = EPISODES * HORIZON
TASKS = ("reach-v3", "push-v3")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -------------------------------------------------------------------------------------- advantages


def test_gae_by_hand() -> None:
    """Three steps, γ = 0.5, λ = 0.5, worked out on paper; the trial's end has value 0.

    δ₂ = 4 - 1 = 3;  δ₁ = 2 + .5·1 - 3 = -0.5;  δ₀ = 1 + .5·3 - 2 = 0.5
    A₂ = 3;  A₁ = -0.5 + .25·3 = 0.25;  A₀ = 0.5 + .25·0.25 = 0.5625
    """
    rewards = torch.tensor([[1.0], [2.0], [4.0]])
    values = torch.tensor([[2.0], [3.0], [1.0]])
    advantages = gae(rewards, values, step_discounts(3, 3, 0.5, "carry"), 0.5)
    assert advantages.flatten().tolist() == [0.5625, 0.25, 3.0]


def test_gae_by_hand_over_an_inner_boundary() -> None:
    """Two episodes of one step: carried, the second one's return counts for the first; cut, not."""
    rewards, values = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [1.0]])
    carried = gae(rewards, values, step_discounts(2, 1, 0.5, "carry"), 1.0)
    assert carried.flatten().tolist() == [1 + 0.5 * 4 - 2, 3.0]
    cut = gae(rewards, values, step_discounts(2, 1, 0.5, "cut"), 1.0)
    assert cut.flatten().tolist() == [1 - 2, 3.0]


@pytest.mark.parametrize("boundary", ["carry", "cut"])
@pytest.mark.parametrize("lam", [0.0, 0.9, 1.0])
def test_gae_equals_stable_baselines3(boundary: str, lam: float) -> None:
    """SB3's buffer is the oracle; with `cut` each inner episode is one of its episodes."""
    from stable_baselines3.common.buffers import RolloutBuffer  # whose import takes seconds

    rewards, values = random(STEPS, TRIALS), random(STEPS, TRIALS, seed=1)
    box = gym.spaces.Box(-1, 1, (1,))
    buffer = RolloutBuffer(STEPS, box, box, "cpu", gae_lambda=lam, gamma=0.97, n_envs=TRIALS)
    for t in range(STEPS):
        starts = t == 0 if boundary == "carry" else t % HORIZON == 0
        empty = np.zeros((TRIALS, 1))
        buffer.add(
            empty,
            empty,
            rewards[t].numpy(),
            np.full(TRIALS, starts),
            values[t],
            torch.zeros(TRIALS),
        )
    buffer.compute_returns_and_advantage(torch.zeros(TRIALS), dones=np.ones(TRIALS))
    discounts = step_discounts(STEPS, HORIZON, 0.97, boundary)  # type: ignore[arg-type]
    ours = gae(rewards, values, discounts, lam)
    np.testing.assert_allclose(ours.numpy(), buffer.advantages, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose((ours + values).numpy(), buffer.returns, rtol=1e-5, atol=1e-5)


def test_lambda_one_gives_the_discounted_return() -> None:
    rewards, values = random(STEPS, TRIALS), random(STEPS, TRIALS, seed=1)
    targets = gae(rewards, values, step_discounts(STEPS, HORIZON, 0.9, "carry"), 1.0) + values
    powers = 0.9 ** torch.arange(STEPS)
    torch.testing.assert_close(targets[0], (powers[:, None] * rewards).sum(0))


def test_the_discount_is_zero_only_where_a_return_ends() -> None:
    carried = step_discounts(STEPS, HORIZON, 0.9, "carry").flatten()
    cut = step_discounts(STEPS, HORIZON, 0.9, "cut").flatten()
    assert (carried == 0).nonzero().flatten().tolist() == [11]
    assert (cut == 0).nonzero().flatten().tolist() == [3, 7, 11]
    assert (carried[carried > 0] == 0.9).all()
    assert (cut[cut > 0] == 0.9).all()


def test_loud_tasks_do_not_drown_quiet_ones() -> None:
    """Advantages are standardised per task; a faulted trial neither counts nor gets any."""
    ids, usable = torch.tensor([0, 1, 0, 1, 0]), torch.tensor([True] * 4 + [False])
    scale, shift = torch.tensor([1.0, 1000.0])[ids], torch.tensor([5.0, -300.0])[ids]
    advantages = random(STEPS, TRIALS) * scale + shift
    normal = normalise_per_task(advantages, ids, usable)
    for task in range(2):
        part = normal[:, (ids == task) & usable]
        assert abs(float(part.mean())) < 1e-5
        assert float(part.std(correction=0)) == pytest.approx(1.0, abs=1e-3)
    assert (normal[:, 4] == 0).all()
    poisoned = advantages.clone()
    poisoned[:, 4] = float("nan")
    assert torch.equal(normalise_per_task(poisoned, ids, usable), normal)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_advantages_teach_nothing(value: float) -> None:
    """Also of a single step: a deviation of nothing is 0, not NaN."""
    for steps in (1, STEPS):
        ids, usable = torch.tensor([0]), torch.tensor([True])
        normal = normalise_per_task(torch.full((steps, 1), value), ids, usable)
        assert (normal == 0).all()


# --------------------------------------------------------------------------------------- stretches


CUTS = [(12, 4, 0), (12, 5, 0), (12, 12, 0), (12, 100, 0), (7, 3, 0), (5, 1, 0)]
CUTS += [(12, 4, 1), (12, 5, 3), (12, 5, 7), (12, 12, 5), (7, 3, 2)]


@pytest.mark.parametrize(("steps", "length", "offset"), CUTS)
def test_every_step_is_learnt_from_exactly_once(steps: int, length: int, offset: int) -> None:
    """Also where L does not divide T: the reference implementation drops 150 of 5000 steps."""
    sequences = Sequences(steps, TRIALS, length, offset)
    names = 1 + torch.arange(float(steps * TRIALS)).reshape(steps, TRIALS)
    cut, mask = sequences.cut(names), sequences.cut(torch.ones(steps, TRIALS))
    assert sorted(cut[mask == 1].tolist()) == list(range(1, steps * TRIALS + 1))
    assert (cut[mask == 0] == 0).all()
    dealt = torch.cat(sequences.minibatches(4, np.random.default_rng(0)))
    assert sorted(dealt.tolist()) == list(range(sequences.count))


@pytest.mark.parametrize(("steps", "length", "offset"), CUTS)
@pytest.mark.parametrize("rest", [(), (3,), (2, 3)], ids=str)
def test_a_stretch_is_a_stretch_of_one_trial(
    steps: int, length: int, offset: int, rest: tuple[int, ...]
) -> None:
    """Stretch n is trial n mod B at the steps bounds[n div B]: the memory's starts rely on it."""
    sequences, values = Sequences(steps, TRIALS, length, offset), random(steps, TRIALS, *rest)
    cut = sequences.cut(values)
    assert cut.shape == (min(length, steps), sequences.count, *rest)
    for n in range(sequences.count):
        begin, end = sequences.bounds[n // TRIALS]
        assert 0 < end - begin <= length
        assert torch.equal(cut[: end - begin, n], values[begin:end, n % TRIALS])


def test_the_offset_says_where_the_second_stretch_begins() -> None:
    assert Sequences(12, 1, 5).bounds == ((0, 5), (5, 10), (10, 12))
    assert Sequences(12, 1, 5, 2).bounds == ((0, 2), (2, 7), (7, 12))
    assert Sequences(12, 1, 5, 7).bounds == Sequences(12, 1, 5, 2).bounds
    assert Sequences(12, 1, 100, 30).bounds == ((0, 6), (6, 12))


def test_minibatches_are_even_shuffled_and_seeded() -> None:
    sequences = Sequences(STEPS, TRIALS, 4)
    one, two, three = (sequences.minibatches(4, np.random.default_rng(s)) for s in (1, 1, 2))
    assert [len(part) for part in one] == [4, 4, 4, 3]
    assert torch.equal(torch.cat(one), torch.cat(two))
    assert not torch.equal(torch.cat(one), torch.cat(three))
    assert len(sequences.minibatches(1000, np.random.default_rng(0))) == sequences.count


# ---------------------------------------------------------------------------------------- rollouts


TARGETS = np.arange(9, dtype=np.float32).reshape(3, 3) / 10


def make_rollout(second: Proposal | None = None) -> Rollout:
    """Three trials of two tasks; the last one is faulted."""
    shape = (STEPS, 3)
    successes = np.zeros(shape, dtype=bool)
    successes[5, 0] = True  # in the middle of episode 2
    successes[3, 1] = True  # the last step of episode 1
    successes[8:12, 2] = True  # all of episode 3 of the faulted trial
    faults = np.zeros(shape, dtype=bool)
    faults[-1, 2] = True
    batch = TrialBatch(
        inputs=random(STEPS, 3, INPUT_DIM).numpy(),
        actions=random(STEPS, 3, 4).numpy(),
        log_probs=random(STEPS, 3).numpy(),
        rewards=np.arange(STEPS * 3, dtype=np.float32).reshape(shape),
        successes=successes,
        faults=faults,
        targets=TARGETS,
        choices=np.full(shape, -1, dtype=np.int8),
        aims=np.zeros((3, 4), dtype=np.float32),
    )
    return Rollout.from_batch(batch, make_trials(second), TASKS)


def make_trials(second: Proposal | None = None) -> list[Trial]:
    trials = [
        Trial(task, goal, 0, "train", EPISODES, HORIZON, seed=0)
        for task, goal in (
            (TASKS[1], (1.0, 2.0, 3.0)),
            (TASKS[0], (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)),
            (TASKS[0], (7.0, 8.0, 9.0)),
        )
    ]
    return [trials[0], dataclasses.replace(trials[1], proposal=second), trials[2]]


def test_a_rollout_knows_its_trials() -> None:
    rollout = make_rollout()
    assert rollout.task_ids.tolist() == [1, 0, 0]
    assert rollout.usable.tolist() == [True, True, False]
    assert rollout.goals.tolist() == [[1, 2, 3, 0, 0, 0], [1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 0, 0]]
    assert (rollout.steps, rollout.horizon, rollout.episodes) == (STEPS, HORIZON, EPISODES)
    assert rollout.usable_obs().shape == (STEPS * 2, 39)
    torch.testing.assert_close(
        rollout.usable_obs().reshape(STEPS, 2, 39), rollout.inputs[:, :2, :39]
    )


def test_proposed_tasks_are_tasks_of_their_own() -> None:
    """For critic and advantages; metrics of the suite's tasks leave them out."""
    proposal = Proposal("object", (0.1, 0.2, 0.3), 2.0, 5.0)
    rollout = make_rollout(proposal)
    assert rollout.task_ids.tolist() == [1, 2, 0]
    assert rollout.kinds is not None
    assert rollout.kinds.tolist() == [0, 2, 0]
    kept = rollout.without_faults()
    assert kept.kinds is not None
    assert kept.kinds.tolist() == [0, 2]
    np.testing.assert_allclose(rollout.goals[1], (0.3, 0.4, 0.5, 0.0, 2.0, 5.0))
    metrics = success_metrics(rollout, TASKS, "train")
    assert metrics["train/success_by_episode/1"] == 0.0  # trial 0's; trial 1 has succeeded in it
    assert metrics["train/success_by_episode/2"] == 1.0
    trials = make_trials(proposal)
    assert proposal_metrics(rollout, trials) == {
        "proposed/object/1": 1.0,
        "proposed/object/2": 0.0,
        "proposed/object/3": 0.0,
    }
    assert proposal_metrics(make_rollout(), make_trials()) == {}


def test_success_at_any_step_and_at_the_last() -> None:
    """Any step is Meta-World's criterion; the last step asks that success stays."""
    rollout = make_rollout()
    assert rollout.success_by_episode().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert rollout.last_step_success().tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_metrics_are_means_over_tasks_of_usable_trials() -> None:
    rollout = make_rollout()
    metrics = success_metrics(rollout, TASKS, "train")
    assert metrics["train/success_by_episode/1"] == 0.5
    assert metrics["train/success_by_episode/2"] == 0.5
    assert metrics["train/success"] == metrics["train/success_by_episode/3"] == 0.0
    assert metrics["train/physics_faults"] == 1.0
    speed = [metrics[f"train/steps_to_success_by_episode/{episode}"] for episode in (1, 2, 3)]
    assert speed == [4, 3, 4]  # trial 0 succeeds at the second step of episode 2
    assert (metrics["train/steps_to_success"], metrics["train/steps_to_success_gain"]) == (4, 0)
    assert metrics["train/share_in_success_by_episode/1"] == 0.125
    assert metrics["train/share_in_success_gain"] == -0.125
    last = rollout.rewards[8:, :2].sum(0)
    assert metrics["train/return"] == pytest.approx(float(last.mean()))
    assert metrics["train/return/push-v3"] == pytest.approx(float(last[0]))
    nothing = success_metrics(
        dataclasses.replace(rollout, usable=torch.zeros(3, dtype=torch.bool)), TASKS, "train"
    )
    assert np.isnan(nothing["train/success"])


def test_the_clock_runs_from_zero_to_less_than_one() -> None:
    clock = make_rollout().clock()
    assert clock[:, 0].tolist() == [0.0, 0.25, 0.5, 0.75] * 3
    np.testing.assert_allclose(clock[:, 1], np.arange(12) / 12, rtol=1e-6)


def test_goals_of_any_length_are_padded() -> None:
    padded = pad_goals([(1.0,) * 3, (2.0,) * 6])
    assert padded.dtype == torch.float32
    assert list(itertools.chain(*padded.tolist())) == [1, 1, 1, 0, 0, 0, 2, 2, 2, 2, 2, 2]
