"""Arms are data: the parts of each arm, and how it is chosen."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.rl2 import AgentConfig, RL2Agent, parameter_count
from envs.metaworld.suites import Suite
from eval import evaluate
from eval.goals import config as evaluation
from train.long_term.arms import ARM_REGISTRY, ARMS, Arm
from train.long_term.config import MemoryConfig
from train.long_term.episodic import EpisodicLevel
from train.long_term.replay import ReplayLevel
from train.long_term.slow_policies import SlowPolicies
from train.long_term.stack import Stack
from train.run import checkpoint
from train.run.checkpoint import CheckpointError
from train.run.config import Config
from train.run.input_error import InputError
from train.run.origin import parse
from train.run.state import TrainState, initialise, load_agent

GOALS = {"reach-v3": tuple((0.01 * i, 0.6, 0.02, 0.1, 0.8, 0.1) for i in range(3))}
SMALL = AgentConfig(hidden=12, encoder=10, critic=8)


def config_of(arm: str, folder: Path = Path("mine"), **options: Any) -> Config:
    memory = MemoryConfig(reservoir=3, recent=2)
    return Config(
        arm=arm, suite="ML1", task="reach-v3", agent=SMALL, memory=memory, run=folder, **options
    )


def learner_of(config: Config) -> TrainState:
    return initialise(config, Suite("ML1", 1, GOALS, GOALS))


def slow_policies(state: TrainState) -> list[Any]:
    assert isinstance(state.long_term, Stack)
    return next(
        level.cascade.policies
        for level in state.long_term.levels
        if isinstance(level, SlowPolicies)
    )


def learnt(agent: RL2Agent) -> int:
    return sum(weight.numel() for weight in agent.parameters() if weight.requires_grad)


@pytest.mark.parametrize("core", ["gru", "lstm"])
@pytest.mark.parametrize("name", list(ARMS))
def test_an_arm_has_its_levels(name: str, core: str) -> None:
    config = dataclasses.replace(
        config_of(name),
        agent=dataclasses.replace(SMALL, core=core),  # type: ignore[arg-type]
    )
    assert config.validate() == []
    arm, state = ARMS[name], learner_of(config)
    assert state.agent.config.core == (core if arm.short else "none")
    assert (state.agent.recall is not None) == arm.episodic
    assert learnt(state.agent) == parameter_count(config.network)
    if not arm.long_term:
        assert state.long_term is None
        return
    assert isinstance(state.long_term, Stack)
    kinds = [type(level) for level in state.long_term.levels]
    assert (SlowPolicies in kinds) == (arm.cascade or arm.episodic)
    assert (ReplayLevel in kinds) == (arm.replay or arm.episodic)
    assert (EpisodicLevel in kinds) == arm.episodic
    for level in state.long_term.levels:
        if isinstance(level, SlowPolicies):
            assert len(level.cascade.policies) == (2 if arm.cascade else 1)
            assert all(policy.recall is None for policy in level.cascade.policies)


def test_short_is_the_default() -> None:
    assert Config().arm == "short"
    assert Config().network == Config().agent == AgentConfig()


def test_short_wide_has_the_parameters_of_the_hierarchy() -> None:
    """Of all three policies and the reader, to a percent; never more."""
    base = Config()
    wide = parameter_count(dataclasses.replace(base, arm="short-wide").network)
    levels = parameter_count(dataclasses.replace(base, arm="hierarchical").network)
    goal = levels + 2 * parameter_count(base.agent)
    assert 0.99 * goal <= wide <= goal


@pytest.mark.parametrize("name", list(ARMS))
def test_arms_start_alike(name: str) -> None:
    """From one seed: what two arms have in common has the same weights, the critic too."""
    if ARMS[name].large_as or not ARMS[name].short:
        pytest.skip("another network")
    short, other = (learner_of(config_of(arm)).learner.tensors() for arm in ("short", name))
    for group in ("agent", "critic"):
        for key, weight in short[group].items():
            assert weight.equal(other[group][key]), key


def test_guards_are_for_arms_that_read() -> None:
    config = config_of("short")
    trials = Suite("ML1", 1, GOALS, GOALS).sample_trials(
        40, episodes=1, horizon=5, iteration=0, seed=1
    )
    assert learner_of(config).with_recall(trials, config) == list(trials)
    config = config_of("episodic")
    assert {t.recall for t in learner_of(config).with_recall(trials, config)} == {0, 1, 2}


# -------------------------------------------------------------------------------------- on the line


@pytest.mark.parametrize("name", list(ARMS))
def test_an_arm_is_chosen_by_name(name: str) -> None:
    config, _ = parse(["--arm", name])
    assert config.arm == name
    assert config.run_folder == Path(f"runs/ML10-{name}-seed1")
    assert Config.from_json(config.to_json()) == config


def test_an_lstm_is_said_in_the_name() -> None:
    config, _ = parse(["--arm", "cascade", "--core", "lstm"])
    assert config.run_folder == Path("runs/ML10-cascade-lstm-seed1")
    assert parse(["--core", "lstm"])[0].run_folder == Path("runs/ML10-short-lstm-seed1")


def test_a_core_without_memory_needs_an_arm_without() -> None:
    config, _ = parse(["--core", "none"])
    assert any("--arm none" in problem for problem in config.validate())
    assert parse(["--core", "none", "--arm", "none"])[0].validate() == []


def test_a_store_needs_a_memory_that_it_is_read_into(monkeypatch) -> None:
    monkeypatch.setitem(ARM_REGISTRY.own, "odd", Arm(short=False, episodic=True))
    config, _ = parse(["--arm", "odd"])
    assert any("reads its store into short-term memory" in found for found in config.validate())


def test_a_run_of_a_users_own_parts_can_be_checked_without_them() -> None:
    """And without the service that it was tracked by."""
    agent = dataclasses.replace(Config().agent, core="my_cores:Mine")
    config = Config(arm="my_arms:MINE", agent=agent, track="wandb", missing=2.0)
    (problem,) = config.without_own_parts().validate()
    assert "--missing" in problem


def test_all_wrong_memory_settings_are_named_at_once() -> None:
    config, _ = parse(["--replay", "-1", "--reservoir", "-1", "--omega", "0", "--levels", "1"])
    problems = " ".join(config.validate())
    assert all(flag in problems for flag in ("--replay ", "--reservoir", "--omega", "--levels"))


# ------------------------------------------------------------------------------------ slow policies


def test_slow_policies_are_loaded_as_agents(tmp_path: Path) -> None:
    config = config_of("hierarchical", tmp_path / "mine", device="cpu")
    state = learner_of(config)
    for number, policy in enumerate(slow_policies(state), start=2):
        policy.head.mean.bias.data.fill_(float(number))
    state.save(config)
    saved = checkpoint.load(config.run_folder)
    for number in (2, 3):
        agent, _ = load_agent(saved, level=number)
        assert agent.head.mean.bias.unique().tolist() == [float(number)]
        assert agent.recall is None
    assert load_agent(saved)[0].recall is not None
    with pytest.raises(CheckpointError, match="no policy of level 4"):
        load_agent(saved, level=4)


def test_a_slow_policy_is_evaluated_by_its_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line to the weights that act, and into a file of its own."""
    monkeypatch.setattr(
        "train.run.config.Config.make_suite", lambda *_: Suite("ML1", 1, GOALS, GOALS)
    )
    config = config_of("hierarchical", tmp_path / "mine", device="cpu")
    state = learner_of(config)
    slow_policies(state)[0].head.mean.bias.data.fill_(0.25)
    state.save(config)
    settings = evaluation.parse([str(config.run_folder), "--level", "2", "--goals", "3"])
    subject = evaluation.load_subject(settings)
    for policy in evaluate.policies(settings, subject).values():
        assert "recall.keys" not in policy.weights
    chosen = evaluate.policies(settings, subject)["stochastic"]
    assert np.unique(chosen.weights["head.bias"]).tolist() == [0.25]
    path = evaluate.result_path(settings, subject)
    assert path is not None
    assert path.name == "eval-test-000000000000-level2-goals3.json"
    with pytest.raises(InputError, match="no policy of level 4"):
        evaluation.load_subject(dataclasses.replace(settings, level=4))


def test_a_checkpoint_of_another_arm_is_refused(tmp_path: Path) -> None:
    config = config_of("cascade", tmp_path / "mine", device="cpu")
    learner_of(config).save(config)
    saved = checkpoint.load(config.run_folder)
    with pytest.raises(CheckpointError, match="does not fit"):
        learner_of(config_of("hierarchical")).restore(saved)
