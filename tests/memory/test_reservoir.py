"""The reservoir: a fair sample, exact to the bit, of a size that stays."""

import numpy as np
import pytest
import torch

from memory.behaviour import Behaviour
from memory.reservoir import BUDGET, Replay, TrialStore, capacity, distillation


def make(trials: int = 6, recent: int = 3) -> TrialStore:
    return TrialStore(trials, recent, steps=4, inputs=2, actions=1)


def offer(store: TrialStore, values: list[int], rng: np.random.Generator, iteration: int) -> None:
    """Trials whose inputs are their own number."""
    numbers = torch.tensor(values, dtype=torch.float32)
    columns, slots = store.assign(torch.ones(len(values)), rng)
    inputs = numbers[columns].expand(4, 2, -1).transpose(1, 2).contiguous()
    new = Replay(inputs, inputs[..., :1], torch.zeros(len(columns), 1), torch.ones(len(columns)))
    store.write(slots, new, iteration)


def held(store: TrialStore) -> list[int]:
    return store.inputs[store.recent :, 0, 0][store.written[store.recent :] >= 0].int().tolist()


def test_every_trial_is_kept_with_equal_probability() -> None:
    """Reservoir sampling: 6 of 30, whatever the order and the size of the batches."""
    counts, worth = np.zeros(30), torch.ones(5)
    for seed in range(2000):
        store, rng, kept = make(), np.random.default_rng(seed), np.full(9, -1)
        for first in range(0, 30, 5):
            columns, slots = store.assign(worth, rng)
            kept[slots.numpy()] = first + columns.numpy()
        sample = kept[store.recent :]
        assert sample.min() >= 0
        assert len(set(sample.tolist())) == 6
        counts[sample] += 1
    expected, spread = 2000 / 5, (2000 * 0.2 * 0.8) ** 0.5
    assert abs(counts - expected).max() < 4 * spread


def test_the_ring_holds_the_last() -> None:
    store, rng = make(), np.random.default_rng(0)
    for first in range(0, 20, 5):
        offer(store, list(range(first, first + 5)), rng, first)
    assert sorted(store.inputs[:3, 0, 0].int().tolist()) == [17, 18, 19]


def test_what_is_worth_nothing_is_not_sampled() -> None:
    """It passes through the ring and leaves the sample, and its odds, alone."""
    store = make()
    columns, slots = store.assign(torch.tensor([0.0, 0.5, 0.0]), np.random.default_rng(0))
    assert columns.tolist() == [0, 1, 2, 1]
    assert slots.tolist() == [0, 1, 2, 3]
    assert store.offered == 1


def test_the_sample_has_trials_by_their_chance() -> None:
    """Of two kinds, offered equally often, one with four times the chance is four fifths."""
    found, chance = 0, torch.tensor([0.2, 0.8])
    for seed in range(300):
        store, rng, kept = make(), np.random.default_rng(seed), np.full(9, -1)
        for _ in range(40):
            columns, slots = store.assign(torch.ones(2), rng, chance)
            kept[slots.numpy()] = columns.numpy()
        assert kept[3:].min() >= 0
        found += int(kept[3:].sum())
    assert abs(found / 1800 - 0.8) < 0.04


def test_draws_are_of_the_sample_and_each_at_most_once() -> None:
    store, rng = make(), np.random.default_rng(0)
    assert store.draw(3, rng) is None
    offer(store, list(range(40)), rng, 1)
    drawn = store.draw(100, rng)
    assert drawn is not None
    assert sorted(drawn.inputs[0, :, 0].int().tolist()) == sorted(held(store))
    assert drawn.inputs.shape == (4, 6, 2)


def test_restored_to_the_bit() -> None:
    store, rng = make(), np.random.default_rng(0)
    offer(store, list(range(40)), rng, 1)
    other = make()
    offer(other, list(range(90, 93)), rng, 1)
    other.restore(store.tensors(), store.state())
    for name, tensor in store.tensors().items():
        assert torch.equal(tensor, other.tensors()[name])
    for mine, theirs in zip((store, other), map(np.random.default_rng, (5, 5)), strict=True):
        offer(mine, list(range(50, 70)), theirs, 2)
    assert torch.equal(store.inputs, other.inputs)
    assert torch.equal(store.written, other.written)


def test_the_store_keeps_its_own_copy() -> None:
    store = make()
    inputs = torch.ones(4, 1, 2)
    old = Replay(inputs, inputs[..., :1], torch.zeros(1, 1), torch.ones(1))
    store.write(torch.tensor([3]), old, 1)
    inputs.fill_(7.0)
    assert store.at(torch.tensor([3])).inputs.unique().tolist() == [1.0]


@pytest.mark.parametrize(("steps", "expected"), [(500, (192, 64)), (5000, (50, 16))])
def test_the_store_stays_within_its_budget(steps: int, expected: tuple[int, int]) -> None:
    sizes = capacity(192, 64, steps * 50)
    assert sizes == expected
    assert sum(sizes) * steps * 50 * 4 <= BUDGET


def test_distillation_by_hand() -> None:
    """Two trials, one of no weight: half the KL of the other, ½ (0.3)² over σ = 1."""
    old = Replay(
        torch.zeros(3, 2, 5), torch.zeros(3, 2, 1), torch.zeros(2, 1), torch.tensor([1.0, 0])
    )
    for mean, expected in ((0.3, 0.5 * 0.5 * 0.09), (0.0, 0.0)):
        now = Behaviour(torch.full((3, 2, 1), mean), torch.zeros(1))
        assert float(distillation(now, old)) == pytest.approx(expected)


def test_beliefs_are_kept_to_the_bit() -> None:
    store = TrialStore(2, 0, steps=3, inputs=2, actions=1, targets=4)
    scores = torch.arange(12.0).reshape(3, 1, 4)
    inputs, blank = torch.ones(3, 1, 2), torch.zeros(1, 1)
    read = torch.tensor([[0.0], [3.0], [0.0]])
    old = Replay(inputs, inputs[..., :1], blank, blank[0], scores, read)
    store.write(torch.tensor([1]), old, 1)
    other = TrialStore(2, 0, steps=3, inputs=2, actions=1, targets=4)
    other.restore(store.tensors(), store.state())
    kept = other.at(torch.tensor([1]))
    assert kept.scores is not None
    assert kept.read is not None
    assert torch.equal(kept.scores, scores)
    assert torch.equal(kept.read, read)
