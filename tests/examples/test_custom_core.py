"""The example of a user's own core: trained from outside, and never imported unasked."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import train.rl2
from eval import report, share
from eval.agent import load_agent
from eval.goals import config as evaluation
from eval.viewing import watch_config
from memory.cores import registry
from train.run import checkpoint
from train.run.input_error import InputError

pytestmark = pytest.mark.skipif(
    find_spec("onnxruntime") is None, reason="onnxruntime is not installed"
)
ROOT = Path(__file__).resolve().parents[2]
CORE = ["--core", "custom_core:MinimalGatedUnit"]
TINY = [
    *("--suite", "ML1", "--task", "reach-v3", "--train-goals", "50", "--total-steps", "80"),
    *("--trials", "2", "--lanes", "2", "--episodes", "2", "--horizon", "10", "--workers", "1"),
    *("--hidden", "8", "--encoder", "8", "--critic", "8", "--evaluate-every", "0"),
]
ASK = "add --core custom_core:MinimalGatedUnit to allow its import"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two iterations, started as a user would in the folder of the example."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    done = subprocess.run(
        [sys.executable, "-m", "train.rl2", *TINY, *CORE, "--run", str(folder)],
        cwd=ROOT / "examples",
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(autouse=True)
def _in_another_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_imported", {})
    sys.modules.pop("custom_core", None)
    monkeypatch.syspath_prepend(ROOT / "examples")
    yield
    sys.modules.pop("custom_core", None)


def test_it_trained(run: Path) -> None:
    saved = checkpoint.load(run)
    assert saved.step == 80
    assert saved.config["agent"]["core"] == "custom_core:MinimalGatedUnit"
    assert "memory.candidate.weight" in saved.tensors["agent"]
    assert (run / "config.json").exists()


def test_resuming_imports_it_only_if_told(run: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.rl2.main(["--resume", str(run)])
    assert stopped.value.code == 2
    assert ASK in capsys.readouterr().err
    assert "custom_core" not in sys.modules
    assert train.rl2.main(["--resume", str(run), *CORE]) == 0  # it had finished


def test_evaluation_imports_it_only_if_told(run: Path) -> None:
    with pytest.raises(InputError, match=ASK):
        evaluation.load_subject(evaluation.parse([str(run)]))
    assert "custom_core" not in sys.modules
    subject = evaluation.load_subject(evaluation.parse([str(run), *CORE]))
    assert type(subject.agent.memory).__name__ == "MinimalGatedUnit"
    assert subject.config.label == "short-MinimalGatedUnit"


def test_it_acts_in_a_loop_of_the_users_own(run: Path) -> None:
    registry.import_core(CORE[1])
    assert load_agent(run).act(np.zeros(39)).shape == (4,)


def test_a_report_needs_no_core_and_sharing_asks_for_it(run: Path, tmp_path: Path, capsys) -> None:
    assert report.main([str(run), "--out", str(tmp_path / "page")]) == 0
    with pytest.raises(SystemExit):
        share.main([str(run), "--out", str(tmp_path / "shared")])
    assert ASK in capsys.readouterr().err
    assert share.main([str(run), "--out", str(tmp_path / "shared"), *CORE]) == 0


def test_watching_imports_it_only_if_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_config.gl, "backend", lambda: "egl")  # nothing is drawn
    with pytest.raises(InputError, match=ASK):
        watch_config.prepare(watch_config.parse([str(run)]))
    assert "custom_core" not in sys.modules


def test_a_core_that_is_not_there_is_one_sentence(run: Path) -> None:
    with pytest.raises(InputError, match="cannot import 'Core' from 'not_here'"):
        evaluation.load_subject(evaluation.parse([str(run), "--core", "not_here:Core"]))
