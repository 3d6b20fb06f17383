"""The worked examples of docs/extend.md do what the page says."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eval.api import evaluate
from eval.own_agents.load import load_own_agent
from train import rl2
from train.long_term.arms import ARM_REGISTRY
from train.run import checkpoint
from train.run.origin import parse
from train.run.stream_config import StreamConfig

pytestmark = pytest.mark.usefixtures("lent")
PAGE = (Path(__file__).resolve().parents[1] / "docs" / "extend.md").read_text()

TINY = [
    *("--trials", "2", "--episodes", "2", "--horizon", "5", "--total-steps", "20"),
    *("--hidden", "8", "--encoder", "8", "--critic", "8", "--evaluate-every", "0"),
    *("--workers", "1", "--train-goals", "50", "--run", "own"),
]


def code_with(words: str) -> str:
    """The one block of Python on the page that has these words."""
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if words in block)
    return code


def test_the_stream_has_the_phases_that_the_page_names() -> None:
    command = re.search(r"python -m train\.continual (.*)", PAGE)
    assert command
    config, _ = parse(command[1].split(), StreamConfig)
    assert config.validate() == []
    stream = config.stream()
    assert stream.tasks == ("reach-v3", "push-v3", "door-close-v3")
    assert stream.cycles == 2
    assert stream.phase_steps >= 500_000


def test_the_agent_of_ones_own_is_measured(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "my_module.py").write_text(code_with("class Still"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    agent = load_own_agent("my_module:load")
    found = evaluate(
        agent, suite="ML1", task="reach-v3", goals=2, episodes=2, horizon=10,
        random=False, scripted=False,
    )  # fmt: skip
    (measured,) = found.policies.values()
    assert len(measured.summary.mean.success) == 2


def test_the_arm_with_the_level_of_ones_own_counts_trials(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "counting.py").write_text(code_with("class Counter"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert ARM_REGISTRY.import_typed(["--arm", "counting:COUNTING"]) == []
    arm = ARM_REGISTRY.find("counting:COUNTING")
    (make,) = arm.levels
    level, again = make(None), make(None)
    view = SimpleNamespace(inputs=np.zeros((5, 3, 2)))
    assert [level.consolidate(view) for _ in range(2)] == [{"counted": 3}, {"counted": 6}]
    again.restore({}, level.state())
    assert again.consolidate(view) == {"counted": 9}


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("class LeakyAverage", "my_core"),
        ("class Counter", "counting"),
        ("class Idle", "my_algorithm"),
    ],
)
def test_the_command_trains_with_the_part_of_ones_own(
    words: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code and the command of the page, for one iteration."""
    if file == "my_core":
        pytest.importorskip("onnxruntime")
    (tmp_path / f"{file}.py").write_text(code_with(words))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    command = re.search(rf"python -m train\.rl2 (.* {file}:.*)", PAGE)
    assert command
    try:
        assert rl2.main([*command[1].split(), *TINY]) == 0
    finally:
        sys.modules.pop(file, None)
    assert checkpoint.load(Path("own")).step == 20
