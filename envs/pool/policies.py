"""Who acts for a block of trials: an agent, the floor (random) or the ceiling (scripted)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from scipy.special import ndtr

from agents.acting.aims import NOT_SHOWN, AimPlan
from agents.acting.forgetting import ForgettingActor
from agents.acting.numpy_actor import NumpyActor
from agents.acting.place_aims import PlacePlan
from agents.acting.repeating import RepeatingActor
from agents.input_layout import ACTION_DIM
from envs.trials.block import Block
from envs.trials.trial import Trial, TrialRunner


class Actor(Protocol):
    """Anything that acts for a block of trials in lockstep."""

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions (B, 4) and log-probabilities (B,) from inputs (B, input) and noise (B, 4)."""
        ...


class RandomActor:
    """Uniform actions in the box: the floor."""

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The trial's own normal noise, mapped to uniform."""
        return 2.0 * ndtr(noise) - 1.0, np.full(len(inputs), -ACTION_DIM * np.log(2.0))


class ScriptedActor:
    """Meta-World's scripted experts: the ceiling. They see the goal, which the agent must not.

    Args:
        runners: the runners of the block's rows, whose simulators know their goals; None is a row
            that is not run here.
    """

    def __init__(self, runners: Sequence[TrialRunner | None]) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        self._experts = [
            (row, runner, ENV_POLICY_MAP[runner.env.task]())
            for row, runner in enumerate(runners)
            if runner is not None
        ]

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The experts' deterministic actions, clipped to the box."""
        actions = np.zeros((len(inputs), ACTION_DIM))
        with warnings.catch_warnings():
            # Said of every response beyond the box, which is clipped below as officially.
            warnings.filterwarnings("ignore", r"Constant\(s\) may be too high", UserWarning)
            for row, runner, policy in self._experts:
                obs = runner.observation.astype(np.float64)
                obs[-3:] = runner.env.env._get_pos_goal()
                actions[row] = np.clip(policy.get_action(obs), -1.0, 1.0)
        return actions, np.zeros(len(inputs))


def make_actor(
    policy: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    block: Block,
    stores: Mapping[str, np.ndarray] | None = None,
) -> Actor:
    """What acts for all rows of one block, run here or not.

    Args:
        policy: `envs.pool.pool.Policy` as JSON values.
        weights: the agent's, which come apart.
        block: started; its trials say what of episodic memory each row may see.
        stores: what each row may recall, in the place of what all may; see `WorkerPool.run`.
    """
    if policy["kind"] == "random":
        return RandomActor()
    if policy["kind"] == "scripted":
        return ScriptedActor(block.runners)
    actor = NumpyActor(
        policy["core"],
        weights,
        len(block.trials),
        deterministic=policy["deterministic"],
        recall=[0 if trial is None else trial.recall for trial in block.trials],
        aims=aim_plans(block, told=policy["told"], places="belief.components" in weights),
        stores=stores,
    )
    if policy["forget"]:
        return ForgettingActor(actor)
    return RepeatingActor(actor, policy["attempts"]) if policy["attempts"] else actor


def aim_plans(
    block: Block, *, told: bool, places: bool
) -> list[AimPlan | None] | list[PlacePlan | None]:
    """How the aims of all rows are drawn, of an agent that acts on them.

    Args:
        block: started.
        told: show the truth in all trials, not only in those that practise.
        places: aims are of (part, place), not of FORK's targets.
    """
    if not places:
        return [_aim_plan(trial, told) for trial in block.trials]
    rows = zip(block.trials, block.runners, strict=True)
    return [None if t is None or r is None else _place_plan(t, r, told) for t, r in rows]


def _place_plan(trial: Trial, runner: TrialRunner, told: bool) -> PlacePlan:
    shown = runner.true_aim() if told or trial.practise else None
    return PlacePlan((trial.seed,), shown)


def _aim_plan(trial: Trial | None, told: bool) -> AimPlan | None:
    """How the aims of a FORK trial are drawn; None where there is nothing to aim at."""
    if trial is None or trial.fork is None:
        return None
    shown = trial.fork.targets if told or trial.practise else (NOT_SHOWN,) * trial.episodes
    return AimPlan(trial.aim_draws(), np.array(shown), trial.fork.still)
