"""Memory that owner and workers share."""

import errno
import os

import pytest

from envs.pool.shared_rollout import SharedBuffer


def test_shared_memory_has_no_name() -> None:
    """Unlinked from the start, so that not even a SIGKILL of everything leaves it behind."""
    before = set(os.listdir("/dev/shm"))
    buffer = SharedBuffer()
    assert set(os.listdir("/dev/shm")) == before
    assert os.fstat(buffer.descriptor).st_nlink == 0
    buffer.close()


def test_views_stay_valid_while_memory_grows() -> None:
    """Owner and worker map the same pages, whichever of them made the buffer grow."""
    owner = SharedBuffer()
    theirs = SharedBuffer(os.dup(owner.descriptor))
    small = owner.arrays([("a", "int64", (3,))])["a"]
    spec = [("a", "int64", (3,)), ("b", "float32", (1000, 1000))]
    large = owner.arrays(spec)
    large["b"][-1, -1] = 7.0
    small[:] = 1, 2, 3
    seen = theirs.arrays(spec)
    assert seen["a"].tolist() == large["a"].tolist() == [1, 2, 3]
    assert seen["b"][-1, -1] == 7.0
    theirs.progress[5] = 9
    assert owner.progress[5] == 9
    owner.close()


def test_memory_is_reserved_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker gives 64 MB of /dev/shm: a page without room would kill the learner by SIGBUS.

    Refused in words instead, and what was there before can still be used.
    """
    buffer = SharedBuffer()
    small = buffer.arrays([("a", "int64", (3,))])["a"]
    buffer.arrays([("a", "float32", (1000, 1000))])
    assert os.fstat(buffer.descriptor).st_blocks * 512 >= 4_000_000

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"no room for 61 MiB of shared memory .*--shm-size"):
        buffer.arrays([("a", "float32", (4000, 4000))])
    small[:] = 7
    assert buffer.arrays([("a", "int64", (3,))])["a"].tolist() == [7, 7, 7]
    buffer.close()


def test_arrays_do_not_overlap() -> None:
    buffer = SharedBuffer()
    arrays = buffer.arrays([("x", "uint8", (5,)), ("y", "float32", (7, 3)), ("z", "int8", (1,))])
    for value, array in enumerate(arrays.values()):
        array[...] = value
    buffer.progress[:] = -1
    for value, array in enumerate(arrays.values()):
        assert (array == value).all()
        assert array.ctypes.data % 64 == 0
    buffer.close()
