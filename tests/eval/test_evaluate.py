"""The evaluator's command line, from checkpoint to table and JSON."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train.rl2
from envs.metaworld.suites import make_suite
from envs.pool.pool import WorkerError, WorkerPool
from eval import evaluate
from eval.goals import config, measure
from eval.goals.measure import LANES
from eval.goals.metrics import Outcomes, summarise
from eval.official import meta_evaluation
from eval.reporting.runs import load_run
from tests.lent import LentPool
from train.collect import acting_policy, collect, success_metrics
from train.run import checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two iterations of 40 steps, with two checkpoints, the first of them the best."""
    folder = tmp_path_factory.mktemp("runs") / "reach"
    arguments = "--suite ML1 --task reach-v3 --total-steps 80 --trials 2 --lanes 2"
    arguments += " --episodes 2 --horizon 10"
    arguments += " --checkpoint-every 40 --hidden 8 --encoder 8 --critic 8 --workers 1 --threads 1"
    assert train.rl2.main([*arguments.split(), "--run", str(folder)]) == 0
    checkpoint.mark_best(folder / "checkpoints", 40, 0.5)
    return folder


SIZE = "-goals2-episodes2-horizon10"
SMALL = ["--goals", "2", "--episodes", "2", "--horizon", "10", "--workers", "1"]


