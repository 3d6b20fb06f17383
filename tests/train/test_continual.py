"""Streams: what is trained on when, what is recorded, and going on exactly where it stopped."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import metaworld
import numpy as np
import pytest
import torch

from agents.input_layout import ACTION_DIM, INPUT_DIM, SLOPES
from envs.metaworld.streams import make_stream
from envs.metaworld.suites import Suite
from envs.pool.pool import Policy
from envs.trials.trial import Trial
from tests.train.test_resume import assert_same_run, lines
from train import continual, loop
from train.algorithms.rollout import Rollout, pad_goals
from train.continual import main
from train.run import checkpoint
from train.run.retention_log import Evaluation
from train.run.state import TrainState, load_agent
from train.run.stream_config import StreamConfig, read_config

TASKS = ["reach-v3", "drawer-close-v3", "push-v3"]
PER_ITERATION = 30  # 3 trials × 2 episodes × 5 steps
TINY = [
    *("--suite", "custom", "--tasks", *TASKS, "--phase-steps", "51", "--train-goals", "6"),
    *("--trials", "3", "--lanes", "1", "--episodes", "2", "--horizon", "5", "--hidden", "8"),
    *("--encoder", "8", "--critic", "8", "--bptt", "4", "--minibatches", "2", "--epochs", "2"),
    *("--device", "cpu", "--checkpoint-every", "60", "--eval-goals", "2", "--eval-episodes", "2"),
    *("--compress-epochs", "2", "--workers", "1"),
]


class NoPool:
    """Stands in for workers where trials are made up."""

    respawned = 0

    def __init__(self, workers: int | None) -> None: ...

    def __enter__(self) -> "NoPool":
        return self

    def __exit__(self, *_: object) -> None: ...


def made_up(pool: Any, policy: Policy, trials: Sequence[Trial], **options: Any) -> Rollout:
    """A rollout that is a function of its trials alone, like a real one but without a simulator."""
    steps, tasks = trials[0].steps, list(options["tasks"])
    rngs = [np.random.default_rng(trial.seed) for trial in trials]

    def columns(*shape: int) -> torch.Tensor:
        drawn = [rng.standard_normal((steps, *shape), dtype=np.float32) for rng in rngs]
        return torch.from_numpy(np.stack(drawn, axis=1))

    return Rollout(
        inputs=columns(INPUT_DIM),
        actions=columns(ACTION_DIM),
        log_probs=columns(),
        rewards=columns(),
        successes=columns() > 1.5,
        usable=torch.ones(len(trials), dtype=torch.bool),
        task_ids=torch.tensor([tasks.index(trial.task) for trial in trials]),
        goals=pad_goals([trial.goal for trial in trials]),
        episodes=trials[0].episodes,
    )


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.run.board._await_new_second", lambda _: None)  # TensorBoard's affair
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of made-up trials on made-up goals: what is tested is the stream, not the physics."""

    def suite(self: StreamConfig, train_goals: int | None = None) -> Suite:
        rng = np.random.default_rng(0)
        goals = {t: tuple(map(tuple, rng.random((6, 6)).tolist())) for t in self.stream().tasks}
        return Suite("custom", self.seed, goals, goals)

    monkeypatch.setattr(StreamConfig, "make_suite", suite)
    monkeypatch.setattr(continual, "WorkerPool", NoPool)
    for module in (continual, loop):
        monkeypatch.setattr(module, "collect", made_up)


def retention(run: str) -> dict[str, Any]:
    return json.loads((Path(run) / "results" / "retention.json").read_bytes())


def check_three_and_three(arm: str, stop_after: Callable[[int], None]) -> None:
    """Interrupted in the middle of the second of three phases; then a boundary is crossed.

    Every array of the checkpoint, every log line and every evaluation are those of the run that
    was not interrupted.
    """
    command = [*TINY, "--arm", arm]
    assert main([*command, "--run", "whole"]) == 0
    stop_after(3)
    assert main([*command, "--run", "parts"]) == 75
    assert checkpoint.load(Path("parts")).step == 3 * PER_ITERATION
    assert [e["step"] for e in retention("parts")["evaluations"]] == [0, 30, 60, 90]
    assert main(["--resume", "parts"]) == 0
    assert_same_run("whole", "parts")
    files = [(Path(run) / "results" / "retention.json").read_bytes() for run in ("whole", "parts")]
    assert files[0] == files[1]
    assert [line["step"] for line in lines("whole")] == [30, 60, 90, 120, 150, 180]


@pytest.mark.parametrize(
    "arm", ["short", "ewc", "l2", "progress-compress", "single", "joint", "hierarchical"]
)
def test_six_iterations_are_three_and_three(no_simulator, stop_after, capfd, arm) -> None:
    check_three_and_three(arm, stop_after)
    said = capfd.readouterr().out
    assert "python -m train.continual --resume parts" in said
    assert f"evaluating all {len(TASKS)} tasks at 0:" in said
    assert f"evaluating all {len(TASKS)} tasks at 30:" in said


