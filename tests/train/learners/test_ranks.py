"""Shares: everything once, evenly, and never nothing."""

import pytest

from tests.train.learners.threads import Table, ThreadRanks
from train.learners.place import launched
from train.learners.ranks import ALONE, Ranks


def ranks(count: int) -> list[Ranks]:
    return [ThreadRanks(rank, count, Table(count)) for rank in range(count)]


@pytest.mark.parametrize("learners", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 6, 40])
def test_everything_is_shared_once_and_evenly(learners: int, count: int) -> None:
    taken = [r.share(count) for r in ranks(learners) if r.busy(count)]
    assert [i for share in taken for i in range(share.start, share.stop)] == list(range(count))
    sizes = ranks(learners)[0].sizes(count)
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == count


def test_a_learner_without_a_share_takes_the_first_thing_for_nothing() -> None:
    last = ranks(3)[2]
    assert last.share(2) == slice(0, 1)
    assert last.busy(2) == 0


def test_alone_there_is_nothing_to_share() -> None:
    assert ALONE.share(5) == slice(0, 5)
    assert ALONE.workers(3) == 3
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.timing() == {}


def test_a_launcher_is_recognised_by_all_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster may set some of these names for reasons of its own."""
    given = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "WORLD_SIZE": "4"}
    given |= {"MASTER_ADDR": "node7", "MASTER_PORT": "29500"}
    for name, value in given.items():
        assert launched() is None
        monkeypatch.setenv(name, value)
    place = launched()
    assert place is not None
    assert (place.rank, place.count, place.local_rank, place.local_count) == (3, 4, 1, 2)
    assert place.environment() == given
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launched() is None
