"""Checkpoints: exact round trips, which one is found, which are kept, what is refused."""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.run.checkpoint import (
    CheckpointError,
    best,
    check_run_folder,
    environment_difference,
    load,
    mark_best,
    save,
)

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16,
    torch.uint32, torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex64,
]  # fmt: skip


def put(folder: Path, step: int, value: float = 0.0, **options: Any) -> Path:
    tensors = {"agent": {"w": torch.full((4,), value)}}
    return save(folder, step, tensors=tensors, state={"step": step}, config={}, **options)


def steps(folder: Path) -> list[int]:
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.is_dir())


def bits(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4)], ids=str)
def test_every_dtype_and_shape_returns_bit_for_bit(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = torch.empty(shape, dtype=dtype)
    noise = np.random.default_rng(0).integers(0, 256, tensor.nbytes, dtype=np.uint8)
    if dtype is torch.bool:
        noise &= 1
    if tensor.numel():  # NaNs of all kinds among them
        tensor.copy_(torch.from_numpy(noise).view(dtype).reshape(shape))
    save(tmp_path, 1, tensors={"g": {"x": tensor}}, state={}, config={})
    returned = load(tmp_path).tensors["g"]["x"]
    assert (returned.dtype, returned.shape) == (dtype, tensor.shape)
    assert bits(returned) == bits(tensor)


def test_views_tied_and_trainable_tensors_are_stored_by_value(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    group = {
        "whole": base,
        "tied": base,
        "transposed": base.t(),
        "slice": base[1:, ::2],
        "expanded": base[:1].expand(5, 4),
        "parameter": torch.nn.Parameter(base),
    }
    save(tmp_path, 1, tensors={"agent": group, "empty": {}}, state={}, config={})
    returned = load(tmp_path).tensors
    assert returned["empty"] == {}
    assert returned["agent"].keys() == group.keys()
    for name, tensor in group.items():
        assert torch.equal(returned["agent"][name], tensor)
    returned["agent"]["whole"].zero_()  # what returns is ours to change
    assert torch.equal(returned["agent"]["tied"], base)


def test_optimiser_and_generators_continue_as_if_nothing_had_happened(tmp_path: Path) -> None:
    numpy_rng, torch_rng = np.random.default_rng(7), torch.Generator().manual_seed(7)
    numpy_rng.normal(size=3)
    torch.randn(3, generator=torch_rng)
    state = {"numpy": numpy_rng.bit_generator.state}
    save(tmp_path, 1, tensors={"rng": {"torch": torch_rng.get_state()}}, state=state, config={})
    expected = numpy_rng.normal(size=5).tolist(), torch.randn(5, generator=torch_rng).tolist()

    checkpoint = load(tmp_path)
    numpy_again, torch_again = np.random.default_rng(), torch.Generator()
    numpy_again.bit_generator.state = checkpoint.state["numpy"]
    torch_again.set_state(checkpoint.tensors["rng"]["torch"])
    returned = numpy_again.normal(size=5).tolist(), torch.randn(5, generator=torch_again).tolist()
    assert returned == expected


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | FLOATS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(state=st.dictionaries(st.text(), JSON), config=st.dictionaries(st.text(), JSON))
def test_json_returns_exactly(state: dict[str, Any], config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), 1, tensors={}, state=state, config=config)
        checkpoint = load(Path(folder))
    # repr tells 1 from 1.0 and from True, -0.0 from 0.0, and one order of keys from another.
    assert repr((checkpoint.state, checkpoint.config)) == repr((state, config))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"kl": {"mean": [0.0, float("nan")]}}, "state/kl/mean/1 is nan"),
        ({"best": float("-inf")}, "state/best is -inf"),
        ({"tasks": {3: 1}}, "state/tasks: key 3 is not a string"),
        ({"run": Path("x")}, "state/run is a PosixPath"),
        ({"count": np.int64(3)}, "state/count is a int64"),
    ],
)
def test_what_json_would_lose_is_refused_by_name(
    tmp_path: Path, state: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        save(tmp_path / "checkpoints", 1, tensors={}, state=state, config={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("group", ["", "../agent", "a/b", "a.b", ".tmp"])
def test_group_names_cannot_leave_the_folder(tmp_path: Path, group: str) -> None:
    with pytest.raises(CheckpointError, match="tensor group"):
        save(tmp_path, 1, tensors={group: {}}, state={}, config={})


def test_unstorable_tensors_are_refused(tmp_path: Path) -> None:
    for tensor in (torch.zeros(2, 2).to_sparse(), torch.zeros(2, dtype=torch.complex128)):
        with pytest.raises(CheckpointError, match="'agent' cannot be stored"):
            save(tmp_path, 1, tensors={"agent": {"x": tensor}}, state={}, config={})
    for step, keep in ((-1, 3), (1, 0)):
        with pytest.raises(CheckpointError, match="must be >="):
            put(tmp_path, step, keep=keep)
    assert not list(tmp_path.iterdir())


def test_layout(tmp_path: Path) -> None:
    path = put(tmp_path / "checkpoints", 1_200_000)
    assert path == tmp_path / "checkpoints" / "000001200000"
    names = {"MANIFEST.json", "agent.safetensors", "state.json", "config.json"}
    assert {entry.name for entry in path.iterdir()} == names
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, "latest"}
    assert (path.parent / "latest").read_text() == f"{path.name}\n"
    manifest = json.loads((path / "MANIFEST.json").read_text())
    assert manifest == load(path).manifest
    assert (manifest["schema"], manifest["step"]) == (1, 1_200_000)
    assert manifest["files"].keys() == names - {"MANIFEST.json"}
    assert manifest["environment"].keys() == {
        "python", "torch", "numpy", "mujoco", "metaworld", "cpu", "cpu model",
        "threads",
    }  # fmt: skip
    assert {"sha256", "git_commit"} < manifest.keys()


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    one, two = put(tmp_path / "one", 5, 1.5), put(tmp_path / "two", 5, 1.5)
    for entry in one.iterdir():
        assert entry.read_bytes() == (two / entry.name).read_bytes()


def test_found_by_run_by_folder_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "202601011200"  # looks like a step, but is a run
    put(run / "checkpoints", 10)
    newest = put(run / "checkpoints", 20)
    assert load(run).path == load(run / "checkpoints").path == load(newest).path == newest
    assert load(run / "checkpoints" / "000000000010").step == 10
    newest.rename(tmp_path / "renamed")
    assert load(tmp_path / "renamed").step == 20
    monkeypatch.chdir(tmp_path / "renamed")
    assert load(Path()).step == 20


def test_nothing_to_load(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "model.pt").write_bytes(b"\x80\x04")
    for path in ("run", "run/checkpoints", "model.pt", "absent", "model.pt/000000000001"):
        with pytest.raises(CheckpointError, match=re.escape(str(tmp_path))):
            load(tmp_path / path)


def test_same_step_is_replaced(tmp_path: Path) -> None:
    put(tmp_path, 10, 1.0)
    put(tmp_path, 20, 1.0)
    put(tmp_path, 20, 2.0)
    assert load(tmp_path).tensors["agent"]["w"].tolist() == [2.0] * 4
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "000000000010", "000000000020", "latest",
    }  # fmt: skip


def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step in range(10, 90, 10):
        put(tmp_path, step, keep=2)
        if step == 20:
            mark_best(tmp_path, 20, 0.5)
    assert steps(tmp_path) == [20, 70, 80]
    assert best(tmp_path) == (tmp_path / "000000000020", 0.5)
    mark_best(tmp_path, 80, 0.75)
    put(tmp_path, 90, keep=2)
    assert steps(tmp_path) == [80, 90]
    put(tmp_path, 100, keep=1)
    assert steps(tmp_path) == [80, 100]


def test_best_is_exact_and_must_exist(tmp_path: Path) -> None:
    assert best(tmp_path) is None
    put(tmp_path, 10)
    mark_best(tmp_path, 10, 0.1 + 0.2)
    assert best(tmp_path) == (tmp_path / "000000000010", 0.1 + 0.2)
    for step, score in ((20, 1.0), (10, float("nan"))):
        with pytest.raises(CheckpointError, match="cannot mark"):
            mark_best(tmp_path, step, score)
    assert best(tmp_path) == (tmp_path / "000000000010", 0.1 + 0.2)


def test_after_a_return_to_an_older_one_the_abandoned_future_is_not_resumed(
    tmp_path: Path,
) -> None:
    for step in (10, 20, 30):
        put(tmp_path, step)
    put(tmp_path, 15)  # a run that went on from step 10
    assert load(tmp_path).step == 15
    put(tmp_path, 25)
    assert steps(tmp_path) == [10, 15, 25]
    (tmp_path / "latest").unlink()  # a hint only
    assert load(tmp_path).step == 25


def test_difference_of_environments(tmp_path: Path) -> None:
    manifest = load(put(tmp_path, 1)).manifest
    assert environment_difference(manifest) == []
    here = manifest["environment"]
    other = here | {"torch": "2.10.0", "cpu": "x86_64 avx2 avx512f neon"}
    assert environment_difference({"environment": other}) == [
        f"cpu: x86_64 avx2 avx512f neon when saved, {here['cpu']} here",
        f"torch: 2.10.0 when saved, {here['torch']} here",
    ]
    assert environment_difference({"environment": {}})


def test_run_folder_is_checked_without_creating_anything(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check_run_folder(tmp_path / "runs" / "new") == []
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        assert "is not a folder" in check_run_folder(path)[0]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("")
    assert len(check_run_folder(tmp_path / "run")) == 1
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "run"}


def test_read_only_run_folder_is_named(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # tmp_path is closed to other users
        folder = Path(name)
        folder.chmod(0o555)
        child = os.fork()
        if child == 0:  # root may write anywhere, so ask as somebody else
            if os.getuid() == 0:
                os.setuid(65534)
            named = [str(folder) in line for line in check_run_folder(folder / "run")]
            os._exit(0 if named == [True] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        folder.chmod(0o755)


def test_too_little_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 2**20})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert "1 MiB free" in check_run_folder(tmp_path)[0]
