"""Agents of other people: what the evaluator asks of them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


class ActionsError(ValueError):
    """What an agent gave is no action for each trial."""


@runtime_checkable
class OwnAgent(Protocol):
    """Anything that acts for several trials at once, in lockstep.

    It is told neither the task nor the goal: it sees what a Strata agent sees.
    """

    def begin(self, trials: int) -> None:
        """Forget everything of earlier trials; `trials` new ones (B) begin together."""
        ...

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Actions (B, 4), clipped to [-1, 1] afterwards, for packed inputs (B, input) float32.

        `agents.input_layout` names the parts of an input; the first 39 numbers are Meta-World's
        own observation. It is called K × H times in a trial.
        """
        ...


class OwnActor:
    """An agent of other people's in the place of one of ours (`envs.pool.policies.Actor`)."""

    def __init__(self, agent: OwnAgent, trials: int) -> None:
        self._agent = agent
        agent.begin(trials)

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Its actions (B, 4), and zeros for log-probabilities, which nobody knows."""
        return checked_actions(self._agent, inputs), np.zeros(len(inputs))


def checked_actions(agent: OwnAgent, inputs: np.ndarray) -> np.ndarray:
    """Its actions, (B, 4) float32. Raises ActionsError where they are not finite or not (B, 4)."""
    actions = np.asarray(agent.act(inputs.copy()), dtype=np.float32)
    if actions.shape != (len(inputs), 4) or not np.isfinite(actions).all():
        raise ActionsError(
            f"act gave an array of shape {actions.shape}: it must be finite and ({len(inputs)}, 4)"
        )
    return actions
