"""The record of a stream: how the agent did on every task at each evaluation, as JSON.

`results/retention.json` is rewritten whole, atomically, after each evaluation. It is a function of
the configuration; a resumed run drops what lies beyond its checkpoint and writes it again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from envs.memory_tests.fork import UNCOMMITTED
from envs.metaworld.streams import Stream
from envs.trials.success import share_in_success, steps_to_success
from train.algorithms.rollout import Rollout
from train.run.stream_config import StreamConfig
from train.run.verified_folder import replace_file

KIND, SCHEMA = "strata retention", 1
RECORD = Path("results", "retention.json")  # in a run folder
_SPEED = ("steps_to_success", "share_in_success")
FORK_FIELDS = ("choices", "targets", "told")


@dataclass(frozen=True)
class Evaluation:
    """All tasks on the same unseen goals, at one moment of the stream.

    Attributes:
        step: environment steps trained before.
        when: ``untrained``, ``middle`` or ``end`` of a phase.
        phase: phases begun before, 0 when untrained.
        success: success at any step of the episode (Meta-World's criterion), bool (N, G, K).
        last_step_success: success at the episode's last step, bool (N, G, K).
        returns: undiscounted return of each episode, (N, G, K).
        faulted: trials with unstable physics; they count as failed.
        steps_to_success: steps up to the first success, the horizon where there is none,
            (N, G, K); None in records that are older than this measure.
        share_in_success: part of the steps at which the task is solved, likewise.
        choices: of FORK trials the target that each attempt touched, UNCOMMITTED for none and in
            faulted trials, (N, G, K); else None.
        targets: likewise the target that counted.
        told: likewise success in the first attempt when the true target is shown, (N, G); None
            where the agent cannot be told.
    """

    step: int
    when: str
    phase: int
    success: np.ndarray
    last_step_success: np.ndarray
    returns: np.ndarray
    faulted: int
    steps_to_success: np.ndarray | None = None
    share_in_success: np.ndarray | None = None
    choices: np.ndarray | None = None
    targets: np.ndarray | None = None
    told: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        step: int,
        stream: Stream,
        rollout: Rollout,
        goals: int,
        told: Rollout | None = None,
    ) -> Evaluation:
        """From a rollout of `goals` × tasks trials, ordered goal by goal with tasks interleaved.

        `told` are likewise trials of one attempt that show the true target.
        """
        phase = stream.phase_at(max(step - 1, 0))
        when = "untrained" if not step else "end" if step == phase.end else "middle"

        def arranged(values: np.ndarray) -> np.ndarray:  # (K, G · N) -> (N, G, K)
            return values.reshape(len(values), goals, -1).transpose(2, 1, 0)

        usable = rollout.usable.numpy()
        successes = rollout.by_episode(rollout.successes).numpy() & usable
        rewards = np.nan_to_num(rollout.by_episode(rollout.rewards).sum(dim=1).double().numpy())
        choices, targets = _forks(rollout)
        return cls(
            step,
            when,
            phase.number + 1 if step else 0,
            arranged(_succeeded(rollout)),
            arranged((rollout.last_step_success().numpy() > 0) & usable),
            arranged(rewards),
            int((~usable).sum()),
            arranged(steps_to_success(successes)),
            arranged(share_in_success(successes)),
            None if choices is None else arranged(choices),
            None if targets is None else arranged(targets),
            None if told is None else arranged(_succeeded(told))[..., 0],
        )

    def metrics(self, tasks: Sequence[str]) -> dict[str, float]:
        """Numbers for the log: last-episode success of each task, and their mean by episode."""
        rates = self.success.mean(axis=1)
        found = {f"test/success/{task}": float(rates[i, -1]) for i, task in enumerate(tasks)}
        found |= {
            f"test/success_by_episode/{e + 1}": float(rate)
            for e, rate in enumerate(rates.mean(axis=0))
        }
        found["test/success"] = float(rates[:, -1].mean())
        found["test/last_step_success"] = float(self.last_step_success[..., -1].mean())
        for name in _SPEED:
            curve = getattr(self, name).mean(axis=(0, 1))
            found[f"test/{name}"] = float(curve[-1])
            found[f"test/{name}_gain"] = float(curve[-1] - curve[0])
            found |= {f"test/{name}_by_episode/{e + 1}": float(v) for e, v in enumerate(curve)}
        return found | self._fork_metrics()

    def _fork_metrics(self) -> dict[str, float]:
        """Of FORK trials: how often an attempt commits, and a later one is right if it does."""
        if self.choices is None or self.targets is None:
            return {}
        made, right = self.choices != UNCOMMITTED, self.choices == self.targets
        found = {"test/committed": float(made.mean())}
        if (later := made[..., 1:]).any():
            found["test/right_if_committed"] = float(right[..., 1:][later].mean())
        if self.told is not None:
            found["test/told"] = float(self.told.mean())
        return found

    def to_json(self) -> dict[str, Any]:
        """JSON values; `Evaluation.from_json` restores them."""
        values = dict(vars(self))
        for name in FORK_FIELDS:  # none of them in the record of another stream
            if values[name] is None:
                del values[name]
        for name in ("success", "last_step_success", *FORK_FIELDS):
            if name in values:
                values[name] = values[name].astype(int).tolist()
        for name in _SPEED:
            if values[name] is not None:
                values[name] = values[name].round(6).tolist()
        return {**values, "returns": self.returns.round(3).tolist()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Evaluation:
        """Inverse of `to_json`, of values that `train.run.retention_file` has checked."""
        flags = {n: np.array(values[n], dtype=bool) for n in ("success", "last_step_success")}
        known = [name for name in ("returns", *_SPEED) if values.get(name) is not None]
        numbers = {name: np.array(values[name], dtype=float) for name in known}
        forks = {name: np.array(values[name]) for name in FORK_FIELDS if name in values}
        return cls(**{**values, **flags, **numbers, **forks})


def _succeeded(rollout: Rollout) -> np.ndarray:
    """Whether each episode succeeded at any step, (K, trial); trials with faults did not."""
    return (rollout.success_by_episode().numpy() > 0) & rollout.usable.numpy()


def _forks(rollout: Rollout) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Choices and targets of FORK trials, (K, trial); what a fault ended chose nothing."""
    if rollout.choices is None or rollout.targets is None:
        return None, None
    choices = np.where(rollout.usable.numpy(), rollout.choices.numpy(), UNCOMMITTED)
    return choices, rollout.targets.numpy()


@dataclass
class Record:
    """All evaluations of one run.

    Attributes:
        path: the JSON file.
        facts: what the run is: arm, seed, stream, parameters and how it is evaluated.
        stream: its phases.
        evaluations: in order of their steps.
    """

    path: Path
    facts: dict[str, Any]
    stream: Stream
    evaluations: list[Evaluation] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        config: StreamConfig,
        stream: Stream,
        parameters: int,
        evaluations: Sequence[Evaluation] = (),
    ) -> Record:
        """The record of a run, with the evaluations of an earlier part of it."""
        facts = {
            "kind": KIND,
            "schema": SCHEMA,
            "arm": config.arm,
            "seed": config.seed,
            "parameters": parameters,
            "stream": facts_of(stream),
            "evaluation": {
                "split": "test",
                "goals": config.eval_goals,
                "episodes": config.eval_episodes,
                "horizon": config.horizon,
                "seed": config.seed,
            },
        }
        return cls(config.run_folder / RECORD, facts, stream, list(evaluations))

    def due(self, step: int) -> bool:
        """Whether an evaluation belongs to `step` and is not there yet."""
        return step in self.stream.evaluation_steps() and all(
            evaluation.step != step for evaluation in self.evaluations
        )

    def matrix(self) -> list[list[list[float]]]:
        """R[row, task, episode]: untrained, then after each phase that has ended."""
        rows = [e for e in self.evaluations if e.when != "middle"]
        return [e.success.mean(axis=1).round(6).tolist() for e in rows]

    def add(self, evaluation: Evaluation, stored: int = 0) -> None:
        """Append and write. Raises OSError; the older file is then intact.

        Args:
            evaluation: the newest.
            stored: numbers that long-term memory holds now, slow policies included.
        """
        self.evaluations.append(evaluation)
        values = {
            **self.facts,
            "stored": stored,
            "complete": evaluation.step == self.stream.total_steps,
            "matrix": {"axes": ["untrained and phases", "task", "episode"], "R": self.matrix()},
            "evaluations": [e.to_json() for e in self.evaluations],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, json.dumps(values, allow_nan=False).encode() + b"\n")


def facts_of(stream: Stream) -> dict[str, Any]:
    """What a record says of its stream."""
    return {
        "name": stream.name,
        "tasks": list(stream.tasks),
        "cycles": stream.cycles,
        "phase_steps": stream.phase_steps,
        "phases": [phase.task for phase in stream.phases],
    }
