"""Evaluate an agent on a RECALL suite, beside lesions of its store, floors and a ceiling."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from agents.reinstating import blind, reinstating
from agents.rl2 import RL2Agent
from envs.memory_tests.fork import STILL
from envs.pool.pool import Policy, WorkerPool
from eval.goals.config import Settings, Subject
from eval.goals.floors import untrained
from eval.goals.measure import LANES, watch
from eval.goals.progress import progress
from eval.memory_tests.fork_results import AGENT
from eval.memory_tests.recall_measure import Lesion, measure_recall, play_dictionary
from eval.memory_tests.recall_metrics import summarise_recall
from eval.memory_tests.recall_results import RecallEvaluation, RecallMeasured
from train.collect import acting_policy

SCRIPTED = "scripted"
LESIONS: tuple[Lesion, ...] = ("shuffled", "another", "off")


@dataclass(frozen=True)
class Asked:
    """One policy that is to be measured: who remembers, who acts, and with which store."""

    policy: Policy
    agent: RL2Agent | None = None
    lesion: Lesion = "none"


def recall_policies(settings: Settings, subject: Subject) -> dict[str, Asked]:
    """What `settings` asks to measure, by the names that the tables show."""
    agent, lives = subject.agent, subject.suite.lifetimes
    assert lives is not None
    if subject.config.lifetimes is None:
        agent = blind(agent)
    acting = acting_policy(agent)
    chosen = {AGENT: Asked(acting, agent)}
    if agent.reader is None and agent.body is not None and not lives.flat:
        raw = reinstating(agent, entries=lives.contexts * lives.exposures, at=STILL - 1)
        chosen["reinstating"] = Asked(acting_policy(raw), raw)
    if agent.reader is not None and settings.lesions:
        alike = {"another": settings.goals < 2, "shuffled": lives.contexts < 2}  # nothing to swap
        chosen |= {
            lesion: Asked(acting, agent, lesion) for lesion in LESIONS if not alike.get(lesion)
        }
    if settings.told and acting.aims:
        chosen["told"] = Asked(dataclasses.replace(acting, told=True))
    if settings.untrained:
        chosen["untrained"] = Asked(acting_policy(untrained(subject)))
    if settings.random:
        chosen["random"] = Asked(Policy("random"))
    if settings.scripted and not lives.flat:
        chosen[SCRIPTED] = Asked(Policy(SCRIPTED))
    return chosen


def evaluate_recall(settings: Settings, subject: Subject) -> RecallEvaluation:
    """Measure the agent and what is asked for beside it, all on the same lifetimes.

    Raises:
        WorkerError: a worker failed for good.
    """
    suite, measured = subject.suite, {}
    assert suite.fork is not None
    rounds = suite.lifetime_rounds(
        settings.split,
        settings.goals,
        episodes=settings.episodes,
        horizon=settings.horizon,
        seed=settings.seed,
    )
    steps = sum(trial.steps for trials in rounds for trial in trials)
    with WorkerPool(settings.workers) as pool:
        policies = recall_policies(settings, subject)
        for part, (name, asked) in enumerate(policies.items(), start=1):
            began = time.perf_counter()
            with progress(name, steps, part, len(policies)) as report:
                if name == SCRIPTED:
                    outcomes = play_dictionary(rounds, seed=settings.seed, report=report)
                else:
                    with watch(pool, report):
                        outcomes = measure_recall(
                            asked.policy, rounds, pool=pool, agent=asked.agent, lesion=asked.lesion
                        )
            summary = summarise_recall(outcomes, suite.fork.options, seed=settings.seed)
            measured[name] = RecallMeasured(outcomes, summary, time.perf_counter() - began)
    how = {**settings.to_json(), "lanes": LANES}
    return RecallEvaluation(subject.saved, suite, settings.split, how, measured)