def test_from_checkpoint_to_table_and_json(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With two of Meta-World's own environments in place of ten."""
    monkeypatch.setitem(meta_evaluation._BATCH, "ML1", (2, 50))
    out = tmp_path / "new" / "result.json"
    assert evaluate.main([str(run), *SMALL, "--official-rounds", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for text in (
        "success ep. 1, %", "last step ep. 2, %", "gain, points", "random", "official *",
        "steps to success ep. 2", "steps in success ep. 2, %", "last − first",
    ):  # fmt: skip
        assert text in said
    assert "counts the first 3 episodes" in " ".join(said.split())
    record = json.loads(out.read_text())
    assert record["checkpoint"]["step"] == 80
    assert record["checkpoint"]["environment"]["metaworld"] == "3.1.1"
    assert record["config"]["task"] == "reach-v3"
    assert record["settings"]["lanes"] == LANES
    assert [len(goals) for goals in record["suite"]["goals"].values()] == [2]
    names = ["stochastic", "repeating", "deterministic", "untrained", "random", "scripted"]
    assert list(record["policies"]) == names
    for policy in record["policies"].values():
        outcomes = Outcomes.from_json(policy["outcomes"])
        assert outcomes.tasks == ("reach-v3",)
        assert outcomes.returns.shape == outcomes.success.shape == (1, 2, 2)
        assert summarise(outcomes, seed=1).to_json() == policy["summary"]
    returns = [record["policies"][name]["outcomes"]["returns"] for name in names]
    assert len({json.dumps(values) for values in returns}) == len(names)
    assert record["official_repeating"]["plan"] == record["official"]["plan"]
    figure = record["official"]
    assert figure["plan"] == {"rounds": 1, "environments": 2, "goals": 50, "horizon": 10}
    assert "over-reports" in figure["warning"]


def test_a_belief_over_places_is_measured_beside_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told rows, no repeating ones, and the belief at the start of each episode."""
    monkeypatch.setitem(meta_evaluation._BATCH, "ML1", (2, 50))
    folder, out = tmp_path / "reach", tmp_path / "result.json"
    arguments = "--suite ML1 --task reach-v3 --act posterior --total-steps 80 --trials 4 --lanes 4"
    arguments += " --episodes 2 --horizon 10 --hidden 8 --encoder 8 --critic 8 --workers 1"
    assert train.rl2.main([*arguments.split(), "--run", str(folder)]) == 0
    assert evaluate.main([str(folder), *SMALL, "--official-rounds", "1", "--out", str(out)]) == 0
    assert "drawn place off by, cm" in capsys.readouterr().out
    record = json.loads(out.read_text())
    names = ["stochastic", "told", "deterministic", "untrained", "random", "scripted"]
    assert list(record["policies"]) == names
    assert record["official"] is not None
    assert record["official_repeating"] is None
    found = record["policies"]["stochastic"]["believed"]
    assert np.shape(found["aim_error"]) == np.shape(found["place_error"]) == (1, 2, 2)
    assert (np.array(found["aim_error"]) > 0).all()
    assert "believed" not in record["policies"]["told"]
    with pytest.raises(SystemExit):
        evaluate.main([str(folder), *SMALL, "--attempts", "1"])
    assert "--attempts is for agents of --act direct" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "variant"),
    [
        ([], ""),
        (["--preset", "quick", "--workers", "1", "--which", "best"], "-quick"),
        (["--goals", "20", "--no-official"], "-goals20-no-official"),
        (["--preset", "quick", "--level", "2", "--official"], "-level2-quick-official"),
        (["--attempts", "3", "--seed", "2"], "-attempts3-seed2"),
        (["--preset", "quick", "--goals", "40"], "-quick-goals40"),
    ],
)
def test_a_result_is_named_by_what_was_measured(options: list[str], variant: str) -> None:
    assert config.parse(["run", *options]).variant() == variant


def test_results_lie_in_the_run_and_smaller_ones_replace_no_full_ones(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = run / "results" / "eval-test-000000000080.json"
    full.parent.mkdir()
    full.write_text("kept")
    newest = run / "results" / f"eval-test-000000000080-quick{SIZE}.json"
    assert evaluate.main([str(run), "--preset", "quick", *SMALL]) == 0
    assert f"written: {newest}" in capsys.readouterr().out
    assert full.read_text() == "kept"
    chosen = [str(run), "--preset", "quick", "--split", "train", "--which", "best", *SMALL]
    assert evaluate.main(chosen) == 0
    best = json.loads((run / "results" / f"eval-train-000000000040-quick{SIZE}.json").read_text())
    assert best["checkpoint"]["step"] == 40
    test = json.loads(newest.read_text())
    assert test["official"] is None
    assert list(test["policies"]) == ["stochastic", "repeating"]
    held_out = test["suite"]["goals"]["reach-v3"]
    assert not {tuple(g) for g in held_out} & {tuple(g) for g in best["suite"]["goals"]["reach-v3"]}
    assert {p.name for p in full.parent.iterdir()} == {
        full.name, newest.name, f"eval-train-000000000040-quick{SIZE}.json"
    }  # fmt: skip


def test_measuring_agrees_with_training_metrics_and_any_number_of_workers(run: Path) -> None:
    subject = config.load_subject(config.parse([str(run), *SMALL]))
    policy, suite = acting_policy(subject.agent), subject.suite
    how: dict[str, Any] = {"goals": 6, "episodes": 2, "horizon": 30, "seed": 3}
    with LentPool(1) as alone, LentPool(2) as two:
        outcomes = measure.measure(policy, suite, "test", pool=alone, **how)
        again = measure.measure(policy, suite, "test", pool=two, **how)
        trials = suite.evaluation_trials("test", **how)
        rollout = collect(alone, policy, trials, tasks=suite.tasks, lanes=LANES)
    np.testing.assert_array_equal(outcomes.returns, again.returns)
    np.testing.assert_array_equal(outcomes.success, again.success)
    theirs = success_metrics(rollout, suite.tasks, "test")
    ours = summarise(outcomes).mean
    assert ours.returns[-1].value == pytest.approx(theirs["test/return"], rel=1e-5)
    for episode in range(2):
        rate = theirs[f"test/success_by_episode/{episode + 1}"]
        assert ours.success[episode].value == pytest.approx(rate)
        for name in ("steps_to_success", "share_in_success"):
            found = getattr(ours, name)[episode].value
            assert found == pytest.approx(theirs[f"test/{name}_by_episode/{episode + 1}"])


def test_a_memoryless_agent_gains_nothing_and_one_with_memory_does(pool: WorkerPool) -> None:
    """The agents in results/ on unseen reach goals: the same start again, twice."""
    suite, gains = make_suite("ML1", task="reach-v3", seed=1), []
    for source in ("ml10/none/seed1", "ml1-reach/short/seed1"):
        agent = config.load_subject(config.parse([f"results/{source}"])).agent
        outcomes = measure.measure(
            acting_policy(agent), suite, "test",
            goals=16, episodes=2, horizon=100, seed=1, pool=pool,
        )  # fmt: skip
        gains.append(summarise(outcomes).mean.steps_gain)
    none, memory = gains
    assert none.low < 0 < none.high
    assert memory.high < 0


def test_a_run_that_cannot_take_results_is_still_evaluated(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "000000000080"
    bare.symlink_to(run / "checkpoints" / "000000000080")
    assert evaluate.main([str(bare), "--preset", "quick", *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "is in no folder of its run: keep the result with --out FILE" in shown
    assert "success ep. 1, %" in shown
    assert list(tmp_path.iterdir()) == [bare]


def test_the_untrained_floor_is_the_runs_own_start(run: Path) -> None:
    """Its weights hung on how many threads the evaluating process happened to have."""
    settings = config.parse([str(run), *SMALL])
    subject, found = config.load_subject(settings), []
    for threads in (2, 1):
        torch.set_num_threads(threads)
        found.append(evaluate.policies(settings, subject)["untrained"].weights)
        assert torch.get_num_threads() == threads, "the caller's own number is left as it was"
    for name, weight in found[0].items():
        np.testing.assert_array_equal(weight, found[1][name])


def copy_of(run: Path, folder: Path, **changes: Any) -> Path:
    saved = checkpoint.load(run)
    state: dict[str, Any] = {"tensors": saved.tensors, "state": {}, "config": saved.config}
    state["config"] = {**saved.config, **changes.pop("config", {})}
    checkpoint.save(folder / "checkpoints", 1, **{**state, **changes})
    return folder


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines on stderr of a command that must end with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        evaluate.main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert captured.out == ""
    return captured.err.splitlines()


def test_every_bad_number_is_named_on_its_own_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = "--goals 51 --episodes 0 --horizon 501 --seed -1 --workers 0 --official-rounds 0"
    lines = refused([str(run), *bad.split(), "--out", str(tmp_path)], capsys)
    assert lines == [
        "error: --episodes must be at least 1, not 0",
        "error: --official-rounds must be at least 1, not 0",
        "error: --workers must be from 1 to 1024, not 0",
        "error: --horizon is at most 500, Meta-World's own limit",
        "error: --seed must be 0 or more, not -1",
        f"error: --out {tmp_path} is a folder: name a file in it, e.g. result.json",
        "error: --goals 51: the test split has 50 per task",
    ]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    lines = refused([str(run), "--out", str(tmp_path / "file" / "x"), "--episodes", "101"], capsys)
    assert "--episodes is at most 100" in lines[0]
    assert "cannot be written: name a file elsewhere" in lines[1]
    lines = refused([str(run), "--episodes", "3", "--attempts", "4"], capsys)
    assert lines == ["error: --attempts is at most --episodes, 3, not 4"]
    lines = refused([str(run), "--attempts", "0"], capsys)
    assert lines == ["error: --attempts must be at least 1, not 0"]


@pytest.mark.parametrize("kind", ["absent", "damaged", "foreign", "other", "senseless"])
def test_unusable_checkpoints_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder = tmp_path / "run"
    if kind == "damaged":
        copy_of(run, folder)
        weights = folder / "checkpoints" / "000000000001" / "agent.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif kind == "foreign":
        checkpoint.save(folder / "checkpoints", 1, tensors={}, state={}, config={"lr": 1})
    elif kind == "other":
        copy_of(run, folder, tensors={"agent": {"w": torch.zeros(2)}})
    elif kind == "senseless":
        copy_of(run, folder, config={"suite": "ML11"})
    before = sorted(tmp_path.rglob("*"))
    lines = refused([str(folder), "--goals", "0"], capsys)
    assert lines[0] == "error: --goals must be at least 1, not 0"  # and the rest is said as well
    expected = {
        "absent": f"no checkpoint at {folder}",
        "damaged": "SHA-256 differs",
        "foreign": "config.json does not fit its configuration: unknown field lr",
        "other": "agent.safetensors does not fit its configuration",
        "senseless": "unknown suite 'ML11': did you mean",
    }
    assert expected[kind] in "\n".join(lines[1:])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_split_or_a_best_checkpoint_that_is_not_there(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(run, tmp_path / "mt", config={"suite": "MT10", "task": None})
    assert refused([str(folder), "--split", "test"], capsys) == [
        "error: suite MT10 has no split 'test': use --split train"
    ]
    line, hint = refused([str(folder), "--which", "best"], capsys)
    assert "names no best checkpoint" in line
    assert "--which newest" in line
    assert hint == "name a run folder or a checkpoint that this Strata has written"
    assert refused(["--split", "tset"], capsys)


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (WorkerError("worker 1 failed at task reach-v3"), 1, "error: worker 1 failed"),
        (KeyboardInterrupt(), 75, "interrupted: nothing was written"),
    ],
)
def test_failures_end_without_a_traceback(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(WorkerPool, "run", fail)
    assert evaluate.main([str(run), "--preset", "quick", *SMALL]) == code
    assert message in capsys.readouterr().err


def test_presets_are_defaults_that_single_options_override() -> None:
    quick = config.parse(["RUN", "--preset", "quick", "--goals", "3", "--official"])
    assert (quick.goals, quick.episodes, quick.official, quick.random) == (3, 3, True, False)
    full = config.parse(["RUN", "--no-random"])
    assert (full.goals, full.episodes, full.official, full.random) == (40, 10, True, False)


@pytest.mark.parametrize(
    ("options", "attempts"),
    [("", 5), ("--episodes 3", 2), ("--episodes 1", 0), ("--attempts 7", 7), ("--no-repeating", 0)],
)
def test_half_of_the_episodes_are_attempts(options: str, attempts: int) -> None:
    """Of one episode nothing can be repeated."""
    assert config.parse(["RUN", *options.split()]).attempted == attempts


def test_a_repeating_agent_ends_with_its_best_attempt(run: Path) -> None:
    """And all that is measured of its first attempt is what is measured of the plain agent's."""
    settings = config.parse([str(run), *SMALL, "--episodes", "4", "--preset", "quick"])
    measured = evaluate.evaluate(settings, config.load_subject(settings)).policies
    returns = measured["repeating"].outcomes.returns
    assert returns[..., 0].tolist() == measured["stochastic"].outcomes.returns[..., 0].tolist()
    best = returns[..., :2].max(axis=-1)
    assert returns[..., 2].tolist() == returns[..., 3].tolist() == best.tolist()
    assert (returns[..., 0] != returns[..., 1]).all()


@pytest.mark.parametrize(
    ("options", "label", "tasks"),
    [
        (["--task", "Push-v3"], "-on-ML1-push-v3", ["push-v3"]),
        (
            ["--tasks", "push-v3", "reach-v3"],
            "-on-custom-push-v3+reach-v3",
            ["push-v3", "reach-v3"],
        ),
        (["--suite", "ml1", "--task", "door-close-v3"], "-on-ML1-door-close-v3", ["door-close-v3"]),
    ],
)
def test_an_agent_is_measured_on_other_tasks(
    run: Path, options: list[str], label: str, tasks: list[str] | None
) -> None:
    """With goals of the run's own seed, in a file of its own that no report takes for the run's."""
    settings = config.parse([str(run), *options, "--goals", "3"])
    subject = config.load_subject(settings)
    assert list(subject.suite.split("test")) == (tasks or options[1:])
    assert subject.suite.seed == subject.config.seed
    path = evaluate.result_path(settings, subject)
    assert path == run / "results" / f"eval-test-000000000080{label}-goals3.json"


def test_results_of_other_tasks_are_not_the_runs_in_a_report(run: Path, tmp_path: Path) -> None:
    shared, run = run, tmp_path / "own"
    shutil.copytree(shared, run, ignore=shutil.ignore_patterns("results"))
    argv = [str(run), "--preset", "quick", *SMALL, "--task", "push-v3"]
    assert evaluate.main(argv) == 0
    found = list((run / "results").glob("*-on-ML1-push-v3-*.json"))
    assert len(found) == 1
    assert list(json.loads(found[0].read_text())["suite"]["goals"]) == ["push-v3"]
    assert found[0].name not in load_run(run).evaluations


def test_tasks_that_cannot_be_measured_are_told(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, says in (
        (["--suite", "ML11"], "unknown suite 'ML11'"),
        (["--task", "rech-v3"], "did you mean reach-v3"),
        (["--suite", "ML1"], "suite ML1 needs one task"),
        (["--suite", "FORK-reach-2"], "FORK is for runs that were trained on it"),
    ):
        assert says in " ".join(refused([str(run), *options], capsys))
