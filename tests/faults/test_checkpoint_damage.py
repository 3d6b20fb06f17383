"""Damaged and malicious checkpoints are named and refused; a good older one is used."""

import hashlib
import json
import os
import pickle
import random
import re
import resource
import shutil
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from train import sealed
from train.checkpoint import Checkpoint, CheckpointError, best, load, save

FILES = ["agent.safetensors", "config.json", "state.json", "MANIFEST.json"]


def put(folder: Path, step: int, serial: int = 0, **options: Any) -> Path:
    tensors = {"agent": {"w": torch.full((16,), serial), "b": torch.tensor(serial)}}
    return save(folder, step, tensors=tensors, state={"serial": serial}, config={}, **options)


def serial_of(checkpoint: Checkpoint) -> int:
    """Which save it is from, if all of it is from the same one."""
    serial = checkpoint.state["serial"]
    assert checkpoint.tensors["agent"]["w"].tolist() == [serial] * 16
    assert checkpoint.tensors["agent"]["b"].item() == serial
    return serial


# ----------------------------------------------------------------------------------- damage


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
    with pytest.raises(CheckpointError, match=f"state.json .*{defect}.*older checkpoint"):
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
        empty(put(tmp_path, step, milestone=True) / "MANIFEST.json")
    put(tmp_path, 30, 3, keep=1)
    assert serial_of(load(tmp_path)) == 3


# ----------------------------------------------------------------------------------- malice


def forge(path: Path, *, contents: dict[str, bytes] | None = None, **facts: Any) -> None:
    """Gives the checkpoint other contents or facts, with sizes and hashes that fit."""
    files = {name: (path / name).read_bytes() for name in FILES[:3]} | (contents or {})
    shutil.rmtree(path)
    sealed.seal(path, {"step": 1, "milestone": False}, files)
    if facts:
        manifest = json.loads((path / "MANIFEST.json").read_text())
        manifest |= facts
        del manifest["sha256"]
        body = json.dumps(manifest, indent=1).encode().removesuffix(b"\n}")
        seal = f',\n "sha256": "{hashlib.sha256(body).hexdigest()}"\n}}'
        (path / "MANIFEST.json").write_bytes(body + seal.encode())


def safetensors_file(header: dict[str, Any] | bytes, data: bytes = b"", size: int = -1) -> bytes:
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if size < 0 else size) + header + data


def test_a_forgery_without_malice_loads(tmp_path: Path) -> None:
    path = put(tmp_path, 10, 5)
    forge(path, step=77)  # else the tests below would prove nothing
    assert load(path).step == 77
    assert serial_of(load(path)) == 5


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    path, target = put(tmp_path, 10), tmp_path / "executed"
    bomb = pickle.dumps(Bomb(target))
    pickle.loads(bomb)
    assert target.exists()  # it would work
    target.rmdir()
    for name in FILES[:3]:
        copy = tmp_path / name
        shutil.copytree(path, copy)
        forge(copy, contents={name: bomb})
        with pytest.raises(CheckpointError, match=name):
            load(copy)
    (path / "MANIFEST.json").write_bytes(bomb)
    (tmp_path / "model.pt").write_bytes(bomb)
    for place in (path, tmp_path / "model.pt"):
        with pytest.raises(CheckpointError):
            load(place)
    assert not target.exists()


@pytest.mark.parametrize(
    "data",
    [
        safetensors_file(b"{}", size=10**12),
        safetensors_file(b"{}", size=2**64 - 1),
        safetensors_file({"x": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}),
        safetensors_file({"x": {"dtype": "F32", "shape": [2**62, 16], "data_offsets": [0, 0]}}),
        safetensors_file({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors_file({"x": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}),
        safetensors_file({"x": {"dtype": "F8_E8M0", "shape": [1], "data_offsets": [0, 1]}}, b"0"),
        safetensors_file({"x": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)),
        safetensors_file(b"[" * 10**5),
        safetensors_file(b"\xff\xfe"),
        b"",
        b"1234567",
    ],
    ids=range(12),
)
def test_a_hostile_tensor_file_is_refused_in_bounded_memory(tmp_path: Path, data: bytes) -> None:
    path = put(tmp_path, 10)
    forge(path, contents={"agent.safetensors": data})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"agent\.safetensors"):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", FILES)
def test_a_giant_file_is_refused_unread(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, 10)
    size = 2**40
    listed = json.loads((path / "MANIFEST.json").read_text())["files"]
    forge(path, files=listed | {name: {"size": size, "sha256": "0" * 64}} if name in listed else {})
    os.truncate(path / name, size)  # sparse: a terabyte that takes no room
    with pytest.raises(CheckpointError, match=f"{name} has {size} bytes"):
        load(path)


@pytest.mark.parametrize(
    "data",
    [b"[]", b'{"a": NaN}', b'{"a": -Infinity}', b"[" * 10**5, b'{"a": ' * 10**5, b"9" * 5000,
     b"\xff", b"{}{}", b"null"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["state.json", "config.json"])
def test_hostile_json_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    path = put(tmp_path, 10)
    forge(path, contents={name: data})
    with pytest.raises(CheckpointError, match=name):
        load(path)


DIGEST = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    "name",
    ["../secret.json", "/etc/passwd", "a/../../secret.json", "..", ".", "", ".hidden.json",
     "agent.pt", "agent.safetensors\n", "agent\0.json", "a\\b.json", "MANIFEST.json",
     "\ud800.json"],
)  # fmt: skip
def test_names_in_the_manifest_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "run", 10)
    (tmp_path / "run" / "secret.json").write_bytes(b"")
    listed = json.loads((path / "MANIFEST.json").read_text())["files"]
    forge(path, files=listed | {name: {"size": 0, "sha256": DIGEST}})
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json lists something"):
        load(path)


@pytest.mark.parametrize(
    "facts",
    [
        {"schema": 2}, {"schema": None}, {"step": "10"}, {"step": True}, {"step": None},
        {"milestone": 1}, {"files": []}, {"files": {}}, {"files": None}, {"environment": None},
        {"files": {"state.json": None}}, {"files": {"state.json": {"size": 0}}},
        {"files": {"state.json": {"size": -1, "sha256": DIGEST}}},
        {"files": {"state.json": {"size": 1e300, "sha256": DIGEST}}},
        {"files": {"state.json": {"size": 0, "sha256": 5}}},
        {"padding": "x" * 2**20},
    ],
    ids=lambda facts: str(facts)[:40],
)  # fmt: skip
def test_hostile_manifests_are_refused(tmp_path: Path, facts: dict[str, Any]) -> None:
    path = put(tmp_path, 10)
    forge(path, **facts)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        load(path)


def test_a_deep_manifest_is_no_way_to_crash(tmp_path: Path) -> None:
    for depth in (300, 600, 900, 990):  # near the recursion limit, from both sides
        path = put(tmp_path / str(depth), 10)
        text = "[" * depth + "]" * depth
        manifest = (path / "MANIFEST.json").read_bytes()
        body, seal, _ = manifest.rpartition(b',\n "sha256": "')
        body += f',\n "deep": {text}'.encode()
        digest = hashlib.sha256(body).hexdigest().encode()
        (path / "MANIFEST.json").write_bytes(body + seal + digest + b'"\n}')
        with suppress(CheckpointError):  # and nothing else
            assert load(path).step == 10
