"""An agent on FORK from the command line: tables, JSON and names, beside floors and ceilings."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import train.rl2
from agents.rl2 import AgentConfig, RL2Agent
from envs.metaworld.suites import make_suite
from envs.pool.pool import Policy, WorkerPool
from eval import api, evaluate
from eval.goals import config
from eval.memory_tests.fork_evaluation import fork_policies
from eval.memory_tests.fork_measure import ForkOutcomes, likeliest, measure_fork, play_table
from eval.memory_tests.fork_metrics import Ceilings
from eval.memory_tests.fork_results import BAYES, ForkMeasured
from train.run.input_error import InputError

TINY = "--trials 2 --lanes 2 --episodes 2 --horizon 12 --hidden 8 --encoder 8 --critic 8"
SMALL = ["--goals", "3", "--episodes", "3", "--horizon", "40", "--workers", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one iteration on FORK-reach-2."""
    folder = tmp_path_factory.mktemp("runs") / "fork"
    arguments = f"--suite FORK-reach-2 --total-steps 48 {TINY} --workers 1 --threads 1"
    assert train.rl2.main([*arguments.split(), "--run", str(folder)]) == 0
    return folder


def test_from_checkpoint_to_tables_and_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run), *SMALL]) == 0
    said = capsys.readouterr().out
    for text in (
        "FORK-reach-2 test: 1 task × 3 trials × 3 attempts × 40 steps", "success by attempt, %",
        "belief of agent", "memory index of agent", BAYES, "perseveration", "win–stay", "told",
    ):  # fmt: skip
        assert text in said
    path = run / "results" / "eval-test-000000000048-goals3-episodes3-horizon40.json"
    assert f"written: {path}" in said
    record = json.loads(path.read_text())
    names = ["agent", "told", "forgetting", "untrained", "random", "scripted"]
    assert list(record["policies"]) == names
    assert record["suite"]["options"] == 2
    assert record["ceilings"]["bayes"] == [0.5, 1.0, 1.0]
    for policy in record["policies"].values():
        assert np.shape(policy["outcomes"]["choices"]) == (3, 3)
        assert policy["outcomes"]["targets"] == record["policies"]["agent"]["outcomes"]["targets"]
    scripted = record["policies"]["scripted"]
    assert [rate[0] for rate in scripted["summary"]["success"][1:]] == [1.0, 1.0]
    assert scripted["summary"]["memory_index"][0] == 1.0
    assert len(record["policies"]["agent"]["belief"]) == 3
    assert record["policies"]["told"]["belief"] == []


