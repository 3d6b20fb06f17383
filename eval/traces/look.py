"""All parts of one run, as the JSON values that its file holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from envs.memory_tests.fork import STILL
from envs.pool.pool import WorkerPool
from eval.goals.measure import Runner
from eval.outcome import head
from eval.traces.geometry import all_geometry
from eval.traces.history import history
from eval.traces.leak import leak_test
from eval.traces.lesions import measure_lesions
from eval.traces.levels import trace
from eval.traces.lifetime_lesions import measure_lifetime_lesions
from eval.traces.probes import all_probes, sources_of
from eval.traces.recording import Recording
from eval.traces.results import KIND, SCHEMA
from eval.traces.subjects import Patient, floor_of
from eval.traces.timescales import all_timescales

Part = Literal["timescales", "probes", "geometry", "lesions"]
PARTS: tuple[Part, ...] = ("timescales", "probes", "geometry", "lesions")


def look_into(
    patient: Patient,
    recording: Recording,
    *,
    parts: Sequence[Part],
    lesions: Sequence[str],
    pool: Runner,
    seed: int,
) -> dict[str, Any]:
    """What `parts` name of one run.

    Args:
        patient: the run.
        recording: of its probe trials.
        parts: some of `PARTS`.
        lesions: see `measure_lesions`.
        pool: runs the trials of lesions.
        seed: of all draws.

    Raises:
        WorkerError: a worker failed for good.
    """
    subject = patient.subject
    values = _facts(patient, recording.facts["seed"]) | {
        "trials": recording.trials,
        "asked": patient.looked_at,
        "episodes": recording.episodes,
        "horizon": recording.horizon,
        "still": recording.still,
        "options": recording.options,
        "counted": recording.counted,
        "attempts": recording.attempts,
    }
    floor = floor_of(subject)
    draws = {part: np.random.default_rng([seed, number]) for number, part in enumerate(PARTS)}
    before = trace(floor, recording.inputs).states
    if "timescales" in parts:
        rng = draws["timescales"]
        values["timescales"] = all_timescales(subject.agent, floor, before, recording, rng)
    if "probes" in parts:
        found = all_probes(recording, before, draws["probes"])
        tested = leak_test(recording, sources_of(recording, before))
        values["probes"] = found | {"leak": {name: leak.to_json() for name, leak in tested.items()}}
    if "geometry" in parts:
        moments = history(subject.saved, recording.inputs)
        values["geometry"] = all_geometry(recording, before, moments, draws["geometry"])
    if "lesions" in parts and subject.suite.fork is not None:
        rng = draws["lesions"]
        values["lesions"] = measure_lesions(patient, recording, lesions, pool=pool, rng=rng)
    return values


def look_into_lifetimes(
    patient: Patient, *, lesions: Sequence[str], pool: WorkerPool, seed: int
) -> dict[str, Any]:
    """What lesions do to one run on RECALL.

    Args:
        patient: the run.
        lesions: see `measure_lifetime_lesions`.
        pool: runs the trials.
        seed: by which the lifetimes were drawn.

    Raises:
        WorkerError: a worker failed for good.
    """
    first, fork = patient.rounds[0][0], patient.subject.suite.fork
    assert fork is not None
    measured = measure_lifetime_lesions(
        patient.subject.agent, patient.rounds, lesions, options=fork.options, pool=pool
    )
    return _facts(patient, seed) | {
        "trials": sum(map(len, patient.rounds)),
        "asked": patient.looked_at,
        "episodes": first.episodes,
        "horizon": first.horizon,
        "still": STILL,
        "options": fork.options,
        "counted": len(fork.counted),
        "attempts": list(range(first.episodes)),
        "lesions": measured,
    }


def _facts(patient: Patient, seed: int) -> dict[str, Any]:
    config = patient.config
    return {
        **head(KIND, SCHEMA, patient.subject.saved),
        "run": patient.subject.saved.manifest.get("run"),
        "suite": patient.suite,
        "label": config.label,
        "arm": config.arm,
        "seed": config.seed,
        "step": patient.subject.saved.step,
        "probe_seed": seed,
        "notes": _notes(patient),
    }


def _notes(patient: Patient) -> list[str]:
    """What cannot be looked at, and why."""
    config, notes = patient.config, []
    if "L2" not in patient.levels:
        why = (
            "its checkpoint keeps the policy only"
            if patient.subject.saved.policy_only and config.without_own_parts().chosen_arm.cascade
            else f"arm {config.arm} has none"
        )
        notes.append(f"no slow policies (L2, L3): {why}")
    if "L1" not in patient.levels:
        notes.append(f"no episodic memory (L1): arm {config.arm} has none")
    if patient.rounds:
        notes.append("lesions only: lifetimes are not recorded")
    if patient.subject.suite.fork is None:
        notes.append("no lesions: they are measured on FORK suites")
    return notes
