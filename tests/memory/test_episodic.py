"""The store: what was written comes back exactly, and what must not be seen is not."""

import pytest
import torch

from memory.episodic import ALL, NOTHING, OLD, EpisodicMemory, summarise


def orthogonal_store() -> EpisodicMemory:
    """Four entries with orthonormal keys; the third is recent, the fifth slot is empty."""
    store = EpisodicMemory(5, 8, 6)
    values = torch.arange(32.0).reshape(4, 8)
    store.write(torch.tensor([0, 1, 2, 3]), torch.eye(8)[:4], values)
    store.settle(torch.tensor([False, False, True, False, True]))
    with torch.no_grad():
        store.log_temperature.fill_(-6.0)
    return store


@pytest.mark.parametrize("entry", range(4))
def test_an_orthogonal_key_returns_its_exact_value(entry: int) -> None:
    store = orthogonal_store()
    value, best, weights = store.attend(torch.eye(8)[entry : entry + 1], torch.tensor([2.0]))
    assert torch.equal(value[0], store.values[entry])
    assert best.item() == pytest.approx(1.0)
    assert weights[0].tolist() == [float(i == entry) for i in range(6)]


def test_what_a_trial_may_see() -> None:
    """Nothing, what is not recent, everything; never an empty slot."""
    visible = orthogonal_store().visible(torch.tensor([NOTHING, OLD, ALL]).float())
    assert visible.tolist() == [
        [False] * 5,
        [True, True, False, True, False],
        [True, True, True, True, False],
    ]


@pytest.mark.parametrize("recall", [NOTHING, OLD])
def test_what_may_not_be_seen_has_no_say(recall: int) -> None:
    """Entry 2 is recent: with OLD or NOTHING its value changes not one bit of a read."""
    results = []
    for poison in (0.0, 1e6):
        store = orthogonal_store()
        with torch.no_grad():
            store.from_value.fill_(0.1)
            store.values[[2, 4]] += poison  # as written by `settle`
        query = torch.eye(8)[2:3] + 0.1 * torch.eye(8)[0:1]
        results.append(store.read(torch.ones(1, 6), query, torch.tensor([float(recall)])))
    assert torch.equal(*results)
    assert recall == OLD or torch.equal(results[0], torch.ones(1, 6))


def test_the_null_slot_takes_what_is_unlike_everything() -> None:
    store = orthogonal_store()
    _, best, weights = store.attend(torch.eye(8)[6:7], torch.tensor([2.0]))
    assert weights[0, -1].item() == pytest.approx(1.0)
    assert best.item() < 0.5


def test_an_empty_store_returns_the_state() -> None:
    store = EpisodicMemory(3, 4, 5)
    with torch.no_grad():
        store.from_value.normal_()
    store.settle(torch.zeros(3, dtype=torch.bool))
    hidden = torch.randn(2, 5)
    assert torch.equal(store.read(hidden, torch.randn(2, 4), torch.full((2,), 2.0)), hidden)


def test_the_gate_by_hand() -> None:
    """h + σ(b_g) tanh(W_v v): with a zero gate matrix and bias -2 a read is a whisper."""
    store = orthogonal_store()
    with torch.no_grad():
        store.from_value.copy_(torch.eye(6, 8) / 32)
    read = store.read(torch.zeros(1, 6), torch.eye(8)[1:2], torch.tensor([2.0]))
    expected = torch.sigmoid(torch.tensor(-2.0)) * torch.tanh(store.values[1, :6] / 32)
    torch.testing.assert_close(read[0], expected)


def test_what_is_reported_of_a_read_is_what_the_read_does() -> None:
    """Of trials that see something only: the third may recall nothing."""
    store = orthogonal_store()
    with torch.no_grad():
        store.from_value.normal_()
        store.log_temperature.fill_(-1.0)
    hidden, query = torch.rand(3, 6) + 1.0, torch.eye(8)[[1, 6, 1]]
    recall = torch.tensor([ALL, ALL, NOTHING]).float()
    report = store.report(hidden, query, recall)
    moved = (store.read(hidden, query, recall) - hidden)[:2].detach().norm(dim=-1)
    assert report["read_change"] == pytest.approx(float((moved / hidden[:2].norm(dim=-1)).mean()))
    best, weights = store.attend(query, recall)[1:]
    assert report["read_best"] == pytest.approx(float(best[:2].mean()))
    assert report["read_null"] == pytest.approx(float(weights[:2, -1].detach().mean()))
    assert store.report(hidden[2:], query[2:], recall[2:]) == {}


def test_common_direction_is_taken_out() -> None:
    """Keys that share a large mean are told apart by what is left."""
    store = EpisodicMemory(4, 8, 6)
    keys = 10 * torch.ones(4, 8) + 0.1 * torch.eye(8)[:4]
    store.write(torch.arange(4), keys, torch.eye(8)[:4])
    store.settle(torch.zeros(4, dtype=torch.bool))
    weights = store.attend(keys, torch.full((4,), 2.0))[2]
    assert (weights[:, :4].argmax(dim=1) == torch.arange(4)).all()
    assert (weights[:, :4].diagonal() > 0.95).all()


def test_summaries() -> None:
    outputs = torch.arange(12.0).reshape(6, 2, 1)
    key, value = summarise(outputs, horizon=3)
    assert key.flatten().tolist() == [2.0, 3.0]
    assert value.flatten().tolist() == [10.0, 11.0]
