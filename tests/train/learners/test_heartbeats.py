"""Who is gone is found out in time, and named; a store that hangs counts as its keeper."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from train.learners import watch
from train.learners.ranks import RankError
from train.learners.watch import Watch

NAMES = ["learner 0 (here)", "learner 1 (there)", "learner 2 (over there)"]


class Store:
    """As much of torch's as a watch uses."""

    def __init__(self) -> None:
        self.values = {f"beat/{rank}": b"0" for rank in range(len(NAMES))}
        self.hangs = threading.Event()

    def set(self, key: str, value: str) -> None:
        while self.hangs.is_set():
            time.sleep(0.01)
        self.values[key] = value.encode()

    def get(self, key: str) -> bytes:
        return self.values[key]

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [self.values[key] for key in keys]

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Watch]]:
    """Watches in a hurry, that must not end this process."""
    monkeypatch.setattr(watch, "BEAT", 0.02)
    monkeypatch.setattr(watch, "SILENT", 0.5)
    started: list[Watch] = []

    def begin(store: Store, rank: int) -> Watch:
        started.append(Watch(store, rank, NAMES, {}, lambda: "resume"))
        return started[-1]

    yield begin
    for each in started:
        each.stop()


def verdict(found: Watch) -> RankError:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            found.check()
        except RankError as error:
            return error
        time.sleep(0.01)
    raise AssertionError("nothing was found")


def test_a_silent_learner_is_named_and_the_lowest_of_the_others_tells(start) -> None:
    store = Store()
    found = {rank: start(store, rank) for rank in (0, 2)}
    for rank, each in found.items():
        error = verdict(each)
        assert str(error).startswith("learner 1 (there) does not answer for")
        assert error.speaks == (rank == 0)


def test_without_the_first_learner_the_second_tells(start) -> None:
    store = Store()
    found = {rank: start(store, rank) for rank in (1, 2)}
    for rank, each in found.items():
        error = verdict(each)
        assert str(error).startswith("learner 0 (here) does not answer")
        assert error.speaks == (rank == 1)


def test_a_store_that_hangs_is_the_first_learner(start) -> None:
    store = Store()
    found = [start(store, rank) for rank in range(3)][1]
    time.sleep(0.1)
    found.check()
    store.hangs.set()
    assert str(verdict(found)).startswith("learner 0 (here) does not answer")
    store.hangs.clear()


def test_who_fails_says_why(start) -> None:
    store = Store()
    found = [start(store, rank) for rank in range(3)]
    found[2].fail("worker 3 failed")
    errors = [verdict(each) for each in found[:2]]
    assert {str(error) for error in errors} == {"learner 2 (over there) failed: worker 3 failed"}
    assert [error.speaks for error in errors] == [True, False]


def test_who_was_stopped_itself_accuses_nobody(start, monkeypatch) -> None:
    """After Ctrl-Z and fg all clocks are old; they begin anew."""
    monkeypatch.setattr(watch, "_STOPPED", -1.0)  # as if every sleep had been too long
    store = Store()
    found = start(store, 0)
    time.sleep(0.8)
    found.check()
