"""Damaged checkpoints are named and refused; a good older one is used."""

import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.faults.saves import FILES, put, serial_of
from train.run.checkpoint import CheckpointError, best, load


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def replace_by_torch_file(path: Path) -> None:
    torch.save({"w": torch.zeros(3)}, path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")  # the right bytes, but outside
    path.symlink_to(path.parent.parent / "elsewhere")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES = [
    truncate, extend, empty, replace_by_zeros, replace_by_torch_file, replace_by_folder,
    replace_by_link, replace_by_pipe, Path.unlink,
]  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_damage_is_named_and_the_previous_one_used(
    tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    put(tmp_path, 10, 1)
    newest = put(tmp_path, 20, 2)
    damage(newest / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointError, match=name):  # asked for by name: no fallback
            load(newest)
    with pytest.warns(UserWarning, match=rf"{name} .* FALLING BACK to .*000000000010"):
        assert serial_of(load(tmp_path)) == 1


@pytest.mark.parametrize(
    ("damage", "defect"),
    [(truncate, "bytes, not"), (extend, "more than"), (replace_by_pipe, "not a plain file"),
     (replace_by_zeros, "SHA-256"), (Path.unlink, "is missing")],
)  # fmt: skip
def test_the_defect_is_told(tmp_path: Path, damage: Callable[[Path], None], defect: str) -> None:
    path = put(tmp_path, 10)
    damage(path / "state.json")
    with pytest.raises(
        CheckpointError, match=f"state.json .*{defect}.*(older checkpoint|restore it)"
    ):
        load(path)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path, bit = put(tmp_path, 10), random.Random(0)
    for name in FILES:
        good = bytearray((path / name).read_bytes())
        for position in range(len(good)):
            bad = good.copy()
            bad[position] ^= 1 << bit.randrange(8)
            (path / name).write_bytes(bad)
            with pytest.raises(CheckpointError, match=name):
                load(path)
        (path / name).write_bytes(good)
    assert serial_of(load(path)) == 0


def test_a_file_that_does_not_belong(tmp_path: Path) -> None:
    path = put(tmp_path, 10)
    (path / "extra.safetensors").write_bytes((path / "agent.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"extra.safetensors does not belong"):
        load(tmp_path)


def test_several_damaged_ones_are_all_named(tmp_path: Path) -> None:
    paths = [put(tmp_path, step, step) for step in (10, 20, 30)]
    empty(paths[2] / "state.json")
    shutil.rmtree(paths[1])
    with pytest.warns(UserWarning, match="000000000030") as record:
        assert serial_of(load(tmp_path)) == 10
    assert len(record) == 1  # what was removed on purpose is no damage
    empty(paths[0] / "state.json")
    with pytest.raises(CheckpointError, match=r"(?s)no good checkpoint.*00030.*00010"):
        load(tmp_path)


def test_a_run_that_is_kept_without_checkpoint(tmp_path: Path) -> None:
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(CheckpointError, match="has no checkpoint; name a run that has one"):
        load(tmp_path)


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    for run in ("short/seed1", "none-seed1"):
        (tmp_path / run / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"2 runs: add one of none-seed1, short/seed1$"):
        load(tmp_path)


def test_the_loss_of_the_latest_does_not_go_unnoticed(tmp_path: Path) -> None:
    put(tmp_path, 10, 1)
    shutil.rmtree(put(tmp_path, 20, 2))
    with pytest.warns(UserWarning, match="000000000020"):
        assert serial_of(load(tmp_path)) == 1


@pytest.mark.parametrize("text", ["", "nonsense", "-5", "9" * 5000, "\xff"])
def test_a_damaged_pointer_is_only_a_hint(tmp_path: Path, text: str) -> None:
    put(tmp_path, 10, 1)
    (tmp_path / "best").write_text(text)
    (tmp_path / "latest").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert serial_of(load(tmp_path)) == 1
    assert best(tmp_path) is None


def test_a_damaged_old_one_does_not_stop_saving(tmp_path: Path) -> None:
    for step in (10, 20):
        empty(put(tmp_path, step) / "MANIFEST.json")
    put(tmp_path, 30, 3, keep=1)
    assert serial_of(load(tmp_path)) == 3
