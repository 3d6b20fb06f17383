"""Fixed probe trials of one agent, kept in one .npz file: what it saw, held, did and achieved."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents.input_layout import ACTION_DIM, AIM
from envs.memory_tests.fork import STILL, UNRELATED
from envs.pool.shared_rollout import TrialBatch
from envs.trials.trial import Trial
from eval.goals.config import Subject
from eval.goals.measure import LANES, Runner
from eval.traces.levels import reads, slow_agents, trace
from train.collect import acting_policy
from train.run.printable import printable
from train.run.verified_folder import replace_file

KIND, SCHEMA = "strata recording", 1
LIMIT = 2**31  # bytes, of a file and of what it unpacks to
_DAMAGE = zipfile.BadZipFile, zlib.error, EOFError, RuntimeError
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class RecordingError(ValueError):
    """A file is no recording; the message says why and what to do."""


@dataclass(frozen=True)
class Recording:
    """N probe trials of K episodes of H steps, T = K × H; trials with physics faults are left out.

    Attributes:
        facts: JSON values: whose recording this is and how it was made.
        inputs: (T, N, input) float32, with the aims where the agent acts on them.
        actions: (T, N, 4) float32, unclipped.
        choices: (N, K) target touched in each attempt of FORK, else -1.
        targets: (N, K) target that counts; -1 in other scenes and outside FORK.
        outcomes: (N, K) bool, success of each episode.
        scenes: (N,) number of the trial's task in ``facts["tasks"]``.
        layout: (N, P) metres: jittered sites, or placements of the goal.
        states: by level, (T, N, S) float32; see `eval.traces.levels`.
        means: by level of a policy, (T, N, 4) mean action.
        log_stds: by the same, (4,).
        beliefs: by the same, (T, N, M) scores of the targets; empty where there is no belief.
    """

    facts: dict[str, Any]
    inputs: np.ndarray
    actions: np.ndarray
    choices: np.ndarray
    targets: np.ndarray
    outcomes: np.ndarray
    scenes: np.ndarray
    layout: np.ndarray
    states: dict[str, np.ndarray]
    means: dict[str, np.ndarray] = field(default_factory=dict)
    log_stds: dict[str, np.ndarray] = field(default_factory=dict)
    beliefs: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def observed(self) -> np.ndarray:
        """(T, N, input) inputs without the aims, which the agent draws from its belief itself."""
        return self.inputs[..., : AIM.start]

    @property
    def steps(self) -> int:
        """T."""
        return len(self.inputs)

    @property
    def trials(self) -> int:
        """N."""
        return self.inputs.shape[1]

    @property
    def horizon(self) -> int:
        """H."""
        return int(self.facts["horizon"])

    @property
    def episodes(self) -> int:
        """K."""
        return self.steps // self.horizon

    @property
    def still(self) -> int:
        """F, steps at the start of an episode in which the arm does not obey; 0 outside FORK."""
        return int(self.facts["still"])

    @property
    def options(self) -> int:
        """Targets of FORK that commit an attempt; 0 outside it."""
        return int(self.facts["options"])

    @property
    def counted(self) -> int:
        """M, those that may be right: in streams of sites 6 of 8."""
        return int(self.facts["counted"])

    @property
    def attempts(self) -> list[int]:
        """Episodes in the trial's own scene."""
        if not self.options:
            return list(range(self.episodes))
        return np.flatnonzero((self.targets != UNRELATED).all(axis=0)).tolist()


_PLAIN = ("inputs", "actions", "choices", "targets", "outcomes", "scenes", "layout")
_BY_LEVEL = ("states", "means", "log_stds", "beliefs")


def record(
    subject: Subject, trials: Sequence[Trial], *, pool: Runner, facts: dict[str, Any]
) -> Recording:
    """Run the probe trials and every level along them.

    Args:
        subject: the agent, as training left it.
        trials: of equal length.
        pool: runs them.
        facts: see `facts_of`.

    Raises:
        WorkerError: a worker failed for good.
    """
    batch = pool.run(trials, acting_policy(subject.agent), lanes=LANES)
    whole = ~batch.faults[-1]
    kept = [trial for trial, good in zip(trials, whole, strict=True) if good]
    inputs = batch.inputs[:, whole]
    traces = {"L0": trace(subject.agent, inputs)}
    traces |= {name: trace(agent, inputs) for name, agent in slow_agents(subject.saved).items()}
    states = {name: found.states for name, found in traces.items()}
    if subject.agent.recall is not None:
        states["L1"] = reads(subject.agent, inputs)
    return Recording(
        facts=facts,
        inputs=inputs,
        actions=batch.actions[:, whole],
        **_achieved(batch, whole, kept, list(facts["tasks"])),
        states=states,
        means={name: found.mean for name, found in traces.items()},
        log_stds={name: found.log_std for name, found in traces.items()},
        beliefs={n: found.belief for n, found in traces.items() if found.belief is not None},
    )


