"""Training from Python gives values and typed errors; it never ends the process."""

import dataclasses
from pathlib import Path

import pytest

from agents.rl2 import AgentConfig
from train.api import Config, InputError, StreamConfig, train

TINY = Config(
    suite="ML1",
    task="reach-v3",
    train_goals=3,
    total_steps=40,
    trials=2,
    lanes=2,
    episodes=2,
    horizon=10,
    workers=1,
    agent=AgentConfig(hidden=4, encoder=4, critic=4),
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_is_trained_and_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    done = train(TINY)
    assert (done.finished, done.steps) == (True, 40)
    assert done.folder == Path("runs/reach-v3-short-seed1")
    assert "train/success" in done.metrics[-1]
    longer = dataclasses.replace(TINY, total_steps=80)
    with pytest.raises(InputError, match="already holds a run"):
        train(longer)
    with pytest.raises(InputError, match="seed: the run has 1, you asked for 2"):
        train(dataclasses.replace(longer, seed=2, run=done.folder), resume=True)
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", full)  # a disk without room under a notebook's log
        with pytest.warns(RuntimeWarning, match="standard output has failed"):
            again = train(longer, resume=True)
    assert [row["step"] for row in again.metrics] == [40, 80]


@pytest.mark.parametrize("kind", [Config, StreamConfig])
def test_an_arm_or_a_core_that_is_none_is_refused_with_those_there_are(kind: type[Config]) -> None:
    with pytest.raises(InputError, match="there is no --arm shrt: choose none, short,"):
        train(kind(arm="shrt"))
    with pytest.raises(InputError, match="there is no core 'grru': choose gru, lstm"):
        train(kind(agent=AgentConfig(core="grru")))
    assert not list(Path.cwd().iterdir())


def test_every_problem_is_listed() -> None:
    with pytest.raises(InputError) as raised:
        train(Config(suite="ML11", horizon=501, seed=-1))
    assert len(raised.value.problems) == 3
    assert not list(Path.cwd().iterdir())