def test_so_they_are_in_the_simulator(stop_after, monkeypatch) -> None:
    monkeypatch.setattr(metaworld, "_N_GOALS", 6)
    check_three_and_three("progress-compress", stop_after)


@pytest.fixture
def finished(no_simulator) -> str:
    assert main([*TINY, "--run", "mine"]) == 0
    return "mine"


def test_each_phase_trains_on_its_task_and_all_are_evaluated(finished) -> None:
    for line, task in zip(lines(finished), np.repeat(TASKS, 2), strict=True):
        trained = {n.rsplit("/", 1)[1] for n in line if n.startswith("train/success/")}
        assert trained == {task}
    assert [line["stream/phase"] for line in lines(finished)] == [1, 1, 2, 2, 3, 3]
    assert {f"test/success/{task}" for task in TASKS} <= set(lines(finished)[0])
    record = retention(finished)
    assert record["complete"] is True
    assert record["stream"]["phases"] == TASKS
    assert record["stream"]["phase_steps"] == 60  # 51 in whole iterations
    found = [(e["step"], e["when"], e["phase"]) for e in record["evaluations"]]
    assert found == [
        (0, "untrained", 0), (30, "middle", 1), (60, "end", 1), (90, "middle", 2),
        (120, "end", 2), (150, "middle", 3), (180, "end", 3),
    ]  # fmt: skip
    assert np.array(record["matrix"]["R"]).shape == (4, 3, 2)  # untrained and 3 phases
    ends = [e for e in record["evaluations"] if e["when"] != "middle"]
    expected = np.array([e["success"] for e in ends]).mean(axis=2)
    assert np.array(record["matrix"]["R"]) == pytest.approx(expected)


def test_the_policy_is_not_told_the_task(finished) -> None:
    """The agent is as wide as one for a single task; critic and belief know all tasks at once."""
    saved = checkpoint.load(Path(finished))
    assert saved.tensors["agent"]["encoder.layer.weight"].shape[1] == INPUT_DIM + SLOPES
    assert saved.tensors["critic"]["out.bias"].shape == (3,)
    agent, config = load_agent(saved)
    assert isinstance(config, StreamConfig)
    assert config.stream().tasks == tuple(TASKS)
    assert agent.config.hidden == 8


def test_evaluation_trials_are_the_same_for_all_arms_and_moments(no_simulator, monkeypatch) -> None:
    """Same goals, same exploration noise: what differs is the agent."""
    seen: dict[str, list[list[Any]]] = {}
    original = continual.collect

    def collect(pool, policy, trials, **options):
        seen.setdefault(arm, []).append(list(trials))
        return original(pool, policy, trials, **options)

    monkeypatch.setattr(continual, "collect", collect)
    for arm in ("short", "none"):
        assert main([*TINY, "--arm", arm, "--run", arm]) == 0
    assert len(seen["short"]) == len(seen["none"]) == 7
    first = seen["short"][0]
    assert all(trials == first for arm in seen.values() for trials in arm)
    assert {trial.split for trial in first} == {"test"}


def test_single_starts_each_task_from_the_initial_weights(no_simulator, monkeypatch) -> None:
    starts = []
    original = continual.iterate

    def iterate(pool, config, suite, state: TrainState, **options):
        weights = torch.cat([w.detach().flatten().clone() for w in state.agent.parameters()])
        starts.append((suite.tasks, weights))
        return original(pool, config, suite, state, **options)

    monkeypatch.setattr(continual, "iterate", iterate)
    assert main([*TINY, "--arm", "single", "--cycles", "2", "--run", "alone"]) == 0
    assert [tasks for tasks, _ in starts] == [(t,) for t in np.repeat(TASKS, 2)]  # once is enough
    assert torch.equal(starts[0][1], starts[2][1])
    assert torch.equal(starts[0][1], starts[4][1])
    assert not torch.equal(starts[0][1], starts[1][1])


def test_joint_trains_on_all_tasks_at_once(no_simulator) -> None:
    assert main([*TINY, "--arm", "joint", "--run", "joint"]) == 0
    assert {f"train/success/{task}" for task in TASKS} <= set(lines("joint")[0])
    assert len(lines("joint")) == 6  # the same budget


