"""Training on hidden targets: practice, the belief loss, and the suite's recipe."""

import dataclasses

import numpy as np
import pytest
import torch

from agents.input_layout import AIM
from envs.memory_tests.fork import fork_settings
from envs.metaworld.suites import make_suite
from envs.pool.pool import WorkerPool
from memory.cascade import minibatches
from train.algorithms.ppo import make_ppo
from train.algorithms.rollout import Rollout
from train.collect import collect, practice_metrics, practising
from train.loop import drawn
from train.run.config import Config, difference
from train.run.maml_config import MamlConfig
from train.run.origin import parse
from train.run.recipes import recipe
from train.run.state import initialise
from train.run.stream_config import StreamConfig


@pytest.fixture(scope="module")
def learnt():
    """A learner after one update, what it learnt from, and the trials."""
    torch.manual_seed(1)
    config = recipe(Config, "FORK-reach-2")
    config = dataclasses.replace(config, suite="FORK-reach-2", episodes=2, horizon=12, device="cpu")
    suite = make_suite("FORK-reach-2", train_goals=4)
    learner = make_ppo(config, suite)
    trials = suite.sample_trials(16, episodes=2, horizon=12, iteration=0, seed=1)
    trials = practising(trials, 0.5)
    with WorkerPool(1) as pool:
        rollout = collect(pool, learner.policy(), trials, tasks=suite.tasks, lanes=8)
    metrics = learner.update(rollout, np.random.default_rng(0))
    return learner, rollout, trials, metrics


def test_practice_shows_the_truth_and_others_draw(learnt) -> None:
    _, rollout, trials, _ = learnt
    aims = rollout.inputs[-1, :, AIM].argmax(dim=-1)
    practise = torch.tensor([trial.practise for trial in trials])
    assert 2 < practise.sum() < 14
    assert torch.equal(aims[practise], rollout.targets[-1][practise])
    assert not torch.equal(aims[~practise], rollout.targets[-1][~practise])


def test_the_learner_thinks_as_the_workers_acted(learnt) -> None:
    _, _, _, metrics = learnt
    assert metrics["acting_error"] < 1e-4
    assert metrics["first_ratio_error"] < 1e-5


def test_the_belief_starts_as_a_guess_and_its_loss_is_counted(learnt) -> None:
    _, _, _, metrics = learnt
    assert metrics["belief_loss"] == pytest.approx(np.log(2), abs=0.25)  # 16 labels, learnt from
    assert {"belief_right/1", "belief_right/2"} <= metrics.keys()


def test_the_belief_is_taught_where_it_is_read_and_nowhere_else(learnt) -> None:
    _, rollout, _, _ = learnt
    read = rollout.target_when_read()
    assert torch.equal(read[4::12, rollout.own], rollout.targets[:, rollout.own])
    assert (read >= 0).sum() == rollout.targets[:, rollout.own].numel() < rollout.targets.numel()


def test_what_is_believed_in_another_scene_counts_for_nothing() -> None:
    """There nothing is hidden, so no belief is right or wrong."""
    name = "FORK-reach-2-interference"
    config = dataclasses.replace(recipe(Config, name), suite=name, device="cpu", horizon=12)
    suite = make_suite(name, train_goals=4)
    trials = suite.sample_trials(8, episodes=config.episodes, horizon=12, iteration=0, seed=1)
    targets = torch.tensor([trial.fork.targets for trial in trials]).T
    learner, steps = make_ppo(config, suite), config.episodes * 12
    assert learner.agent.belief is not None
    with torch.no_grad():
        learner.agent.belief.out.bias.copy_(torch.tensor([5.0, -5.0]))  # always the first target
    inputs = torch.zeros(steps, 8, learner.agent.input_width)
    rollout = Rollout(
        inputs=inputs,
        actions=torch.zeros(steps, 8, 4),
        log_probs=torch.zeros(steps, 8),
        rewards=torch.zeros(steps, 8),
        successes=torch.zeros(steps, 8, dtype=torch.bool),
        usable=torch.ones(8, dtype=torch.bool),
        task_ids=torch.zeros(8, dtype=torch.long),
        goals=torch.zeros(8, 6),
        episodes=config.episodes,
        targets=targets,
        choices=-torch.ones_like(targets),
    )
    hidden = torch.zeros(steps, 8, config.network.hidden)
    found = learner._knew(rollout, hidden, inputs, *rollout.taught())
    own = (targets[:, 0] >= 0).nonzero().flatten().tolist()
    assert 0 < len(own) < config.episodes
    assert found == {
        f"belief_right/{e + 1}": pytest.approx(float((targets[e] == 0).float().mean())) for e in own
    }


