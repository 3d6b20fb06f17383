"""A run of a user's own arm is looked at where the user's file is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from eval import evaluate, report, share
from train.long_term.arms import ARM_REGISTRY

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *("--suite", "ML1", "--task", "reach-v3", "--train-goals", "2", "--total-steps", "80"),
    *("--trials", "2", "--lanes", "2", "--episodes", "2", "--horizon", "10", "--workers", "1"),
    *("--hidden", "8", "--encoder", "8", "--critic", "8", "--evaluate-every", "0"),
]
LOOK = [
    *("--goals", "2", "--episodes", "2", "--horizon", "10", "--no-official", "--no-repeating"),
    "--no-deterministic",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_arms.py").write_text(
        "from train.long_term.arms import Arm\nMINE = Arm(cascade=True, episodic=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "train.rl2", *TINY, "--arm", "my_arms:MINE", "--run", "mine"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return folder / "mine"


def test_it_is_evaluated_reported_and_shared_without_its_file(run: Path, tmp_path: Path) -> None:
    assert ARM_REGISTRY.problems("my_arms:MINE")  # it is not imported here
    assert evaluate.main([str(run), *LOOK]) == 0
    assert evaluate.main([str(run), *LOOK, "--level", "2"]) == 0
    assert report.main([str(run), "--out", str(tmp_path / "page")]) == 0
    assert "MINE" in (tmp_path / "page" / "report.md").read_text()
    assert share.main([str(run), "--out", str(tmp_path / "shared")]) == 0
    assert evaluate.main([str(tmp_path / "shared"), *LOOK]) == 0
    lived = ["--lifetime", "2"]
    assert evaluate.main([str(tmp_path / "shared"), *LOOK, *lived]) == 0
    assert "my_arms" not in sys.modules