def test_each_phase_ends_once(no_simulator, monkeypatch) -> None:
    told = []

    class Spy:
        cap, uses_boundaries = 0.0, True

        def loss(self, view):
            return None

        def consolidate(self, agent, rollout, rng):
            told.append("consolidate")
            return {"memory/entries": 1.0}

        def end_phase(self, agent, rollout, rng):
            told.append("end")

        def tensors(self):
            return {}

        def state(self):
            return {}

        def restore(self, tensors, state): ...

    monkeypatch.setattr("train.run.state.make_long_term", lambda *_: Spy())
    assert main([*TINY, "--run", "mine"]) == 0
    assert told == ["consolidate", "consolidate", "end"] * 3
    assert lines("mine")[0]["memory/entries"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--suite", "CW11"], "did you mean CW10"),
        (["--suite", "CW10", "--phase-steps", "0"], "--phase-steps must be at least 1"),
        (["--eval-goals", "51"], "--eval-goals is at most 50"),
        (["--eval-episodes", "0", "--ewc", "-1"], "--ewc must be 0 or more"),
        (["--suite", "custom"], "--tasks reach-v3 push-v3"),
        (["--trials", "7"], "does not divide among 5 tasks"),
    ],
)
def test_bad_input_is_told_and_writes_nothing(arguments, says, capsys, tmp_path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--run", "never"])
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "never").exists()


def test_a_finished_or_foreign_folder_is_refused(finished, capsys) -> None:
    with pytest.raises(SystemExit):
        main([*TINY, "--run", finished])
    assert f"train.continual --resume {finished}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--resume", finished, "--phase-steps", "90"])
    assert "phase_steps" in capsys.readouterr().err


def test_fine_tuning_is_short(no_simulator) -> None:
    assert main([*TINY, "--arm", "fine-tuning", "--run", "mine"]) == 0
    assert retention("mine")["arm"] == "short"
    again = [*TINY, "--arm", "fine-tuning", "--run", "mine", "--resume-or-start"]
    assert main(again) == 0  # the same run, which has come to its end


# ------------------------------------------------------------------------------------ the record


def test_outcomes_are_arranged_by_task_goal_and_episode(make_learner, act) -> None:
    """Trials come goal by goal with the tasks interleaved: column = goal · N + task."""
    rollout = act(make_learner().agent)  # 6 trials, 3 episodes of 7 steps
    rollout.successes[7 + 2, 4] = True  # goal 1 of task 1, episode 2
    rollout.successes[-1, 3] = True  # goal 1 of task 0, last step of episode 3
    rollout.successes[0, 5] = True
    rollout.usable[5] = False
    stream = make_stream("custom", tasks=TASKS[:3], phase_steps=50)
    found = Evaluation.of(100, stream, rollout, goals=2)
    assert found.success.shape == (3, 2, 3)
    assert np.argwhere(found.success).tolist() == [[0, 1, 2], [1, 1, 1]]
    assert np.argwhere(found.last_step_success).tolist() == [[0, 1, 2]]
    assert (found.when, found.phase, found.faulted) == ("end", 2, 1)
    again = Evaluation.from_json(json.loads(json.dumps(found.to_json())))
    assert (again.success == found.success).all()
    assert again.step == 100
    assert found.steps_to_success is not None
    assert again.steps_to_success is not None
    assert (again.steps_to_success == found.steps_to_success).all()
    assert found.steps_to_success[1, 1].tolist() == [7, 3, 7]
    assert found.steps_to_success[2].tolist() == [[7] * 3] * 2  # the faulted one has no success
    assert found.metrics(TASKS)["test/steps_to_success_by_episode/2"] == pytest.approx(7 - 4 / 6)
    older = {n: v for n, v in found.to_json().items() if "_to_" not in n and "_in_" not in n}
    assert Evaluation.from_json(older).share_in_success is None
    assert found.metrics(TASKS)["test/success/reach-v3"] == pytest.approx(0.5)


@pytest.mark.parametrize("into", [[], ["--run", "fork"]])
def test_a_damaged_record_is_told_before_anything_is_written(finished, capsys, into) -> None:
    """It ended the run with code 1, after its configuration or the fork's folder was written."""
    path = Path(finished) / "results" / "retention.json"
    path.write_text("{")
    before = {p: p.stat().st_mtime_ns for p in Path().rglob("*") if p.is_file()}
    with pytest.raises(SystemExit) as stopped:
        main(["--resume", finished, *into])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert f"{path} is damaged" in said
    assert "restore it, or start a new run" in said
    assert {p: p.stat().st_mtime_ns for p in Path().rglob("*") if p.is_file()} == before


def test_configurations_of_both_programs_are_read_back() -> None:
    config = StreamConfig(suite="CW10", arm="ewc")
    assert read_config(json.loads(json.dumps(config.to_json()))) == config
    plain = {k: v for k, v in config.to_json().items() if k in ("suite", "seed")}
    assert type(read_config(plain)).__name__ == "Config"
    with pytest.raises(ValueError, match=r"resumed by python -m train\.rl2"):
        StreamConfig.from_json(plain)
