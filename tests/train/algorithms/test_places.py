"""Training on a belief over (part, place): practice, what is taught, and what is refused."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from agents.acting.place_aims import CENTRE, UNIT, PlacePlan, aim_at
from agents.input_layout import AIM, CUE
from envs.metaworld.suites import make_suite
from envs.metaworld.task_env import TaskEnv
from envs.pool.pool import WorkerPool
from envs.trials.practice import Proposal
from envs.trials.trial import TrialRunner
from train.algorithms.ppo import make_ppo
from train.collect import collect, practice_metrics, practising
from train.run.origin import parse
from train.run.stream_config import StreamConfig

LINE = ["--suite", "ML1", "--task", "reach-v3", "--act", "posterior", "--device", "cpu"]


@pytest.fixture(scope="module")
def learnt():
    """A learner after one update, its policy before, what it learnt from, and the trials."""
    torch.manual_seed(1)
    config, _ = parse([*LINE, "--episodes", "2", "--horizon", "12", "--hidden", "16"])
    suite = make_suite("ML1", task="reach-v3", train_goals=4)
    learner = make_ppo(config, suite)
    trials = suite.sample_trials(16, episodes=2, horizon=12, iteration=0, seed=1)
    trials = practising(trials, config.practise)
    with WorkerPool(1) as pool:
        rollout = collect(pool, learner.policy(), trials, tasks=suite.tasks, lanes=8)
        told = dataclasses.replace(learner.policy(), told=True)
        shown = collect(pool, told, trials, tasks=suite.tasks, lanes=8)
    inputs = rollout.inputs
    hidden = learner.agent.remember(inputs, learner.agent.initial_state(16))[0].detach()
    scores = learner.agent.belief(hidden[::12]).detach().numpy()
    metrics = learner.update(rollout, np.random.default_rng(0))
    return learner, rollout, trials, metrics, scores, shown


def test_half_of_the_trials_practise_with_what_the_task_asks(learnt) -> None:
    _, rollout, trials, _, _, shown = learnt
    assert 2 < sum(trial.practise for trial in trials) < 14
    hand, places = (
        rollout.true_aims[:, 0],
        UNIT * rollout.true_aims[:, 1:] + torch.from_numpy(CENTRE),
    )
    assert (hand == 1).all()
    goals = torch.tensor([trial.goal[3:] for trial in trials])
    apart = (places - goals).norm(dim=1)  # the wrist is seen, and the fingers are measured
    assert torch.allclose(apart, torch.tensor(0.045).double(), atol=1e-3)
    practise = ~rollout.own
    assert (rollout.inputs[:, practise, AIM] == rollout.true_aims[practise]).all()
    assert (shown.inputs[..., AIM] == rollout.true_aims).all()


def test_the_truth_never_enters_what_an_agent_sees_of_its_own_trials(learnt) -> None:
    """Its aims are those that its belief and the trial's seed give, and no goal is shown."""
    _, rollout, trials, _, scores, _ = learnt
    assert (rollout.inputs[..., CUE] == 0).all()
    for column in np.flatnonzero(rollout.own.numpy()):
        for episode in range(2):
            expected = PlacePlan((trials[column].seed,)).aim(scores[episode, column], episode)
            aim = rollout.inputs[episode * 12, column, AIM].numpy()
            assert aim == pytest.approx(expected, abs=1e-3)


def test_the_learner_thinks_as_the_workers_acted_and_says_what_was_believed(learnt) -> None:
    _, _, _, metrics, _, _ = learnt
    assert metrics["acting_error"] < 1e-4
    assert metrics["first_ratio_error"] < 1e-5
    assert math.isfinite(metrics["belief_loss"])
    names = ("part_right", "place_error", "aim_error")
    assert {f"{name}/{e}" for name in names for e in (1, 2)} <= metrics.keys()


def test_practice_teaches_no_belief_and_is_told_apart(learnt) -> None:
    _, rollout, _, _, _, _ = learnt
    truth, counts = rollout.taught()
    assert truth.shape == (24, 16, 4)
    assert (counts[::12, rollout.own] == 13).all()  # where it is read
    assert counts[:, rollout.own].sum() == 2 * 24 * rollout.own.sum()
    assert (counts[:, ~rollout.own] == 0).all()
    made_up = dataclasses.replace(rollout, successes=(~rollout.own).expand(24, -1))
    assert practice_metrics(made_up) == {"told/success": 1.0, "told/last_step_success": 1.0}


def test_a_proposal_asks_for_what_the_agent_sees() -> None:
    """Where an object is seen beside its place, its target is, too."""
    suite = make_suite("ML1", task="push-v3", train_goals=1)
    [trial] = suite.sample_trials(1, episodes=1, horizon=5, iteration=0, seed=1)
    proposal = Proposal("object", (0.2, 0.5, 0.5), 2.0, 5.0, shift=(0.03, 0.0, -0.01))
    runner = TrialRunner("push-v3")
    runner.begin(trial)
    assert runner.true_aim() == pytest.approx(aim_at(False, runner.env.target))
    runner.begin(dataclasses.replace(trial, proposal=proposal))
    assert runner.true_aim() == pytest.approx(aim_at(False, runner.target + proposal.shift))
    runner.begin(dataclasses.replace(trial, proposal=dataclasses.replace(proposal, part="hand")))
    assert runner.true_aim() == pytest.approx(aim_at(True, runner.target))
    runner.close()


def test_asking_for_the_part_changes_nothing() -> None:
    """The reward of bin-picking-v3 notes where the object was when it was first asked."""
    goal = np.array(make_suite("ML1", task="bin-picking-v3", train_goals=1).train["bin-picking-v3"])
    rewards = []
    for asked in (False, True):
        env = TaskEnv("bin-picking-v3")
        env.set_goal(goal[0])
        env.reset()
        if asked:
            assert not env.moves_hand
        rewards.append([env.step(np.full(4, 0.5, np.float32)).reward for _ in range(5)])
        env.close()
    assert rewards[0] == rewards[1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--arm", "cascade"], "keeps no belief over places"),
        (["--belief", "0"], "learns nothing with --belief 0"),
        (["--components", "0"], "--components must be from 1 to 64"),
    ],
)
def test_what_cannot_work_is_refused(options: list[str], problem: str) -> None:
    config, _ = parse([*LINE, *options])
    assert [line for line in config.validate(1) if problem in line]


def test_its_recipe_has_steps_enough_and_streams_have_none() -> None:
    config, _ = parse(LINE)
    assert config.validate(1) == []
    steps = config.trials_for(1) * config.episodes * config.horizon
    assert config.ppo.epochs * config.ppo.minibatches / steps >= 24 / 10_000
    assert config.run_folder.name == "reach-v3-short-posterior-seed1"
    stream, _ = parse(["--suite", "CL5x2", "--act", "posterior"], StreamConfig, "train.continual")
    assert [line for line in stream.validate(5) if "needs hidden targets" in line]