def _achieved(
    batch: TrialBatch, whole: np.ndarray, trials: list[Trial], tasks: list[str]
) -> dict[str, np.ndarray]:
    """What happened in each episode, and where."""
    horizon, episodes = trials[0].horizon, trials[0].episodes
    none = (UNRELATED,) * episodes
    forks = [trial.fork for trial in trials]
    sites = [np.ravel(fork.sites) if fork and fork.sites else None for fork in forks]
    places = [t.goal if s is None else s for t, s in zip(trials, sites, strict=True)]
    width = max(map(len, places))  # scenes may differ in how their goals are drawn
    success = batch.successes[:, whole].reshape(episodes, horizon, -1).any(axis=1)
    return {
        "choices": batch.choices[horizon - 1 :: horizon, whole].T.astype(np.int8),
        "targets": np.array([fork.targets if fork else none for fork in forks], dtype=np.int8),
        "outcomes": np.asarray(success).T,
        "scenes": np.array([tasks.index(trial.task) for trial in trials], dtype=np.int16),
        "layout": np.array([np.pad(p, (0, width - len(p))) for p in places], dtype=np.float32),
    }


def facts_of(subject: Subject, trials: Sequence[Trial], seed: int) -> dict[str, Any]:
    """Whose recording of what trials it is: two with equal facts are equal."""
    first, fork = trials[0], subject.suite.fork
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "run": subject.saved.manifest.get("run"),
        "files": subject.saved.manifest.get("files"),
        "step": subject.saved.step,
        "suite": subject.suite.name,
        "split": first.split,
        "tasks": list(dict.fromkeys(trial.task for trial in trials)),
        "trials": len(trials),
        "episodes": first.episodes,
        "horizon": first.horizon,
        "seed": seed,
        "still": STILL if fork else 0,
        "options": fork.options if fork else 0,
        "counted": len(fork.counted) if fork else 0,
    }


def save(recording: Recording, path: Path) -> None:
    """Write it atomically. Raises OSError; an older file is then intact."""
    arrays = {name: getattr(recording, name) for name in _PLAIN}
    for group in _BY_LEVEL:
        arrays |= {f"{group}.{level}": x for level, x in getattr(recording, group).items()}
    arrays["facts"] = np.frombuffer(json.dumps(recording.facts).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getvalue())


def load(path: Path) -> Recording:
    """Read what `save` wrote, within bounds.

    Raises:
        RecordingError: it is no recording, or too large.
    """
    try:
        arrays = _unpacked(path)
        facts = json.loads(arrays.pop("facts").tobytes())
        plain = {name: arrays.pop(name) for name in _PLAIN}
        groups: dict[str, dict[str, np.ndarray]] = {name: {} for name in _BY_LEVEL}
        for name, values in arrays.items():
            group, _, level = name.partition(".")
            groups[group][level] = values
        found = Recording(
            facts,
            **plain,
            states=groups["states"],
            means=groups["means"],
            log_stds=groups["log_stds"],
            beliefs=groups["beliefs"],
        )
        _check(found)
    except (*_DAMAGE, OSError, LookupError, ValueError, TypeError, RecursionError) as error:
        text = f"{path} is no recording of this version ({error}): delete it and record anew"
        raise RecordingError(printable(text)) from error
    return found


def _unpacked(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file, whose sizes are checked before any memory is taken for them."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LIMIT:
        raise ValueError(f"it must be a plain file of at most {LIMIT >> 20} MiB")
    arrays, total = {}, 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            total += member.file_size
            if total > LIMIT:
                raise ValueError(f"it unpacks to more than {LIMIT >> 20} MiB")
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                shape, _, kind = _HEADERS[version](file)
                held = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
            if kind.hasobject or not 0 <= held <= member.file_size:
                raise ValueError(f"{member.filename} does not hold what it says")
            with archive.open(member) as file:
                arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(file)
    return arrays


def _check(found: Recording) -> None:
    """Raise ValueError where shapes or numbers do not fit the facts."""
    facts = found.facts
    if facts["kind"] != KIND or facts["schema"] != SCHEMA:
        raise ValueError(f"it is not of kind {KIND!r}, schema {SCHEMA}")
    steps, trials = facts["episodes"] * facts["horizon"], found.inputs.shape[1]
    per_episode = (trials, facts["episodes"])
    wanted = {"choices": per_episode, "targets": per_episode, "outcomes": per_episode}
    wanted |= {"scenes": (trials,)}
    for name, shape in wanted.items():
        if getattr(found, name).shape != shape:
            raise ValueError(f"{name} must be of shape {shape}")
    long = {"inputs": found.inputs, "actions": found.actions}
    for group in ("states", "means", "beliefs"):
        long |= {f"{group}.{level}": x for level, x in getattr(found, group).items()}
    for name, values in long.items():
        if values.shape[:2] != (steps, trials) or values.ndim != 3:
            raise ValueError(f"{name} must begin with {(steps, trials)}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite")
    if found.inputs.shape[2] < AIM.start:
        raise ValueError(f"inputs must have at least {AIM.start} numbers")
    if found.layout.ndim != 2 or len(found.layout) != trials:
        raise ValueError(f"layout must have {trials} rows")
    for level, values in found.log_stds.items():
        if values.shape != (ACTION_DIM,) or not np.isfinite(values).all():
            raise ValueError(f"log_stds.{level} must be {ACTION_DIM} finite numbers")
    counts = found.targets >= 0  # other attempts are in another scene, or outside FORK
    for name, values, most in (
        ("scenes", found.scenes, len(facts["tasks"])),
        ("targets", found.targets[counts], facts["options"]),
        ("choices", found.choices[counts] + 1, facts["options"] + 1),
    ):
        if values.size and not (values.min() >= 0 and values.max() < most):
            raise ValueError(f"{name} must be numbers below {most}")
    if "L0" not in found.states:
        raise ValueError("states.L0 is missing")
