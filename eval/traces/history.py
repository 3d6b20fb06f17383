"""One run's checkpoints along training, each run along the same recorded inputs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.rl2 import RL2Agent
from eval.traces.levels import Trace, slow_agents, trace
from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.state import load_agent

MOST_CHECKPOINTS = 12


@dataclass(frozen=True)
class Moment:
    """One checkpoint of a run along the probe inputs.

    Attributes:
        step: environment steps that it was trained for.
        agent: the policy that acts.
        fast: its trace.
        slow: traces of the slow policies by level.
    """

    step: int
    agent: RL2Agent
    fast: Trace
    slow: dict[str, Trace]


def history(saved: Checkpoint, inputs: np.ndarray) -> list[Moment]:
    """The run's checkpoints until `saved`, oldest first; a damaged one is left out with a warning.

    Args:
        saved: the newest.
        inputs: (T, N, input) recorded ones, the same for all.
    """
    found = [checkpoint_ for checkpoint_ in _earlier(saved) if checkpoint_.step < saved.step]
    chosen = [*found, saved]
    if len(chosen) > MOST_CHECKPOINTS:
        places = np.linspace(0, len(chosen) - 1, MOST_CHECKPOINTS).round().astype(int)
        chosen = [chosen[place] for place in places]
    return [_moment(one, inputs) for one in chosen]


def _moment(saved: Checkpoint, inputs: np.ndarray) -> Moment:
    agent, _ = load_agent(saved)
    slow = {name: trace(policy, inputs) for name, policy in slow_agents(saved).items()}
    return Moment(saved.step, agent, trace(agent, inputs), slow)


def _earlier(saved: Checkpoint) -> Iterator[Checkpoint]:
    for path in _folders(saved.path.parent):
        try:
            found = checkpoint.load(path)
        except CheckpointError as error:
            warnings.warn(f"{error} It is left out", stacklevel=2)
            continue
        if found.manifest.get("run") == saved.manifest.get("run"):
            yield found


def _folders(folder: Path) -> list[Path]:
    if folder.name != "checkpoints":
        return []
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir() and not path.is_symlink())
