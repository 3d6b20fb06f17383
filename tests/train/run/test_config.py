"""Configurations: JSON and back, defaults, and everything wrong with one at once."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from agents.rl2 import AgentConfig
from envs.metaworld.suites import SUITES
from train.algorithms.ppo_config import PPOConfig
from train.run.config import CHANGEABLE, Config, difference
from train.run.config_io import flatten
from train.run.stream_config import StreamConfig

ROOT = Path(__file__).resolve().parents[3]
REACH = ("--suite", "ML1", "--task", "reach-v3")
RICH = Config(
    suite="custom",
    tasks=("reach-v3", "push-v3"),
    test_tasks=("door-open-v3",),
    seed=7,
    trials=4,
    run=Path("runs/a b"),
    workers=3,
    agent=AgentConfig(core="lstm", hidden=5, privileged_critic=False),
    ppo=PPOConfig(learning_rate=0.1 + 0.2, boundary="cut"),
    device="cpu",
)


# -------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize("config", [Config(), RICH, RICH.resolved(2)], ids=["0", "rich", "full"])
def test_json_round_trip(config: Config) -> None:
    """A run is resumed from its JSON: every field but its place comes back, of its own type."""
    back = Config.from_json(json.loads(json.dumps(config.to_json())))
    assert back == dataclasses.replace(config, run=None)
    assert type(back.tasks) is tuple


def test_resolving_fills_in_every_default() -> None:
    """What is written into the run folder says what was done, on whatever machine."""
    config = Config(suite="ML10").resolved(10)
    assert (config.total_steps, config.trials) == (20_000_000, 40)
    assert config.run == Path("runs/ML10-short-seed1")
    assert [name for name, value in config.to_json().items() if value is None] == [
        "task",
        "run",
        "init_from",
    ]
    assert config.resolved(10) == config
    given = dataclasses.replace(RICH, total_steps=4000, proposals=0.25)
    assert given.resolved(2) == given


def with_change(path: str, value: Any) -> dict[str, Any]:
    values = json.loads(json.dumps(RICH.to_json()))
    place = values
    *folders, name = path.split(".")
    for folder in folders:
        place = place[folder]
    place[name] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("agnt", 1, "unknown field agnt"),
        ("ppo.gama", 1, "unknown field ppo.gama"),
        ("ppo", 5, "ppo must be a JSON object"),
        ("seed", "7", "seed must be int, not '7'"),
        ("seed", True, "seed must be int, not True"),
        ("seed", 7.5, "seed must be int"),
        ("workers", "two", "workers must be int"),
        ("agent.core", 5, "agent.core must be str, not 5"),
        ("agent.privileged_critic", 1, "agent.privileged_critic must be bool"),
        ("ppo.gamma", "0.9", "ppo.gamma must be float"),
        ("ppo.gamma", None, "ppo.gamma must be float"),
        ("tasks", "reach-v3", "tasks must be a list"),
        ("tasks", [1], "tasks must be str"),
    ],
)
def test_bad_json_names_the_field(path: str, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace(".", r"\.")):
        Config.from_json(with_change(path, value))


def test_a_field_younger_than_the_file_keeps_its_default() -> None:
    """Checkpoints outlive versions: a run of last year has no field that came this year."""
    values = RICH.to_json()
    del values["lanes"], values["ppo"]["belief"]
    back = Config.from_json(values)
    assert (back.lanes, back.ppo.belief) == (Config().lanes, Config().ppo.belief)
    assert back.seed == RICH.seed


def test_tasks_are_proposed_where_whole_tasks_are_held_out() -> None:
    shares = {suite: Config(suite=suite).proposal_share for suite in SUITES}
    held_out = dict.fromkeys(("ML10", "ML25", "ML45"), 0.5)
    assert shares == dict.fromkeys(SUITES, 0.0) | held_out
    assert Config(suite="ML1", proposals=0.2).resolved(1).proposals == 0.2
    assert Config(suite="ML10").resolved(10).proposals == 0.5
    assert StreamConfig().resolved(5).proposals == 0.0
    for share in (-0.1, 1.0):
        assert any("--proposals" in text for text in Config(proposals=share).validate())


def test_whole_numbers_stand_for_floats() -> None:
    """JSON written by hand says 1, not 1.0."""
    gamma = Config.from_json(with_change("ppo.gamma", 1)).ppo.gamma
    assert (gamma, type(gamma)) == (1.0, float)


# ---------------------------------------------------------------------------------------- validate


def test_the_default_is_valid() -> None:
    assert Config().validate(tasks=10) == []
    assert RICH.validate(tasks=2) == []


def test_all_problems_are_listed_at_once() -> None:
    """Nobody wants to mend a command line one error at a time."""
    bad = Config(
        suite="ML11",
        seed=-1,
        total_steps=0,
        horizon=501,
        trials=0,
        workers=0,
        evaluate_every=-1,
        agent=AgentConfig(hidden=0, log_std_min=1.0),
        ppo=PPOConfig(learning_rate=-1.0, gamma=1.5, epochs=0),
    )
    text = "\n".join(bad.validate())
    for part in (
        "'ML11'", "--seed", "--total-steps", "--horizon", "--trials", "--workers",
        "--evaluate-every", "--hidden", "--log-std-min", "--learning-rate", "--gamma", "--epochs",
    ):  # fmt: skip
        assert part in text


def fields_of(*types: str) -> list[tuple[str, str]]:
    """Part and name of all fields of these types, those added later among them."""
    parts = {"": Config, "agent": AgentConfig, "ppo": PPOConfig}
    return [
        (part, field.name)
        for part, cls in parts.items()
        for field in dataclasses.fields(cls)
        if field.type in types
    ]


def problems_with(part: str, name: str, value: float) -> str:
    """What is said of the default configuration with one number replaced."""
    config = Config()
    inner = dataclasses.replace(getattr(config, part), **{name: value}) if part else value
    return "\n".join(dataclasses.replace(config, **{part or name: inner}).validate())


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("part", "name"), fields_of("float"))
def test_no_float_may_be_infinite_or_nan(part: str, name: str, value: float) -> None:
    """Also because a checkpoint cannot hold it: such a run could never be saved."""
    assert flag(name) in problems_with(part, name, value)


@pytest.mark.parametrize(
    ("part", "name"), [place for place in fields_of("float") if "log_std" not in place[1]]
)
def test_no_float_but_a_logarithm_may_be_negative(part: str, name: str) -> None:
    assert flag(name) in problems_with(part, name, -1.0)


@pytest.mark.parametrize(("part", "name"), fields_of("int", "int | None"))
def test_no_count_may_be_below_one(part: str, name: str) -> None:
    """Zero is a choice only of a seed and of how often something happens that need not."""
    assert flag(name) in problems_with(part, name, -1)
    zero = name in ("seed", "evaluate_every", "video_every")
    assert (flag(name) in problems_with(part, name, 0)) != zero


def test_trials_divide_among_tasks() -> None:
    (problem,) = Config(trials=13).validate(tasks=5)
    assert problem == "--trials 13 does not divide among 5 tasks: try 15"
    for tasks in (1, 7, 10, 45, 50):
        chosen = Config(proposals=0.0).trials_for(tasks)
        assert chosen % tasks == 0
        assert 40 <= chosen < 40 + tasks
        shared = Config(proposals=0.5).trials_for(tasks)
        assert shared == max(chosen, 2 * tasks)
    (problem,) = Config(trials=10).validate(tasks=10)
    assert "--trials 10 is one of each of 10 tasks" in problem
    assert "try 20, or --proposals 0" in problem
    assert Config(trials=10, proposals=0.0).validate(tasks=10) == []


def test_every_field_is_either_changeable_or_guarded() -> None:
    """A field added later is guarded by default; names in the list of exceptions must exist."""
    assert {name for name, _ in flatten(Config())} >= CHANGEABLE
    other = dataclasses.replace(
        RICH, seed=8, lanes=1, workers=1, ppo=dataclasses.replace(RICH.ppo, clip=0.1)
    )
    assert [line.split(":")[0] for line in difference(RICH, other)] == ["seed", "lanes", "ppo.clip"]


def test_workers_have_room_in_shared_memory() -> None:
    assert "--workers must be from 1 to 1024, not 1025" in Config(workers=1025).validate()
