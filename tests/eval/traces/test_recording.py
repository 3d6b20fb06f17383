"""A recording is what was recorded, and a file of unknown origin is read within bounds."""

import dataclasses
import io
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eval.traces import levels
from eval.traces import recording as module
from eval.traces.levels import reads, trace
from eval.traces.recording import Recording, RecordingError, load, save
from tests.eval.traces.made_up import make_agent, make_recording


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a" / "x.npz"
    save(make_recording(trials=5), path)
    return path


def rewritten(path: Path, **changed: np.ndarray) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive}
    np.savez(path, **{**arrays, **changed})  # type: ignore[arg-type]


def test_what_is_saved_comes_back(file: Path) -> None:
    found, written = load(file), make_recording(trials=5)
    assert found.facts == written.facts
    for name in ("inputs", "choices", "targets", "outcomes", "layout", "scenes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name))
    np.testing.assert_array_equal(found.states["L0"], written.states["L0"])
    assert found.attempts == [0, 1, 2]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"inputs": np.zeros((36, 5, 46, 1), np.float32)}, "inputs"),
        ({"states.L0": np.full((36, 5, 8), np.nan, np.float32)}, "states.L0 must be finite"),
        ({"choices": np.zeros((5, 2), np.int8)}, "choices must be of shape"),
        ({"facts": np.frombuffer(b"[1]", np.uint8)}, "delete it and record anew"),
        ({"inputs": np.zeros((36, 5, 3), np.float32)}, "inputs must have at least 46 numbers"),
        ({"layout": np.zeros((4, 6), np.float32)}, "layout must have 5 rows"),
        ({"choices": np.full((5, 3), 5, np.int8)}, "choices must be"),
        ({"targets": np.full((5, 3), 2, np.int8)}, "targets must be numbers below 2"),
        ({"scenes": np.full(5, 3, np.int16)}, "scenes must be numbers below 1"),
        ({"log_stds.L0": np.full(4, np.nan, np.float32)}, "log_stds.L0 must be 4 finite numbers"),
        ({"other": np.zeros(3)}, "delete it and record anew"),
    ],
)
def test_what_does_not_fit_is_refused(file: Path, changed: dict, says: str) -> None:
    rewritten(file, **changed)
    with pytest.raises(RecordingError, match=says):
        load(file)


def test_objects_bombs_and_links_are_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**3)}
    )
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("inputs.npy", header.getvalue())
    np.savez(tmp_path / "object.npz", inputs=np.array([{}], dtype=object))
    (tmp_path / "link.npz").symlink_to(file)
    for name in ("bomb", "object", "link", "nothing"):
        with pytest.raises(RecordingError):
            load(tmp_path / f"{name}.npz")
    monkeypatch.setattr(module, "LIMIT", 1000)
    with pytest.raises(RecordingError, match="plain file"):
        load(file)


def test_a_trace_is_the_agent_step_by_step() -> None:
    agent, inputs = make_agent(), make_recording(trials=4).inputs
    whole = trace(agent, inputs)
    state = None
    for step in range(5):
        before = state
        found = trace(agent, inputs[step : step + 1], before)
        np.testing.assert_allclose(found.states[0], whole.states[step], atol=1e-6)
        np.testing.assert_allclose(found.mean[0], whole.mean[step], atol=1e-6)

        state = torch.from_numpy(found.states[0])  # a GRU's state is its output


def test_reads_are_those_that_the_agent_makes() -> None:
    agent, recording = make_agent(entries=3), make_recording(trials=4)
    recall = agent.recall
    assert recall is not None

    generator = torch.Generator().manual_seed(0)
    keys, values = (torch.randn(3, 8, generator=generator) for _ in range(2))
    recall.store.write(torch.arange(3), keys, values)
    recall.store.settle(torch.zeros(3, dtype=torch.bool))
    found = reads(agent, recording.inputs)
    changes = np.abs(np.diff(found, axis=0)).sum(axis=(1, 2)) > 0
    assert not found[:4].any()  # nothing is read at a trial's first steps
    assert found[4].any()
    assert set(np.flatnonzero(changes) + 1) <= {4 * n for n in range(1, 9)}


def test_episodes_in_other_scenes_are_no_attempts() -> None:
    found = make_recording(trials=5)
    targets = found.targets.copy()
    targets[:, 1] = -1
    assert dataclasses.replace(found, targets=targets).attempts == [0, 2]
    assert isinstance(found, Recording)


@pytest.mark.parametrize(
    ("arm", "found"), [("episodic", []), ("cascade", ["L2"]), ("my_module:MY_ARM", ["L2"])]
)
def test_the_encoder_of_a_store_is_no_slow_policy(arm: str, found: list[str], monkeypatch) -> None:
    saved = SimpleNamespace(tensors={"long_term": {"level2.x": torch.zeros(1)}})
    config = SimpleNamespace(arm=arm)
    monkeypatch.setattr(levels, "load_agent", lambda saved, level=1: (None, config))
    assert list(levels.slow_agents(saved)) == found  # type: ignore[arg-type]