def test_practice_in_the_input_is_taught_too(learnt) -> None:
    """What is told and what is found out become one knowledge."""
    _, rollout, _, _ = learnt
    shown = dataclasses.replace(rollout, shown=rollout.practised)
    assert torch.equal(shown.target_when_read()[4::12], rollout.targets)


def test_practice_is_kept_out_of_what_the_agent_achieves(learnt) -> None:
    _, rollout, trials, _ = learnt
    practise = torch.tensor([trial.practise for trial in trials])
    choices, successes = rollout.choices.clone(), rollout.successes.clone()
    choices[:, practise], successes[:, practise] = 1, True
    choices[:, ~practise], successes[:, ~practise] = -1, False
    made_up = dataclasses.replace(rollout, choices=choices, successes=successes)
    metrics = practice_metrics(made_up)
    assert metrics == {"told/success": 1.0, "committed/1": 0.0, "committed/2": 0.0}


def test_a_critic_that_sees_the_target_values_a_wrong_aim_lower(learnt) -> None:
    """It is given both: two rows that differ in the target alone differ in value."""
    learner, rollout, _, _ = learnt
    other = dataclasses.replace(rollout, targets=1 - rollout.targets)
    hidden = torch.zeros(rollout.steps, len(rollout.task_ids), 64)
    one, two = (learner._critic_inputs(some, rollout.inputs, hidden) for some in (rollout, other))
    assert not torch.equal(one, two)
    assert torch.equal(one[..., :-4], two[..., :-4])


def test_advantages_are_normalised_per_hidden_target(learnt) -> None:
    """Trials of one task with different targets are of different kinds; volatile ones by their
    first target."""
    _, rollout, _, _ = learnt
    kinds = rollout.kinds_of_task()
    same = rollout.targets[0][:, None] == rollout.targets[0][None]
    assert torch.equal(kinds[:, None] == kinds[None], same)
    plain = dataclasses.replace(rollout, targets=None, choices=None)
    assert torch.equal(plain.kinds_of_task(), rollout.task_ids)


def test_a_fork_suite_has_its_own_recipe() -> None:
    config, _ = parse(["--suite", "FORK-reach-4-delay50", "--hidden", "32"])
    settings = fork_settings(config.suite)
    assert settings is not None
    assert (config.episodes, config.horizon) == (settings.episodes, settings.horizon) == (5, 100)
    assert (config.agent.act, config.agent.hidden, config.network.targets) == ("posterior", 32, 4)
    assert parse(["--suite", "ML10"])[0] == Config()


@pytest.mark.parametrize(
    ("suite", "rate"),
    [("RECALL-code-4", 1.0), ("RECALL-scene-drawer", 20.0), ("FORK-drawer", 1.0)],
)
def test_relevance_is_learnt_fast_in_scenes(suite: str, rate: float) -> None:
    config, _ = parse(["--suite", suite])
    assert config.network.relevance_rate == rate
    assert parse(["--suite", suite, "--relevance-rate", "3"])[0].network.relevance_rate == 3.0


@pytest.mark.parametrize(
    ("arguments", "kept", "steps"),
    [
        ("--suite STREAM-FORK", "best", 26),
        ("--suite STREAM-FORK --slow-minibatches 4 --replay-from all", "all", 4),
        ("--suite STREAM-FORK-reach", "successful", 8),
        ("--suite CL5x2", "successful", 8),
    ],
)
def test_what_a_stream_keeps_and_how_far_slow_policies_move(
    arguments: str, kept: str, steps: int
) -> None:
    memory = parse(arguments.split(), StreamConfig, "train.continual")[0].memory
    assert (memory.replay_from, memory.cascade.slow_minibatches) == (kept, steps)


def test_slow_policies_make_the_steps_of_the_recipe_where_scenes_are_learnt() -> None:
    arguments = ["--suite", "STREAM-FORK", "--tasks", "drawer", "window"]
    config = parse(arguments, StreamConfig, "train.continual")[0]
    steps, count = config.episodes * config.horizon, config.memory.cascade.slow_minibatches
    trials = config.resolved(2).trials_for(2)
    made = minibatches(steps, trials, config.ppo.bptt, count, np.random.default_rng(0))
    assert len(made) == count


