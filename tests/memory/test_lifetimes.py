"""Stores of lifetimes: each slot its own, empty for another lifetime, written round by round."""

import pytest
import torch
from torch import Tensor

from memory.lifetimes import LifetimeStores

CUE, VALUE = 3, 2


def of(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


def rows(count: int, start: float) -> tuple[Tensor, Tensor]:
    cues = start + torch.arange(float(count * CUE)).reshape(count, CUE)
    return cues, -cues[:, :VALUE]


def test_what_a_slot_writes_it_alone_reads_in_the_same_lifetime() -> None:
    stores = LifetimeStores(3, 4, cue=CUE, value=VALUE)
    cues, values = rows(3, 1.0)
    stores.write(of(0, 2, 0), of(7, 8, 7), cues, values)
    found = stores.read(of(0, 1, 2, 0), of(7, 7, 8, 9))
    assert found.shape == (4, 4, CUE + VALUE + 1)
    torch.testing.assert_close(found[0, :2, :CUE], cues[[0, 2]])
    torch.testing.assert_close(found[0, :2, CUE:-1], values[[0, 2]])
    torch.testing.assert_close(found[2, 0, :CUE], cues[1])
    assert found[:, :, -1].sum(dim=1).tolist() == [2, 0, 1, 0]
    assert not found[3].any(), "another lifetime"


def test_ages_count_rounds_and_another_lifetime_clears() -> None:
    stores = LifetimeStores(2, 3, cue=CUE, value=VALUE)
    for number in range(2):
        stores.write(of(0, 1), of(7, 7), *rows(2, float(number)))
    assert stores.read(of(0), of(7))[0, :, -1].tolist() == [2, 1, 0]
    stores.write(of(0), of(8), *rows(1, 5.0))
    assert stores.read(of(0), of(8))[0, :, -1].tolist() == [1, 0, 0]
    assert stores.read(of(1), of(7))[0, :, -1].tolist() == [2, 1, 0], "it was not written"


def test_a_full_store_gives_up_its_oldest() -> None:
    stores = LifetimeStores(1, 2, cue=CUE, value=VALUE)
    for number in range(3):
        stores.write(of(0), of(7), *rows(1, float(number)))
    found = stores.read(of(0), of(7))[0]
    assert sorted(found[:, -1].tolist()) == [1, 2]
    assert sorted(found[:, 0].tolist()) == [1, 2]


def test_restored_to_the_bit_or_refused() -> None:
    stores, other = (LifetimeStores(2, 3, cue=CUE, value=VALUE) for _ in range(2))
    stores.write(of(0, 1), of(7, 2**62), *rows(2, 1.0))
    other.restore(stores.tensors())
    for name, value in stores.tensors().items():
        assert torch.equal(value, other.tensors()[name])
    with pytest.raises(ValueError, match="entries must be"):
        LifetimeStores(3, 3, cue=CUE, value=VALUE).restore(stores.tensors())
