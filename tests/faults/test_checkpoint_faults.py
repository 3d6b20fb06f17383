"""Checkpoints under fire: kills, and disks that do not take what they are given."""

import errno
import os
import random
import resource
import signal
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from tests.faults.saves import put, serial_of
from train.run import verified_folder
from train.run.checkpoint import CheckpointError, best, load, mark_best, save


def fork(action: Callable[[], None]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of others; not used here
        child = os.fork()
    if child:
        return child
    try:
        action()
        os._exit(0)
    except BaseException:
        os._exit(1)


def no_space(_: int) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def temporaries(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


# ------------------------------------------------------------------------------------ kills


@pytest.mark.parametrize("same_step", [False, True], ids=["new steps", "same step"])
def test_sigkill_at_random_moments_leaves_a_complete_checkpoint(
    tmp_path: Path, same_step: bool
) -> None:
    moments = random.Random(0)
    put(tmp_path, 0, 0)
    caught_saving = 0
    for _ in range(20):
        previous = serial_of(load(tmp_path))
        reader, writer = os.pipe()

        def save_for_ever(start: int = previous + 1, report: int = writer) -> NoReturn:
            serial = start
            while True:
                put(tmp_path, 0 if same_step else serial, serial, keep=2)
                os.write(report, struct.pack("q", serial))
                serial += 1

        child = fork(save_for_ever)
        os.close(writer)
        first = os.read(reader, 8)  # at work, however busy the machine
        time.sleep(moments.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(reader, "rb") as reports:
            *_, (last,) = struct.iter_unpack("q", first + reports.read())
        caught_saving += bool(temporaries(tmp_path))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a kill is no damage
            assert serial_of(load(tmp_path)) in (last, last + 1)
    assert caught_saving > 0  # else the kills proved nothing
    put(tmp_path, 10**6)
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("step", [20, 10], ids=["new step", "same step"])
def test_death_before_and_after_every_call_that_changes_the_disk(tmp_path: Path, step: int) -> None:
    outcomes = []
    for moment in range(200):
        folder = tmp_path / str(moment)
        put(folder, 10, 1)

        def save_and_die(folder: Path = folder, moment: int = moment) -> None:
            countdown = iter(range(moment, -1, -1))

            def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
                def wrapper(*args: Any, **kwargs: Any) -> Any:
                    if next(countdown, 0) == 0:
                        os._exit(9)
                    result = call(*args, **kwargs)
                    if next(countdown, 0) == 0:
                        os._exit(9)
                    return result

                return wrapper

            for name in ("mkdir", "fsync", "replace", "unlink", "rmdir"):
                setattr(os, name, mortal(getattr(os, name)))
            put(folder, step, 2, keep=1)

        status = os.waitstatus_to_exitcode(os.waitpid(fork(save_and_die), 0)[1])
        assert status in (0, 9)
        outcomes.append(serial_of(load(folder)))
        for entry in folder.glob("[0-9]*"):  # nothing half written or half removed has a name
            serial_of(load(entry))
        put(folder, 30, 3)
        assert serial_of(load(folder)) == 3
        assert temporaries(folder) == []
        if status == 0:
            break
    assert outcomes == sorted(outcomes)  # first the old one, from some moment on the new one
    assert set(outcomes) == {1, 2}
    assert len(outcomes) > 25


def test_death_while_replacing_and_a_full_disk_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = put(tmp_path, 10, 1)
    target.rename(tmp_path / f".old-{target.name}")  # where a replacement can be killed
    assert serial_of(load(tmp_path)) == 1
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(CheckpointError, match="No space left"):
        put(tmp_path, 20, 2)
    assert serial_of(load(tmp_path)) == 1
    assert temporaries(tmp_path) == []


def test_leftovers_are_removed_only_when_their_process_is_dead(tmp_path: Path) -> None:
    dead = fork(lambda: None)
    os.waitpid(dead, 0)
    for name in (f".tmp-{dead}-10", f".tmp-{os.getppid()}-10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("{}")
    (tmp_path / f".tmp-{dead}-latest").write_text("0")
    put(tmp_path, 10)
    assert temporaries(tmp_path) == [f".tmp-{os.getppid()}-10"]


# --------------------------------------------------------------------- disks that do not take it


@pytest.mark.parametrize("step", [20, 10], ids=["new step", "same step"])
def test_disk_full_at_any_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    real, outcomes = os.fsync, []
    for call in range(100):
        folder = tmp_path / str(call)
        put(folder, 10, 1)
        countdown = iter(range(call, -1, -1))

        def full(descriptor: int, countdown: Iterator[int] = countdown) -> None:
            if next(countdown, 1) == 0:
                no_space(descriptor)
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            failure = ""
            try:
                put(folder, step, 2, keep=1)
            except CheckpointError as error:
                failure = str(error)
        if failure:
            assert "No space left" in failure
            assert str(folder) in failure
        assert [name for name in temporaries(folder) if name.startswith(".tmp")] == []
        outcomes.append(serial_of(load(folder)))
        put(folder, 30, 3)
        assert temporaries(folder) == []
        if not failure:
            break
    assert set(outcomes) == {1, 2}
    assert len(outcomes) == 9  # four files, their folder, the move, `latest` and its move, success


def test_disk_really_refuses(tmp_path: Path) -> None:
    put(tmp_path, 10, 1)

    def save_too_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with pytest.raises(CheckpointError, match="File too large"):
            save(tmp_path, 20, tensors={"a": {"x": torch.zeros(9999)}}, state={}, config={})

    assert os.waitpid(fork(save_too_much), 0)[1] == 0
    assert temporaries(tmp_path) == []
    assert serial_of(load(tmp_path)) == 1


def test_disk_that_writes_something_else_prunes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, 10, 1)
    write = verified_folder._write
    monkeypatch.setattr(verified_folder, "_write", lambda path, data: write(path, data[:-1] + b"?"))
    with pytest.raises(CheckpointError, match="has changed since it was saved"):
        put(tmp_path, 20, 2, keep=1)
    assert {entry.name for entry in tmp_path.iterdir()} == {"000000000010", "latest"}


def test_interrupt_while_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> NoReturn:
        raise KeyboardInterrupt

    put(tmp_path, 10, 1)
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path, 20, 2)
    assert {entry.name for entry in tmp_path.iterdir()} == {"000000000010", "latest"}


def test_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot save"):
        put(tmp_path / "file", 1)
    put(tmp_path, 10)
    mark_best(tmp_path, 10, 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(CheckpointError, match="No space left"):
            mark_best(tmp_path, 10, 0.75)
    assert best(tmp_path) == (tmp_path / "000000000010", 0.5)
    assert temporaries(tmp_path) == []
