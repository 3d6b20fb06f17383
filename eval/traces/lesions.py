"""Lesions: take one memory away while acting, on the same trials, and see what it was good for.

Every lesion runs on the trials of the intact agent, with their targets, their exploration noise and
their draws of aims. The sham is the intact agent with other noise and other draws: what two runs
differ by when nothing is taken away.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from envs.memory_tests.ceilings import bayes
from envs.metaworld.suites import Suite
from envs.pool.pool import Policy
from envs.trials.trial import Trial
from eval.goals.measure import Runner
from eval.memory_tests.fork_measure import ForkOutcomes, measure_fork
from eval.traces.recording import Recording
from eval.traces.ridge import directions
from eval.traces.subjects import Patient
from eval.traces.variables import TARGET, decision_steps, variables
from memory.cores.gru import GRU
from memory.episodic import NOTHING
from train.collect import acting_policy

INTACT, SHAM = "intact", "sham"
MOST_TRIALS = 200
ROUNDS = 4  # probes whose directions are taken away, one after another
LEVEL_OF = {
    "clear L0": "L0", "remove target": "L0", "remove random": "L0", "hide L1": "L1",
    "shuffle L1": "L1", "act with L2": "L2", "act with L3": "L3",
}  # fmt: skip
"""Every lesion, and the level that it takes away or changes."""
Ready = tuple[Policy, list[Trial]]


def lesions_of(
    patient: Patient, recording: Recording, rng: np.random.Generator
) -> dict[str, Callable[[], Ready]]:
    """What can be taken away from an agent, each as a policy and its trials.

    Args:
        patient: the run, on a FORK suite.
        recording: of its probe trials, where the target's direction is found.
        rng: draws random directions and shuffles, for each lesion from a stream of its own: what is
            measured beside it changes nothing.
    """
    draws = dict(zip(LEVEL_OF, rng.spawn(len(LEVEL_OF)), strict=True))
    agent, trials = patient.subject.agent, patient.trials[:MOST_TRIALS]
    policy = acting_policy(agent)
    found: dict[str, Callable[[], Ready]] = {
        INTACT: lambda: (policy, trials),
        SHAM: lambda: (policy, other_noise(trials)),
    }
    if agent.memory.state_width:
        found["clear L0"] = lambda: (dataclasses.replace(policy, forget=True), trials)
    if isinstance(agent.memory, GRU):  # its state is its output, where probes read
        for name in ("remove target", "remove random"):
            found[name] = lambda name=name: (
                _without(policy, recording, name, draws[name]),
                trials,
            )
    if agent.recall is not None:
        unread = [dataclasses.replace(trial, recall=NOTHING) for trial in trials]
        found["hide L1"] = lambda: (policy, unread)
        found["shuffle L1"] = lambda: (shuffled_store(policy, draws["shuffle L1"]), trials)
    for level, slow in patient.slow.items():
        found[f"act with {level}"] = lambda slow=slow: (acting_policy(slow), trials)
    return found


def lesion_problems(patient: Patient, asked: Sequence[str]) -> list[str]:
    """Why lesions that are asked for cannot be made, a sentence each."""
    agent, found = patient.subject.agent, []
    if asked and patient.subject.suite.fork is None:
        return [f"{patient.folder}: lesions are measured on FORK suites, not on "
                f"{patient.subject.suite.name}: leave --lesion out"]  # fmt: skip
    for name in asked:
        if LEVEL_OF[name] not in patient.levels:
            found.append(
                f"{patient.folder}: --lesion {name}: arm {patient.config.arm} has no "
                f"{LEVEL_OF[name]}: leave it or the run out"
            )
        elif name.startswith("remove") and patient.rounds:
            found.append(
                f"{patient.folder}: --lesion {name} needs recorded trials, which "
                f"{patient.subject.suite.name} has not: leave it or the run out"
            )
        elif name.startswith("remove") and not isinstance(agent.memory, GRU):
            found.append(
                f"{patient.folder}: --lesion {name} needs a core whose state is its output: gru"
            )
    return found


def measure_lesions(
    patient: Patient,
    recording: Recording,
    asked: Sequence[str],
    *,
    pool: Runner,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Scores of each trial under every lesion, and success by attempt.

    Args:
        patient: the run.
        recording: of its probe trials.
        asked: names in `LEVEL_OF`; empty: all that the agent has something for.
        pool: runs the trials.
        rng: of random directions and shuffles.

    Raises:
        WorkerError: a worker failed for good.
    """
    suite, found = patient.subject.suite, {}
    for name, prepare in lesions_of(patient, recording, rng).items():
        if name in (INTACT, SHAM) or not asked or name in asked:
            policy, trials = prepare()
            outcomes = measure_fork(policy, trials, pool=pool)
            found[name] = {
                "scores": scores(outcomes, suite).tolist(),
                "success": (outcomes.choices == outcomes.targets).mean(axis=0).tolist(),
                "committed": (outcomes.choices >= 0).mean(axis=0).tolist(),
            }
    benchmark = "STREAM-FORK" if patient.config.in_phases else "FORK"
    return {"benchmark": benchmark, "found": found}


