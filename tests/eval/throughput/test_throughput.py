"""The benchmark measures what it says: steps are counted, ratios are taken in pairs."""

import json
from pathlib import Path

import numpy as np
import pytest

from envs.metaworld.suites import Suite
from envs.pool.pool import available_cores
from eval.throughput import __main__ as throughput
from eval.throughput.__main__ import (
    ENTRIES,
    OF_CORES,
    Line,
    Settings,
    main,
    measure,
    parse,
    ratios,
    table,
)
from eval.throughput.rivals import Setup
from eval.throughput.training import OurTraining, RecurrentPPO

GOALS = {
    "reach-v3": ((0.0, 0.6, 0.02, 0.1, 0.8, 0.1), (0.05, 0.65, 0.02, -0.1, 0.85, 0.2)),
    "drawer-close-v3": ((0.05, 0.9, 0.0), (-0.05, 0.9, 0.0)),
}
SUITE = Suite("custom", 1, GOALS, GOALS)
SETUP = Setup(SUITE, envs=4)
STEPPING = [
    "official",
    "gym-sync",
    "gym-async",
    "strata-sync",
    "strata-async",
    "strata-single",
    "strata-stream",
    "strata-trial",
    "strata-trials",
    "sb3-subproc",
    "ours-single",
    "ours",
    "ours-policy",
    "ours-python",
    "physics",
]


@pytest.mark.parametrize("name", STEPPING)
def test_every_contender_takes_the_steps_asked_for(name: str) -> None:
    """At least as many, and less than one round of all more; twice in a row."""
    # Each process of sb3-subproc imports torch.
    setup = Setup(SUITE, envs=2) if name == "sb3-subproc" else SETUP
    contender = ENTRIES[name].make(setup)
    try:
        for steps in (10, 21):
            most = steps + max(setup.envs, 2 * available_cores())  # a step of each task and core
            assert steps <= contender.run(steps) < most
    finally:
        contender.close()


@pytest.mark.skipif(bool(ENTRIES["envpool"].absent()), reason="envpool is not installed")
def test_envpool_takes_the_steps_asked_for() -> None:
    contender = ENTRIES["envpool"].make(SETUP)
    assert contender.run(10) == 12
    contender.close()


def test_cores_are_measured_alone() -> None:
    assert Settings(cores=True).chosen == tuple(OF_CORES)
    assert not set(Settings().chosen) & set(OF_CORES)
    for name, taken in (("act-event", 30), ("learn-event", 3000)):
        assert OF_CORES[name].make(SETUP).run(taken - 9) == taken


def test_our_training_learns_while_it_is_measured() -> None:
    contender = OurTraining(SETUP, epochs=2, horizon=4)
    before = contender._state.agent.head.mean.weight.clone()
    try:
        assert contender.run(65) == 2 * 2 * SETUP.envs * 2 * 4
    finally:
        contender.close()
    assert contender._state.iteration == 2
    assert not (contender._state.agent.head.mean.weight == before).all()


def test_recurrent_ppo_trains_on_the_same_tasks_and_width() -> None:
    pytest.importorskip("sb3_contrib")
    contender = RecurrentPPO(SETUP, copies=1, n_steps=4, batch_size=8, n_epochs=1)
    assert contender.run(17) == 32  # whole rollouts of 4 × 4
    assert contender.run(16) == 16
    assert contender._learner.policy.lstm_actor.hidden_size == 128
    contender.close()


