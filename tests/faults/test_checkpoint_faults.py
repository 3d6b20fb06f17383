"""Checkpoints under fire: kills, full disks, damage and malice."""

import errno
import hashlib
import json
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from train import sealed
from train.checkpoint import Checkpoint, CheckpointError, best, load, mark_best, save

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
    for _ in range(50):
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
        time.sleep(moments.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(reader, "rb") as reports:
            done = [serial for (serial,) in struct.iter_unpack("q", reports.read())]
        last = done[-1] if done else previous
        caught_saving += bool(temporaries(tmp_path))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a kill is no damage
            assert serial_of(load(tmp_path)) in (last, last + 1)
    assert caught_saving > 10  # else the kills proved nothing
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
        put(folder, 30, 3)
        assert serial_of(load(folder)) == 3
        assert temporaries(folder) == []
        if status == 0:
            break
    assert outcomes == sorted(outcomes)  # first the old one, from some moment on the new one
    assert set(outcomes) == {1, 2}
    assert len(outcomes) > 25


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
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            try:
                put(folder, step, 2, keep=1)
            except CheckpointError as error:
                assert "No space left" in str(error) and str(folder) in str(error)
                failed = True
            else:
                failed = False
        assert [name for name in temporaries(folder) if name.startswith(".tmp")] == []
        outcomes.append(serial_of(load(folder)))
        put(folder, 30, 3)
        assert temporaries(folder) == []
        if not failed:
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
    write = sealed._write
    monkeypatch.setattr(sealed, "_write", lambda path, data: write(path, data[:-1] + b"?"))
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
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
        with pytest.raises(CheckpointError, match="I/O error"):
            mark_best(tmp_path, 10, 0.75)
    assert best(tmp_path) == (tmp_path / "000000000010", 0.5)
    assert temporaries(tmp_path) == []


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
    assert len(record) == 1  # a removed one is not damaged...
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
        with pytest.raises(CheckpointError, match=name):
            copy = tmp_path / name
            shutil.copytree(path, copy)
            forge(copy, contents={name: bomb})
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
     "agent.pt", "agent.safetensors\n", "agent\0.json", "a\\b.json", "MANIFEST.json", "\ud800.json"],
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
    with pytest.raises(CheckpointError, match="newest|MANIFEST|safetensors"):
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
        try:
            assert load(path).step == 10
        except CheckpointError as error:
            assert "MANIFEST.json is not valid JSON" in str(error)
