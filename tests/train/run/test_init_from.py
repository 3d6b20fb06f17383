"""A new run from a trained agent's weights: they alone are taken over."""

import dataclasses
from pathlib import Path

import pytest
import torch

from envs.metaworld.suites import Suite
from memory.restored import chosen
from train.rl2 import banner, main
from train.run import checkpoint, program
from train.run.config import Config
from train.run.origin import Origin
from train.run.state import TrainState, initialise
from train.run.verified_folder import CheckpointError

GOALS = {"reach-v3": tuple((0.01 * i, 0.6, 0.02, 0.1, 0.8, 0.1) for i in range(3))}
SUITE = Suite("ML1", 1, GOALS, GOALS)
REACH = {"suite": "ML1", "task": "reach-v3"}


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint whose weights and normaliser no new agent has."""
    monkeypatch.chdir(tmp_path)
    config = Config(**REACH, seed=7, run=Path("old")).resolved(1)
    state = initialise(config, SUITE)
    state.agent.encoder.normaliser.update(torch.randn(50, 39) + 3)
    state.steps = 1000
    state.save(config)
    return Path("old")


def begun(**options: object) -> TrainState:
    return initialise(Config(**REACH, **options), SUITE)  # type: ignore[arg-type]


@pytest.mark.parametrize("arm", ["short", "hierarchical"])
def test_weights_are_taken_and_all_else_is_new(trained: Path, arm: str) -> None:
    """Slow policies and the encoder of an episodic store begin as the agent does."""
    source = checkpoint.load(trained).tensors
    state, fresh = begun(init_from=str(trained), arm=arm), begun(arm=arm)
    found = state.agent.state_dict()
    for name, value in source["agent"].items():
        assert torch.equal(found[name], value), name
        twin = f"recall.{name}"
        assert twin not in found or torch.equal(found[twin], value), twin
    for name, value in fresh.learner.tensors()["critic"].items():
        assert torch.equal(state.learner.tensors()["critic"][name], value), name
    assert state.learner.tensors()["optimiser"] == {}
    assert (state.steps, state.iteration) == (0, 0)
    if state.long_term is not None:
        level = chosen(state.long_term.tensors(), "level2.")
        assert torch.equal(level["memory.net.weight_hh_l0"], found["memory.net.weight_hh_l0"])


def test_another_agent_is_refused_and_nothing_is_written(trained: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--suite", "ML1", "--task", "reach-v3", "--init-from", "old", "--core", "lstm"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "--init-from old: old/checkpoints/000000001000 holds another agent" in said
    assert "trained with --suite ML1 --arm short --core gru --act direct --hidden" in said
    assert not Path("runs").exists()
    with pytest.raises(CheckpointError, match="nowhere"):
        begun(init_from="nowhere")


def test_the_run_says_where_it_came_from_and_goes_on_without_it(trained: Path) -> None:
    config = Config(**REACH, init_from=str(trained), run=Path("new")).resolved(1)
    state = initialise(config, SUITE)
    assert "weights    begun as old" in banner(config, SUITE, state)
    state.save(config)
    saved = checkpoint.load(Path("new"))
    assert saved.config["init_from"] == "old"
    trained.rename("elsewhere")
    config = dataclasses.replace(config, run=Path("newer"))
    with program.started(config, SUITE, Origin(saved, None)) as resumed:
        weight = resumed.agent.state_dict()["memory.net.weight_hh_l0"]
        assert torch.equal(weight, saved.tensors["agent"]["memory.net.weight_hh_l0"])
