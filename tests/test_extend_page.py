"""The worked examples of docs/extend.md do what the page says."""

import re
from pathlib import Path

from eval.api import evaluate
from eval.own_agents.load import load_own_agent
from train.run.origin import parse
from train.run.stream_config import StreamConfig

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "extend.md").read_text()


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
    code = re.search(r"```python\n(.*?)```", PAGE, re.S)
    assert code
    (tmp_path / "my_module.py").write_text(code[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    agent = load_own_agent("my_module:load")
    found = evaluate(
        agent, suite="ML1", task="reach-v3", goals=2, episodes=2, horizon=10,
        random=False, scripted=False,
    )  # fmt: skip
    (measured,) = found.policies.values()
    assert len(measured.summary.mean.success) == 2