def scores(outcomes: ForkOutcomes, suite: Suite) -> np.ndarray:
    """(N,) each trial's part in the memory index, whose mean they have."""
    fork = suite.fork
    assert fork is not None
    later = (outcomes.choices == outcomes.targets)[:, 1:].mean(axis=1)
    chance = 1 / len(fork.counted)
    ceiling = bayes(len(fork.counted), outcomes.choices.shape[1], fork.switch)[1:].mean()
    return (later - chance) / (ceiling - chance)


def other_noise(trials: Sequence[Trial]) -> list[Trial]:
    """The same trials, targets and pushes with other exploration noise and other draws of aims."""
    return [dataclasses.replace(trial, seed=(trial.seed + 1) % 2**63) for trial in trials]


def shuffled_store(policy: Policy, rng: np.random.Generator) -> Policy:
    """The policy with the values of its store dealt to other keys."""
    values = policy.weights["recall.values"].copy()
    order = rng.permutation(np.flatnonzero(policy.weights["recall.all"] > 0))
    values[order] = values[np.roll(order, 1)]  # no key keeps its own
    return dataclasses.replace(policy, weights={**policy.weights, "recall.values": values})


def _without(policy: Policy, recording: Recording, name: str, rng: np.random.Generator) -> Policy:
    """The policy whose state loses the directions that tell the target, or as many random ones."""
    basis, centre = target_directions(recording)
    if name == "remove random":
        basis = np.linalg.qr(rng.standard_normal(basis.shape))[0]
    return with_projection(policy, basis, centre)


def target_directions(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Directions of L0, (H, R), that tell the target after the first attempt; the mean state (H,).

    After each probe its directions are removed and another is trained (Ravfogel et al. 2020, arXiv
    2004.07667). They are orthonormal.
    """
    target = next(v for v in variables(recording) if v.name == TARGET)
    steps = decision_steps(recording)[1:]
    states = recording.states["L0"][steps].astype(np.float64)
    labels = target.labels[0][:, [step // recording.horizon for step in steps]].T
    flat, centre = states.reshape(-1, states.shape[-1]), states.mean(axis=(0, 1))
    removed = np.zeros((flat.shape[1], 0))
    left = flat - centre
    for _ in range(min(ROUNDS, (flat.shape[1] - 1) // (target.classes - 1))):
        found = directions(left, labels.ravel(), target.classes)
        removed = np.linalg.qr(np.concatenate((removed, found), axis=1))[0]
        left = (flat - centre) @ (np.eye(len(centre)) - removed @ removed.T)
    return removed, centre


def with_projection(policy: Policy, basis: np.ndarray, centre: np.ndarray) -> Policy:
    """The policy whose state stands at `centre` (H,) along `basis` (H, R) after every step."""
    kept = np.eye(len(centre)) - basis @ basis.T
    added = {"kept": kept.astype(np.float32), "kept_offset": (centre - centre @ kept).astype("f4")}
    return dataclasses.replace(policy, weights={**policy.weights, **added})
