"""A result is written before it is shown, and a failure to write it is told after it."""

from pathlib import Path

import pytest

from eval.outcome import write_and_show


@pytest.mark.parametrize("fails", [False, True])
def test_write_show_tell(tmp_path: Path, capsys, fails: bool) -> None:
    done = []

    def write() -> None:
        done.append("written")
        if fails:
            raise OSError("no space left")

    path = tmp_path / "a.json"
    code = write_and_show([path], write, lambda: done.append("shown"))
    said = capsys.readouterr()
    assert done == ["written", "shown"]
    assert code == int(fails)
    assert (f"written: {path}" in said.out) is not fails
    assert (f"error: {path} is not written (no space left): use --out FILE" in said.err) is fails


def test_nothing_to_write(capsys) -> None:
    assert write_and_show([], lambda: 1 / 0, lambda: print("shown")) == 0
    assert capsys.readouterr().out == "shown\n"