def test_defaults_are_those_of_the_suite_and_its_name_stays_short(run: Path) -> None:
    settings = config.parse([str(run)])
    assert (settings.goals, settings.episodes, settings.horizon) == (200, 4, 50)
    fork = config.fork_of(run)
    assert settings.variant(fork) == ""
    assert config.parse([str(run), "--goals", "7"]).variant(fork) == "-goals7"
    assert config.parse([str(run), "--preset", "quick"]).variant(fork) == "-quick"
    assert config.fork_of(run / "nowhere") is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--official"], "--official: Meta-World's own figure is not defined on FORK"),
        (["--repeating"], "--repeating and --attempts do not apply to FORK"),
        (["--episodes", "1"], "--episodes must be at least 2 on FORK"),
        (["--horizon", "5"], "--horizon must be above 5"),
        (["--goals", "401"], "the test split has 400 per task"),
    ],
)
def test_what_fork_does_not_have_is_told(
    run: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate.main([str(run), *options])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert says in said.out + said.err


def test_the_same_scenes_with_other_knobs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a memory learnt to hold, it may have to hold for longer."""
    fewer = ["--no-untrained", "--no-random", "--no-told", "--no-scripted", "--no-forgetting"]
    there = ["--suite", "FORK-reach-2-delay30", "--horizon", "70"]
    assert evaluate.main([str(run), *SMALL[:4], *there, *fewer, "--workers", "1"]) == 0
    assert "FORK-reach-2-delay30 test: 1 task × 3 trials" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        evaluate.main([str(run), "--suite", "FORK-reach-4"])
    assert "has other targets" in capsys.readouterr().err


def test_an_agent_that_acts_on_its_memory_has_an_oracle_if_it_practised(run: Path) -> None:
    settings = config.parse([str(run), *SMALL])
    subject = config.load_subject(settings)
    agent = RL2Agent(AgentConfig(hidden=8, encoder=8, targets=2))
    practised = dataclasses.replace(subject.config, agent=agent.config)
    direct = dataclasses.replace(subject, agent=agent, config=practised)
    never = dataclasses.replace(direct, config=dataclasses.replace(practised, practise=0.0))
    assert "told" in fork_policies(settings, subject)
    assert "told" in fork_policies(settings, direct)
    assert "told" not in fork_policies(settings, never)


def test_an_agent_that_is_told_in_its_input_sees_the_target() -> None:
    """And one that acts on an aim sees it there alone."""
    seen = {}

    class Recording:
        workers = 1

        def run(self, trials, policy, *, lanes):
            seen[policy.aims, policy.told] = {trial.shown for trial in trials}
            raise StopIteration

    suite = make_suite("FORK-reach-2", train_goals=1)
    trials = suite.evaluation_trials("test", goals=2, episodes=2, horizon=8, seed=1)
    for aims, told in ((0, False), (0, True), (2, True)):
        policy = Policy("agent", aims=aims, told=told)
        with pytest.raises(StopIteration):
            measure_fork(policy, trials, pool=Recording())  # type: ignore[arg-type]
    assert seen == {(0, False): {False}, (0, True): {True}, (2, True): {False}}


def test_from_python(run: Path) -> None:
    options = {"goals": 2, "episodes": 2, "horizon": 8, "workers": 1}
    found = api.evaluate_fork(run, preset="quick", **options)
    assert list(found.policies) == ["agent"]
    with pytest.raises(InputError, match="evaluate_fork"):
        api.evaluate(run, preset="quick", **options)


def test_the_belief_is_that_of_the_last_still_step(run: Path) -> None:
    """A memory that is told nothing but noise believes what its belief's bias says."""
    agent = config.load_subject(config.parse([str(run), *SMALL])).agent
    assert agent.belief is not None
    inputs = np.random.default_rng(0).standard_normal((24, 5, agent.input_width))
    inputs = torch.from_numpy(inputs.astype(np.float32))
    found = likeliest(agent, inputs, 12)
    hidden, _ = agent.remember(inputs[:17], agent.initial_state(5))
    assert found.shape == (5, 2)
    np.testing.assert_array_equal(found[:, 1], agent.belief(hidden[16]).argmax(dim=-1))
    with torch.no_grad():
        agent.belief.out.bias.copy_(torch.tensor([-100.0, 100.0]))
    assert (likeliest(agent, inputs, 12) == 1).all()


def test_attempts_in_another_scene_are_left_out(pool: WorkerPool) -> None:
    suite = make_suite("FORK-drawer-interference", train_goals=50)
    trials = suite.evaluation_trials("test", goals=2, episodes=3, horizon=8, seed=1)
    found = measure_fork(Policy("random"), trials, pool=pool)
    assert found.choices.shape == found.targets.shape == (2, 2)
    assert (found.targets >= 0).all()


def test_scenes_are_told_apart() -> None:
    suite = make_suite("FORK-joint", train_goals=50)
    choices, scenes = np.array([[0, 1], [1, 1], [0, 1], [1, 1]]), ("a", "b", "a", "b")
    outcomes = ForkOutcomes(scenes, choices, np.ones((4, 2), int), np.zeros(4, bool))
    found = ForkMeasured.of(outcomes, suite, seed=1, seconds=0.0)
    assert [rate.value for rate in found.scenes["a"].success] == [0, 1]
    assert [rate.value for rate in found.scenes["b"].success] == [1, 1]


def test_the_script_reaches_bayes_ceiling() -> None:
    """Within what 24 trials can tell."""
    suite = make_suite("FORK-reach-4", train_goals=50)
    trials = suite.evaluation_trials("test", goals=24, episodes=4, horizon=40, seed=1)
    found = play_table(suite, trials, seed=1, report=lambda steps: None)
    assert isinstance(found, ForkOutcomes)
    success = (found.choices == found.targets).mean(axis=0)
    assert success[-1] == 1
    np.testing.assert_allclose(success, Ceilings.of(4, 4, 0).bayes, atol=0.3)


def test_exact_indices() -> None:
    exact = Ceilings.of(4, 5, 0)
    assert exact.index(exact.bayes) == pytest.approx(1)
    assert exact.index([exact.memoryless] * 5) == pytest.approx(0)
    assert exact.index(exact.win_stay_lose_shift) == pytest.approx(0.7984, abs=1e-3)
    assert Ceilings.of(4, 5, 0.1).win_stay_lose_shift == ()


def test_an_agent_of_ones_own(tmp_path: Path, monkeypatch, capsys) -> None:
    """The example's table agent passes, with its memory of what was tried."""
    example = Path(__file__).resolve().parents[3] / "examples" / "fork_table_agent.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(example.parent))
    named = ["--agent", "fork_table_agent:load", "--suite", "FORK-reach-2"]
    assert evaluate.main([*named, "--goals", "12", "--workers", "1", "--no-scripted"]) == 0
    assert "memory index of agent: 1.00" in capsys.readouterr().out
    (path,) = Path("runs").rglob("*.json")
    assert path.name.startswith("eval-FORK-reach-2-test-goals12")
    record = json.loads(path.read_text())
    assert list(record["policies"]) == ["agent", "random"]
    with pytest.raises(SystemExit):
        evaluate.main([*named, "--episodes", "1"])
