"""An agent on RECALL from the command line: measures, lesions, reinstatement and the report."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import train.rl2
from envs.memory_tests.recall import ceiling
from envs.metaworld.suites import make_suite
from eval import api, curves, evaluate, report
from eval.goals.config import load_subject, parse
from eval.memory_tests.recall_evaluation import recall_policies
from eval.memory_tests.recall_measure import RecallOutcomes, shuffled
from eval.memory_tests.recall_metrics import summarise_recall
from eval.memory_tests.recall_results import by_row

TINY = "--hidden 8 --encoder 8 --critic 8 --minibatches 2 --epochs 1 --workers 1 --threads 1"
SUITE = "RECALL-code-4-contexts2"
SMALL = ["--goals", "2", "--workers", "1"]


def trained(folder: Path, suite: str, *options: str) -> Path:
    arguments = f"--suite {suite} --horizon 14 --train-goals 50 {TINY} --total-steps 1"
    assert train.rl2.main([*arguments.split(), *options, "--run", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one iteration of arm episodic."""
    folder = tmp_path_factory.mktemp("runs") / "recall"
    return trained(folder, SUITE, "--arm", "episodic", "--trials", "4")


def test_from_checkpoint_to_tables_json_and_report(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = ["--no-untrained", "--no-random", "--no-told", "--horizon", "45"]
    assert evaluate.main([str(run), *SMALL, *fewer]) == 0
    said = capsys.readouterr().out
    for text in (
        "2 lifetimes × 4 exposures × 2 contexts × 2 attempts × 45 steps", "shuffled", "met last",
        "share of the ceiling's gain", "store and memory (exact)",
    ):  # fmt: skip
        assert text in said
    (path,) = (run / "results").glob("*.json")
    record = json.loads(path.read_text())
    assert list(record["policies"]) == ["agent", "shuffled", "another", "off", "scripted"]
    for policy in record["policies"].values():
        assert np.shape(policy["outcomes"]["choices"]) == (16, 2)
        assert len(policy["summary"]["first"]) == 4
    scripted = record["policies"]["scripted"]["summary"]
    assert [rate[0] for rate in scripted["first"][2:]] == [1.0, 1.0]
    assert record["ceilings"]["store and memory (exact)"] == [0.25, 0.75, 1.0, 1.0]
    assert report.main([str(run), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| episodic, shuffled |" in text
    assert "0.25 | 0.75 | 1.00 | 1.00 | 0.50 |" in text
    assert curves.main([str(run), "--out", str(tmp_path / "curves.png")]) == 0


def test_a_fork_agent_is_given_a_store(tmp_path: Path) -> None:
    """Raw reinstatement needs no training on RECALL; a run with other targets is refused."""
    fork = trained(tmp_path / "fork", "FORK-reach-4", "--trials", "2", "--episodes", "2")
    settings = parse([str(fork), "--suite", SUITE, *SMALL, "--preset", "quick"])
    subject = load_subject(settings)
    assert list(recall_policies(settings, subject)) == ["agent", "reinstating"]
    found = api.evaluate_recall(fork, preset="quick", suite=SUITE, goals=2, horizon=14, workers=1)
    assert found.policies["reinstating"].summary.recall_index.value <= 1
    other = trained(tmp_path / "other", "FORK-reach-2", "--trials", "2", "--episodes", "2")
    with pytest.raises(SystemExit):
        evaluate.main([str(other), "--suite", SUITE])


def test_each_slot_reads_what_it_wrote_round_by_round(run: Path) -> None:
    """What is evaluated twice is equal to the bit, and a store without a reader changes nothing."""
    options = {"preset": "quick", "goals": 2, "horizon": 14, "workers": 1, "lesions": True}
    one, two = (api.evaluate_recall(run, **options) for _ in range(2))
    for name, found in one.policies.items():
        np.testing.assert_array_equal(found.outcomes.choices, two.policies[name].outcomes.choices)
    firsts = [
        {n: p.outcomes.believed for n, p in one.policies.items() if p.outcomes.believed is not None}
    ][0]
    assert set(firsts) >= {"agent", "shuffled", "another", "off"}
    np.testing.assert_array_equal(firsts["agent"][:4], firsts["off"][:4])


def test_values_are_dealt_to_other_contexts() -> None:
    store = torch.zeros(1, 5, 4)
    store[0, :, 1] = torch.arange(5.0)  # the value; the cue is the first number
    store[0, :, -1] = torch.tensor([2.0, 2, 1, 1, 0])
    found = shuffled(store, 1)
    assert found[0, :, 1].tolist() == [1, 0, 3, 2, 4]
    assert torch.equal(found[..., [0, 2, 3]][..., [0, 2]], store[..., [0, 3]])


def outcomes(first: list[bool], exposures: list[int], lags: list[int]) -> RecallOutcomes:
    count = len(first)
    targets = np.zeros((count, 2), int)
    choices = np.stack((np.where(first, 0, 1), np.zeros(count, int)), axis=1)
    return RecallOutcomes(
        np.zeros(count, int), np.array(exposures), np.array(lags), choices, targets,
        np.zeros(count, bool), choices,
    )  # fmt: skip


def test_exact_measures() -> None:
    found = outcomes([False, True, True, True], [1, 1, 2, 2], [0, 0, 1, 3])
    summary = summarise_recall(found, 4)
    assert [rate.value for rate in summary.first] == [0.5, 1.0]
    assert summary.gain.value == 0.5
    assert summary.recall_index.value == pytest.approx((1 - 0.25) / (0.75 - 0.25))
    assert [rate.value for rate in summary.second] == [1.0, 1.0]
    lags = [rate.value for rate in summary.by_lag]
    assert lags[0] == lags[2] == 1.0
    assert lags[1] != lags[1], "nothing was met again after two trials"
    assert [rate.value for rate in summary.belief] == [0.5, 1.0]
    assert ceiling(4, 2, 2)[1, 0] == 0.75


def test_meetings_of_a_flat_trial_are_told_apart() -> None:
    suite = make_suite(f"{SUITE}-flat", train_goals=50)
    trials = suite.lifetime_rounds("test", 3, episodes=16, horizon=14, seed=1)[0]
    choices = np.arange(48).reshape(3, 16)
    found = RecallOutcomes.of(trials, choices, np.array([False, True, False]), None)
    assert found.choices.shape == (24, 2)
    assert found.exposures[:8].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert found.choices[8].tolist() == [16, 17]
    assert found.faults[8:16].all()
    assert not found.faults[:8].any()


def test_many_trials_between_two_meetings_are_rows() -> None:
    """24 contexts have up to 46: as columns of a terminal none could be read."""
    table = by_row({"agent": ["1"] * 46, "off": ["2"] * 40})
    assert list(table) == ["trials", "agent", "off"]
    assert table["trials"][-1] == "46"
    assert table["off"][-7:] == ["2", *["–"] * 6]
