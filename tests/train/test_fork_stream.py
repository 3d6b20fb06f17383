"""A stream of FORK trials in the simulator: what is trained on and recorded, and what is probed."""

import json
from pathlib import Path

import numpy as np
import pytest

from envs.memory_tests.fork_streams import PAIRS, of_part, stream_settings
from envs.metaworld.streams import evaluation_trials, make_stream, only
from eval import extinction
from train import rl2
from train.continual import main
from train.run.origin import parse
from train.run.retention_log import Evaluation
from train.run.stream_config import StreamConfig

SHAPE = [
    *("--train-goals", "4", "--trials", "2", "--lanes", "2", "--episodes", "2", "--horizon", "12"),
    *("--hidden", "8", "--encoder", "8", "--critic", "8", "--bptt", "24", "--minibatches", "1"),
    *("--epochs", "1", "--device", "cpu", "--workers", "1", "--checkpoint-every", "1000"),
]
STREAM = ["--cycles", "1", "--phase-steps", "48", "--eval-goals", "2", "--eval-episodes", "2"]
TINY = [
    *("--suite", "STREAM-FORK-reach", "--tasks", "sites-1-2", "sites-3-4", *SHAPE, *STREAM),
    *("--arm", "cascade+replay", "--replay-from", "all"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stream") / "run"
    assert main([*TINY, "--run", str(folder)]) == 0
    return folder


def test_choices_and_targets_are_recorded_by_part(finished) -> None:
    record = json.loads((finished / "results" / "retention.json").read_bytes())
    assert record["stream"]["tasks"] == ["sites-1-2", "sites-3-4"]
    assert [point["when"] for point in record["evaluations"]] == ["untrained", "end", "end"]
    for point in record["evaluations"]:
        targets, choices = np.array(point["targets"]), np.array(point["choices"])
        assert targets.shape == choices.shape == (2, 2, 2)
        for part, pair in zip(targets, PAIRS.values(), strict=False):
            assert set(part.ravel().tolist()) <= set(pair)
        assert np.array_equal(np.array(point["success"], bool), choices == targets)
        assert np.array(point["told"]).shape == (2, 2)
    restored = Evaluation.from_json(record["evaluations"][1])
    assert restored.to_json() == record["evaluations"][1]


@pytest.mark.parametrize("acting", [["--act", "direct"], ["--practise", "0"]])
def test_the_skill_is_measured_of_whoever_can_be_told(tmp_path: Path, acting: list[str]) -> None:
    """An agent that acts on its memory, in its input; one that never practised, as its aim."""
    assert main([*TINY, *acting, "--arm", "short", "--run", str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run" / "results" / "retention.json").read_bytes())
    assert all(np.array(point["told"]).shape == (2, 2) for point in record["evaluations"])


def test_what_memory_holds_is_logged_with_the_belief(finished) -> None:
    last = json.loads((finished / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["memory/trials"] == 4
    assert last["memory/kl_2"] > 0
    assert {"test/committed", "test/told"} <= last.keys()


def test_every_policy_is_probed(finished, capsys) -> None:
    assert extinction.main([str(finished), "--trials", "2", "--attempts", "3"]) == 0
    assert "θ3" in capsys.readouterr().out
    (path,) = (finished / "results").glob("extinction-*.json")
    found = json.loads(path.read_bytes())
    assert found["recency"] == [1, 1, 0, 0, 2, 2, 2, 2]
    assert list(found["levels"]) == ["1", "2", "3"]
    assert np.array(found["levels"]["3"]["order"]).shape == (2, 8)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:  # it would replace these
        extinction.main([str(finished), "--trials", "3", "--attempts", "3", "--level", "1"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "was made with trials 2, level []: keep the new one with --out FILE" in said
    assert json.loads(path.read_bytes()) == found


def test_eras_go_on_with_a_trained_agent(tmp_path) -> None:
    """Of an arm with more in it: its slow policies and its episodic memory begin with the agent."""
    trained, eras = str(tmp_path / "trained"), tmp_path / "eras"
    of_agent = ["--suite", "FORK-reach-8", *SHAPE, "--total-steps", "48", "--evaluate-every", "0"]
    assert rl2.main([*of_agent, "--run", trained]) == 0
    parts = list(PAIRS)[1:]
    command = ["--suite", "ERAS", "--tasks", *parts, "--init-from", trained, *SHAPE, *STREAM]
    command += ["--arm", "hierarchical"]
    assert main([*command, "--run", str(eras)]) == 0
    record = json.loads((eras / "results" / "retention.json").read_bytes())
    assert record["complete"]
    assert record["stream"]["phases"] == parts


def test_the_probe_refuses_what_has_no_eras(finished, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        extinction.main([str(finished), "--trials", "0", "--level", "1", "1"])
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert "--trials must be from 1" in told
    assert "--level names policies from 1 on, each once" in told


def test_a_phase_trains_on_its_part_alone_and_all_are_evaluated() -> None:
    config, _ = parse(["--suite", "STREAM-FORK-reach"], StreamConfig)
    stream, suite = config.stream(), config.make_suite(6)
    assert (config.targets, config.episodes, config.eval_episodes) == (8, 7, 7)
    trials = only(suite, "sites-5-6").sample_trials(12, episodes=3, horizon=9, iteration=0, seed=1)
    assert {trial.fork.targets[0] for trial in trials} == {4, 5}
    found = evaluation_trials(stream, suite, goals=20, episodes=3, horizon=9, seed=1)
    drawn = [{trial.fork.targets[0] for trial in found[part::3]} for part in range(3)]
    assert drawn == [{0, 1}, {2, 3}, {4, 5}]
    assert len({trial.seed for trial in found}) == 60


def test_scenes_can_be_chosen() -> None:
    config, _ = parse(["--suite", "stream-fork", "--tasks", "window", "Faucet"], StreamConfig)
    assert config.validate(2) == []
    assert config.stream().tasks == ("window", "faucet")
    fork = stream_settings("STREAM-FORK", config.tasks)
    assert fork is not None
    assert fork.tasks == ("window-open-v3", "faucet-open-v3")
    assert of_part(fork, "faucet").tasks == ("faucet-open-v3",)
    assert config.trials_for(2) * config.episodes * config.horizon == 10_400


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["STREAM-FORK", "--tasks", "window"], "two parts or more"),
        (["STREAM-FORK", "--tasks", "window", "winndow"], "did you mean window?"),
        (["STREAM-FORK-reach", "--tasks", "drawer", "window"], "unknown task 'drawer'"),
        (["ERAS"], "add --init-from"),
        (["CL5x2", "--tasks", "window", "drawer"], "unknown task 'window'"),
    ],
)
def test_wrong_parts_are_told(line: list[str], told: str) -> None:
    config, _ = parse(["--suite", *line], StreamConfig)
    assert any(told in problem for problem in config.validate())


def test_the_same_part_comes_again() -> None:
    assert [phase.task for phase in make_stream("ERAS").phases] == [*PAIRS, *PAIRS]