class Fake:
    """A contender that takes two steps more than asked for, and knows when it ran."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def run(self, steps: int) -> int:
        self.log.append(self.name)
        return steps + 2

    def close(self) -> None:
        self.log.append(f"{self.name} closed")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    log: list[str] = []
    for group in (throughput.STEPPING, throughput.TRAINING):
        for name, entry in list(group.items()):
            fake = lambda setup, name=name: Fake(name, log)  # noqa: E731 - one for each name
            reason = "gone fishing" if name == "envpool" else ""
            changed = throughput.Entry(entry.title, fake, lambda reason=reason: reason)
            monkeypatch.setitem(group, name, changed)
    return log


def test_contenders_take_turns(fakes: list[str]) -> None:
    """All warmed up first, then one after the other in every repeat; those absent are told."""
    chosen = Settings(only=("gym-async", "envpool", "ours", "train-5"), repeats=2, steps=10)
    lines, skipped = measure(chosen, SUITE)
    turns = ["gym-async", "ours"] * 3 + ["ours closed", "gym-async closed"]
    assert fakes == turns + ["train-5"] * 3 + ["train-5 closed"]
    assert skipped == {"envpool": "gone fishing"}
    assert [line.name for line in lines] == ["gym-async", "ours", "train-5"]
    assert [line.steps for line in lines] == [[12, 12], [12, 12], [20_002, 20_002]]
    assert all(rate > 0 for line in lines for rate in line.rates)


def test_ratios_are_paired() -> None:
    """A machine that was busy in the second repeat slows both: the ratio stays 3."""
    lines = [
        Line("gym-async", [100.0, 10.0, 100.0], [1, 1, 1]),
        Line("ours", [300.0, 30.0, 310.0], [1, 1, 1]),
        Line("train-5", [7.0, 8.0, 9.0], [1, 1, 1]),
    ]
    assert ratios(lines) == {"gym-async": 1.0, "ours": 3.0}
    assert np.median(lines[1].rates) == 300
    text = table(lines)
    assert "| 300 | 30 – 310 | 3.00 |" in text
    assert "| 8 | 7 – 9 |  |" in text


def test_table_and_json(fakes: list[str], tmp_path: Path, capsys) -> None:
    out = tmp_path / "deep" / "speed.json"
    assert main(["--tasks", "reach-v3", "--repeats", "3", "--out", str(out)]) == 0
    document = json.loads(out.read_text())
    asked = len(ENTRIES) - len(OF_CORES)
    assert len(document["lines"]) == asked - 1
    assert document["settings"]["tasks"] == ["reach-v3"]
    assert document["machine"]["cores"]["available"] >= 1
    assert document["ratios"]["gym-async"] == 1.0
    markdown = out.with_suffix(".md").read_text()
    assert markdown in capsys.readouterr().out
    contenders, aims = markdown.split("| aim |")
    assert contenders.count("\n| ") == asked - 1 + 1
    assert aims.count("met |") == len(document["aims"]) > 0


def test_quick_is_a_set_of_defaults() -> None:
    quick = parse(["--quick", "--repeats", "7"])
    assert (quick.repeats, quick.environments, len(quick.tasks)) == (7, 4, 2)
    other = parse(["--quick", "--tasks", "push-v3"])
    assert other.environments == 2
    assert parse([]).environments == 20


def test_bad_input_is_told_all_at_once(capsys, tmp_path: Path) -> None:
    bad = ["--only", "gym", "--repeats", "0", "--envs", "7", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        main(bad)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    for part in ("'gym'", "--repeats", "--envs 7", "--out"):
        assert part in said
    assert not list(tmp_path.iterdir())


def test_the_table_does_not_take_the_jsons_place(tmp_path: Path) -> None:
    (problem,) = Settings(out=tmp_path / "table.md").problems()
    assert "use .json" in problem


def test_no_environments_are_not_the_usual_number() -> None:
    (problem,) = Settings(envs=0).problems()
    assert "--envs 0 is no multiple of 10 tasks" in problem


def test_numbers_may_be_written_as_people_write_them() -> None:
    assert parse(["--steps", "1e3", "--train-steps", "2_000"]).steps == 1000


def test_one_contender_alone_has_learners() -> None:
    """A process can be of one group of learners only, and all contenders are open at once."""
    assert [name for name in ENTRIES if name.endswith("learners")] == ["train-5-learners"]
