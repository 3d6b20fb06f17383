"""Evaluate an agent on a FORK suite, beside its oracle, its lesion, floors and a ceiling."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

from agents.acting.own import OwnAgent
from agents.rl2 import RL2Agent
from envs.metaworld.suites import Suite
from envs.pool.pool import Policy, WorkerPool
from envs.trials.trial import Trial
from eval.goals.adapted import measure_adapted_fork
from eval.goals.config import Settings, Subject
from eval.goals.floors import untrained
from eval.goals.measure import LANES, watch
from eval.goals.progress import progress
from eval.memory_tests.fork_measure import ForkOutcomes, measure_fork, play_table
from eval.memory_tests.fork_results import AGENT, ForkEvaluation, ForkMeasured
from eval.own_agents.runner import OwnAgentRunner
from train.collect import acting_policy
from train.run.checkpoint import Checkpoint

SCRIPTED = "scripted"


def fork_policies(settings: Settings, subject: Subject) -> dict[str, Policy]:
    """What `settings` asks to measure, by the names that the tables show.

    ``told`` is left out of an agent that acts on its memory and never practised: what it is shown
    means nothing to it.
    """
    agent = acting_policy(subject.agent)
    chosen = {AGENT: agent}
    if settings.deterministic:
        chosen["deterministic"] = acting_policy(subject.agent, deterministic=True)
    if settings.told and subject.config.can_be_told:
        chosen["told"] = dataclasses.replace(agent, told=True)
    if settings.forgetting:
        chosen["forgetting"] = dataclasses.replace(agent, forget=True)
    if settings.untrained:
        chosen["untrained"] = acting_policy(untrained(subject))
    return chosen | bounds(settings)


def bounds(settings: Settings) -> dict[str, Policy]:
    """The floor and the ceiling that need no agent."""
    return {kind: Policy(kind) for kind in ("random", SCRIPTED) if getattr(settings, kind)}


def evaluate_fork(settings: Settings, subject: Subject) -> ForkEvaluation:
    """Measure the agent and what is asked for beside it.

    Raises:
        WorkerError: a worker failed for good.
    """
    trials = fork_trials(settings, subject.suite)
    believers: dict[str, RL2Agent] = dict.fromkeys((AGENT, "deterministic"), subject.agent)
    policies, adapted = fork_policies(settings, subject), dict[str, ForkMeasured]()
    if subject.config.adapts:
        del policies[AGENT]
        adapted[AGENT] = _adapted(settings, subject, trials)
    measured = adapted | _measured(policies, settings, subject.suite, trials, believers)
    found = _evaluation(subject.saved, subject.suite, settings, measured)
    return dataclasses.replace(found, adapts=subject.config.adapts)


def _adapted(settings: Settings, subject: Subject, trials: list[Trial]) -> ForkMeasured:
    """An agent of `train.maml`, adapted to each trial."""
    began = time.perf_counter()
    with WorkerPool(settings.workers) as pool:
        outcomes = measure_adapted_fork(subject, trials, pool)
    return _summary(outcomes, subject.suite, settings, began)


def evaluate_own_on_fork(
    agent: OwnAgent, name: str, saved: Checkpoint, settings: Settings, suite: Suite
) -> ForkEvaluation:
    """Measure an agent of other people's, and the floor and the ceiling that are asked for.

    Args:
        agent: acts for all trials.
        name: its own.
        saved: what is said of it in the record.
        settings: how.
        suite: a FORK suite.

    Raises:
        ValueError: the agent gave something else than finite actions (B, 4).
        WorkerError: a worker failed for good.
    """
    trials, began = fork_trials(settings, suite), time.perf_counter()
    with progress(name, len(trials) * trials[0].steps) as report:
        runner = OwnAgentRunner(agent, settings.workers, report)
        outcomes = measure_fork(Policy("own"), trials, pool=runner)
    measured = {AGENT: _summary(outcomes, suite, settings, began)}
    measured |= _measured(bounds(settings), settings, suite, trials, {})
    return _evaluation(saved, suite, settings, measured)


def fork_trials(settings: Settings, suite: Suite) -> list[Trial]:
    """The trials on which all policies are measured."""
    return suite.evaluation_trials(
        settings.split,
        goals=settings.goals,
        episodes=settings.episodes,
        horizon=settings.horizon,
        seed=settings.seed,
    )


def _measured(
    policies: Mapping[str, Policy],
    settings: Settings,
    suite: Suite,
    trials: list[Trial],
    believers: Mapping[str, RL2Agent],
) -> dict[str, ForkMeasured]:
    """All policies, one after another; the scripted one runs in this process."""
    measured, steps = {}, len(trials) * trials[0].steps
    with WorkerPool(settings.workers) as pool:
        for part, (name, policy) in enumerate(policies.items(), start=1):
            began = time.perf_counter()
            with progress(name, steps, part, len(policies)) as report:
                if name == SCRIPTED:
                    outcomes = play_table(suite, trials, seed=settings.seed, report=report)
                else:
                    with watch(pool, report):
                        outcomes = measure_fork(
                            policy, trials, pool=pool, believer=believers.get(name)
                        )
            measured[name] = _summary(outcomes, suite, settings, began)
    return measured


def _summary(
    outcomes: ForkOutcomes, suite: Suite, settings: Settings, began: float
) -> ForkMeasured:
    seconds = time.perf_counter() - began
    return ForkMeasured.of(outcomes, suite, seed=settings.seed, seconds=seconds)


def _evaluation(
    saved: Checkpoint, suite: Suite, settings: Settings, measured: dict[str, ForkMeasured]
) -> ForkEvaluation:
    how = {**settings.to_json(), "lanes": LANES}
    return ForkEvaluation(saved, suite, settings.split, how, measured)
