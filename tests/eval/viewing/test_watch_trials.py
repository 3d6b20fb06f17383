"""Which trials are watched: the evaluator's own, each in its place, with nothing drawn."""

import dataclasses
from pathlib import Path

import numpy as np

from envs.metaworld.suites import make_suite
from envs.pool.pool import WorkerPool
from envs.viewing.playback import Playback
from eval.goals.measure import LANES, measure
from eval.viewing import watch_config
from eval.viewing.watch_config import Settings, prepare


def test_trials_are_the_evaluators(run: Path, no_need_to_draw: None, pool: WorkerPool) -> None:
    """The same trials in the same blocks: equal outcomes, also of the first of more episodes."""
    program = prepare(Settings(run, goals=3, episodes=2, horizon=25, seed=7))
    play = Playback(program.policy, program.slots, lanes=program.lanes)
    totals = []
    for step in play.moments():
        if step == 25:
            totals.append([cell.total for cell in play.cells])
    suite = make_suite("ML1", task="reach-v3", seed=1)
    outcomes = measure(
        program.policy, suite, "test", goals=4, episodes=3, horizon=25, seed=7, pool=pool
    )
    assert [cell.trial.goal_index for cell in play.cells] == [0, 1, 2]
    np.testing.assert_allclose(np.array(totals).T, outcomes.returns[0, :3, :2], rtol=1e-6)
    won = [[step is not None for step in cell.succeeded_at] for cell in play.cells]
    assert won == outcomes.success[0, :3, :2].tolist()


def test_every_trial_keeps_its_place_in_its_block() -> None:
    suite = make_suite("custom", tasks=["reach-v3", "push-v3", "sweep-v3"], seed=1)
    settings = Settings(goals=3, episodes=2, horizon=5, seed=4)
    slots = watch_config._slots(settings, suite, ["push-v3"])
    whole = suite.evaluation_trials("test", goals=40, episodes=2, horizon=5, seed=4)
    assert len(slots) % LANES == 0
    assert [place for place, slot in enumerate(slots) if slot] == [1, 4, 7]
    assert all(slot in (None, trial) for slot, trial in zip(slots, whole, strict=False))


def test_tasks_have_the_goals_of_the_split_they_are_in() -> None:
    """Test goals where there are some, else training goals, else the task's own benchmark's."""
    suite = make_suite("custom", tasks=["reach-v3"], test_tasks=["push-v3"], seed=3)

    def trials(split: str | None, task: str) -> list:
        settings = Settings(goals=2, episodes=1, horizon=5, split=split)
        return [slot for slot in watch_config._slots(settings, suite, [task]) if slot]

    assert [t.goal for t in trials(None, "push-v3")] == list(suite.test["push-v3"][:2])
    assert [t.goal for t in trials(None, "reach-v3")] == list(suite.train["reach-v3"][:2])
    assert {t.split for t in trials(None, "reach-v3")} == {"train"}
    own = make_suite("ML1", task="sweep-v3", seed=3)
    assert [t.goal for t in trials(None, "sweep-v3")] == list(own.test["sweep-v3"][:2])
    assert [t.goal for t in trials("train", "sweep-v3")] == list(own.train["sweep-v3"][:2])


def test_an_agent_that_sees_goals_is_shown_them() -> None:
    """Also in tasks that its suite lacks; a suite without a test split is watched in training."""
    suite = make_suite("custom", tasks=["reach-v3"], seed=1)
    suite = dataclasses.replace(suite, test={}, goal_hidden=False)
    settings = Settings(goals=1, episodes=1, horizon=5)
    slots = watch_config._slots(settings, suite, ["reach-v3", "sweep-v3"])
    watched = [(trial.split, trial.goal_hidden) for trial in slots if trial]
    assert watched == [("train", False), ("test", False)]
    assert watch_config._tasks(settings, suite) == (("reach-v3",), ())


def test_a_repeating_agent_is_watched_as_it_is_measured(
    run: Path, no_need_to_draw: None, pool: WorkerPool
) -> None:
    program = prepare(Settings(run, goals=2, episodes=4, horizon=20, repeating=True))
    assert program.policy.attempts == 2
    assert program.title.endswith("repeating")
    assert program.out.stem.endswith("repeating")
    play = Playback(program.policy, program.slots, lanes=program.lanes)
    totals = [[cell.total for cell in play.cells] for step in play.moments() if step == 20]
    trials = [slot for slot in program.slots if slot]
    rewards = pool.run(trials, program.policy, lanes=LANES).rewards.reshape(4, 20, 2).sum(axis=1)
    np.testing.assert_allclose(totals, rewards, rtol=1e-5)
    assert totals[3] == totals[2] == np.max(totals[:2], axis=0).tolist()
