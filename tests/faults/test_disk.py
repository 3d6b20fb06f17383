"""Disks that stop taking what they are given, in the middle of a run."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.runs import PER_ITERATION, TINY, assert_same_run
from train import loop
from train.rl2 import main
from train.run import checkpoint, verified_folder

pytestmark = pytest.mark.usefixtures("few_goals", "lent")
TOTAL = ["--total-steps", str(4 * PER_ITERATION)]


@contextmanager
def full_while(*saves: int) -> Iterator[None]:
    """No room for the tensors of the saves of these numbers, from 0."""
    write, seen = verified_folder._write, []

    def refuse(path: Path, data: bytes) -> None:
        if path.name == "agent.safetensors":
            seen.append(path)
            if len(seen) - 1 in saves:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verified_folder, "_write", refuse)
        yield


def test_a_save_that_fails_is_made_up_for(unfaulted) -> None:
    """Training goes on; what follows is saved as if nothing had been the matter."""
    with full_while(1, 2), pytest.warns(UserWarning, match="NOT SAVED: .*No space left"):
        assert main([*TINY, *TOTAL, "--run", "mine", "--workers", "1"]) == 0
    assert_same_run("mine", unfaulted)


def test_a_last_save_that_fails_is_exit_code_1(unfaulted, capsys) -> None:
    """Days of training must not end with "finished" and nothing on the disk.

    With room again the run goes on from what it has to what it would have been.
    """
    with full_while(*range(2, 99)), pytest.warns(UserWarning, match="NOT SAVED"):
        assert main([*TINY, *TOTAL, "--run", "mine", "--workers", "1"]) == 1
    said = capsys.readouterr()
    assert f"error: the last {2 * PER_ITERATION} steps are not saved" in said.err
    assert "--resume mine" in said.err
    assert "finished" not in said.out
    assert main(["--resume", "mine"]) == 0
    assert_same_run("mine", unfaulted)


def test_a_folder_that_can_no_longer_be_written(unfaulted, capsys, monkeypatch) -> None:
    """A network disk that went away, here a file in place of the folder; also not as root."""
    original, seen = loop.collect, []

    def collect(*args, **options):
        seen.append(1)
        if len(seen) == 3:
            Path("mine/checkpoints").rename("elsewhere")
            Path("mine/checkpoints").write_text("")
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "collect", collect)
        with pytest.warns(UserWarning, match="NOT SAVED: cannot save"):
            assert main([*TINY, *TOTAL, "--run", "mine", "--workers", "1"]) == 1
    assert "steps are not saved" in capsys.readouterr().err
    Path("mine/checkpoints").unlink()
    Path("elsewhere").rename("mine/checkpoints")
    assert checkpoint.load(Path("mine")).step == 2 * PER_ITERATION
    assert main(["--resume", "mine"]) == 0
    assert_same_run("mine", unfaulted)