@pytest.mark.parametrize(
    ("arguments", "practises", "shows", "label"),
    [
        ("--suite FORK-reach-4", True, False, "short"),
        ("--suite FORK-reach-4 --act direct", True, True, "short-direct"),
        ("--suite FORK-reach-4 --act direct --practise 0", False, False, "short-direct"),
        ("--suite RECALL-code-4 --act direct", False, False, "short-direct"),
        ("--suite ML10", False, False, "short"),
        ("--suite ML10 --act posterior", True, False, "short-posterior"),
    ],
)
def test_who_practises_and_how(arguments: str, practises: bool, shows: bool, label: str) -> None:
    config, _ = parse(arguments.split())
    assert (config.practises, config.shows_targets, config.label) == (practises, shows, label)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("--suite FORK-reach-2 --act direct", True),
        ("--suite FORK-reach-2 --act direct --practise 0", False),
        ("--suite FORK-reach-2", False),
        ("--suite RECALL-code-4 --act direct", False),
    ],
)
def test_a_share_of_the_trials_is_shown_the_target(arguments: str, shown: bool) -> None:
    config = parse([*arguments.split(), "--train-goals", "4"])[0].resolved(1)
    suite = config.make_suite(config.train_goals)
    trials = drawn(config, suite, initialise(config, suite), 1)
    assert {trial.shown for trial in trials} == ({False, True} if shown else {False})
    assert all(trial.practise == trial.shown for trial in trials) or not shown


def test_a_rollout_knows_which_trials_were_shown_the_target(learnt) -> None:
    learner, _, trials, _ = learnt
    trials = [dataclasses.replace(trial, shown=trial.practise) for trial in trials]
    with WorkerPool(1) as pool:
        rollout = collect(pool, learner.policy(), trials, tasks=("reach-v3",), lanes=8)
    assert rollout.shown is not None
    assert rollout.shown.tolist() == [trial.shown for trial in trials]
    assert rollout.chosen(rollout.shown).shown.all()


def test_older_files_of_direct_agents_were_shown_nothing() -> None:
    """And nothing changes for whom it makes no difference: their runs are resumed as ever."""
    for arguments, older in (
        ("--suite FORK-reach-2 --act direct", False),
        ("--suite FORK-reach-2", True),
        ("--suite ML10", True),
    ):
        config, _ = parse(arguments.split())
        values = config.to_json()
        assert Config.from_json(values).told_in_input
        del values["told_in_input"]
        assert Config.from_json(values).told_in_input is older
        changed = [line.partition(":")[0] for line in difference(Config.from_json(values), config)]
        assert changed == ([] if older else ["told_in_input"])


def test_older_files_of_agents_that_adapt_are_resumed() -> None:
    """They act on no memory, so practice makes no difference to them, nor on RECALL."""
    adapting, _ = parse(["--suite", "FORK-reach-4"], kind=MamlConfig, program="train.maml")
    recalling, _ = parse(["--suite", "RECALL-code-4", "--act", "direct"])
    for config in (adapting, recalling):
        values = config.to_json()
        del values["told_in_input"]
        assert not difference(type(config).from_json(values), config)


@pytest.mark.parametrize(
    ("suite", "minibatches"),
    [("FORK-reach-2", 8), ("FORK-reach-4", 8), ("FORK-reach-8", 14), ("FORK-joint", 64)],
)
def test_every_fork_has_at_least_24_optimiser_steps_for_10_000_samples(
    suite: str, minibatches: int
) -> None:
    config, _ = parse(["--suite", suite])
    assert config.trials is not None
    samples = config.trials * config.episodes * config.horizon
    assert config.ppo.minibatches == minibatches
    assert config.ppo.epochs * minibatches * 10_000 >= 24 * samples


def test_posterior_needs_hidden_targets() -> None:
    config, _ = parse(["--suite", "MT10", "--act", "posterior"])
    assert any("--act posterior needs hidden targets" in line for line in config.validate(10))


def test_trials_practise_by_their_own_seed() -> None:
    suite = make_suite("FORK-reach-2", train_goals=4)
    trials = suite.sample_trials(30, episodes=2, horizon=12, iteration=0, seed=1)
    assert practising(trials, 0.5) == practising(trials, 0.5)
    assert not any(trial.practise for trial in practising(trials, 0.0))
