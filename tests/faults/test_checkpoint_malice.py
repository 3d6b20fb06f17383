"""Checkpoints made to do harm: refused unread or unexecuted, in bounded memory."""

import hashlib
import json
import os
import pickle
import re
import resource
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.saves import FILES, put, serial_of
from train.run import verified_folder
from train.run.checkpoint import CheckpointError, load


def forge(path: Path, *, contents: dict[str, bytes] | None = None, **facts: Any) -> None:
    """Gives the checkpoint other contents or facts, with sizes and hashes that fit."""
    files = {name: (path / name).read_bytes() for name in FILES[:3]} | (contents or {})
    shutil.rmtree(path)
    verified_folder.seal(path, {"step": 1}, files)
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
        {"files": []}, {"files": {}}, {"files": None}, {"environment": None},
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
