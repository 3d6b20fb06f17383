"""Trials acted and stepped in this process, bit for bit as a worker runs them, to look at.

Watching must not change what is watched: a picture is drawn from a copy of the simulator's pose,
and rows of a block that nobody watches are left empty rather than left out, because the shape of
the matrix products that act is part of a trial's last digits.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco has no stubs)
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from agents.acting.own import OwnActor, OwnAgent
from envs.memory_tests.fork import UNCOMMITTED, UNRELATED
from envs.pool.policies import make_actor
from envs.pool.pool import Policy
from envs.trials.block import Block, Runners
from envs.trials.trial import Trial, TrialRunner, TrialStep
from envs.viewing.gl import mujoco


@dataclass
class Cell:
    """One watched trial: its simulator, how it stands, and what has happened in it so far.

    Attributes:
        runner: runs the trial.
        pose: a copy of the simulator's data to draw; see `update_pose`.
        episode: the present episode, from 1.
        step: environment steps taken in it; 0 is the pose after its reset.
        reward: of the last step.
        total: return of the episode so far, undiscounted.
        success: whether the last step was a success.
        succeeded_at: first successful step of each episode so far, None where there is none.
        choice: in FORK the target touched in this attempt, else -1.
        attempts: episodes that are attempts of a repeating agent, which repeats the best of them
            in the others; 0: it does not repeat.
        fault: physics became unstable; the trial stands still from then on, as in a worker.
    """

    runner: TrialRunner
    pose: mujoco.MjData
    episode: int = 1
    step: int = 0
    reward: float = 0.0
    total: float = 0.0
    success: bool = False
    succeeded_at: list[int | None] = field(default_factory=lambda: [None])
    choice: int = UNCOMMITTED
    attempts: int = 0
    fault: bool = False
    _posed: bool = False

    @classmethod
    def of(cls, runner: TrialRunner, attempts: int = 0) -> Cell:
        """The cell of a trial that `runner` has begun."""
        cell = cls(runner, mujoco.MjData(runner.env.env.model), attempts=attempts)
        reset = runner.env.reset

        def keep_and_reset(hand: Sequence[float] | None = None) -> np.ndarray:
            cell.update_pose()  # the runner resets within an episode's last step: look before it
            return reset(hand)

        runner.env.reset = keep_and_reset
        return cell

    @property
    def trial(self) -> Trial:
        """The trial that is watched."""
        return self.runner.trial

    @property
    def target(self) -> np.ndarray:
        """Where the goal is, (3,) metres."""
        return self.runner.target

    def repeats(self, episode: int) -> bool:
        """Whether an episode, from 1, repeats the best attempt before it."""
        return 0 < self.attempts < episode

    def targets(self) -> list[tuple[np.ndarray, bool]]:
        """Places (3,) in metres of a FORK trial's targets, and whether each counts now.

        Empty in a trial of another kind, and in an attempt in another scene.
        """
        fork = self.runner.fork
        counts = UNRELATED if fork is None else fork.fork.targets[self.episode - 1]
        if fork is None or counts == UNRELATED:
            return []
        return [(fork.scene.place(i), i == counts) for i in range(fork.fork.options)]

    def expect_step(self) -> None:
        """The simulator is about to take a step, so that `pose` will be out of date."""
        self.step += 1
        self._posed = False

    def note(self, step: TrialStep) -> None:
        """Keep the outcome of the step that the simulator has taken."""
        self.fault, self.choice = step.fault, step.choice
        self.reward, self.success = float(step.reward), step.success
        self.total += self.reward
        if self.fault:
            self.succeeded_at[-1] = None  # the evaluator counts the whole episode as failed
        elif self.success and self.succeeded_at[-1] is None:
            self.succeeded_at[-1] = self.step

    def next_episode(self) -> None:
        """Turn to the episode whose reset the last step has already made."""
        self.episode += 1
        self.step, self.reward, self.total, self.success = 0, 0.0, 0.0, False
        self.choice = UNCOMMITTED
        self.succeeded_at.append(None)
        self._posed = False

    def update_pose(self) -> None:
        """Bring `pose` up to date; at an episode's end it stays at the end until it is turned.

        Everything visible follows from the joints, the mocap body and the model. The task's goal
        markers are put where the task means them to be: official code does so too, but its
        `mj_forward` moves them back, and some tasks' markers then ride on a moving part.
        """
        if self._posed:
            return
        env, pose = self.runner.env.env, self.pose
        model, data = env.model, env.data
        pose.qpos[:] = data.qpos
        pose.mocap_pos[:], pose.mocap_quat[:] = data.mocap_pos, data.mocap_quat
        mujoco.mj_kinematics(model, pose)
        mujoco.mj_comPos(model, pose)
        mujoco.mj_camlight(model, pose)
        for name, place in env._target_site_config:
            pose.site(name).xpos[:] = place[:3]
        self._posed = True


class _WatchedBlock:
    """A block, what acts for it, and a cell for each of its rows that is watched."""

    def __init__(
        self, policy: Policy, trials: Sequence[Trial | None], own: OwnAgent | None
    ) -> None:
        self._block = Block(trials, Runners(), width=policy.input_width)
        self._block.start()
        self.cells = [
            None if runner is None else Cell.of(runner, policy.attempts)
            for runner in self._block.runners
        ]
        self.noise = self._block.noise()
        self.actor = (
            make_actor(policy.to_json(), policy.weights, self._block)
            if own is None
            else OwnActor(own, len(trials))
        )

    def take_step(self, t: int) -> None:
        actions, _ = self.actor.act(self._block.inputs, self.noise[t])
        for cell in self.cells:
            if cell is not None:
                cell.expect_step()
        try:
            steps = self._block.step(actions)
        except FloatingPointError as error:
            place = ", ".join(f"{name} {value}" for name, value in self._block.where.items())
            raise FloatingPointError(f"{error} at {place}") from None
        for cell, step in zip(self.cells, steps, strict=True):
            if cell is not None and step is not None:
                cell.note(step)


class Playback:
    """Trials in lockstep, in this process.

    Args:
        policy: what acts.
        trials: all of the same episodes and horizon; None is a trial that holds its place in its
            block but is not run.
        lanes: trials of a block, as in `envs.pool.pool.WorkerPool.run`; equal lanes give
            equal bits.
        own: acts instead of `policy`; its trials must be one block, for it has one memory.

    Raises:
        ValueError: the trials differ in length, or there is none.
    """

    def __init__(
        self,
        policy: Policy,
        trials: Sequence[Trial | None],
        *,
        lanes: int,
        own: OwnAgent | None = None,
    ) -> None:
        watched = [trial for trial in trials if trial is not None]
        if len({(trial.episodes, trial.horizon) for trial in watched}) != 1:
            raise ValueError("watching needs trials, all of the same episodes and horizon")
        self.episodes, self.horizon = watched[0].episodes, watched[0].horizon
        starts = range(0, len(trials), lanes)
        blocks = [trials[first : first + lanes] for first in starts]
        self._blocks = [_WatchedBlock(policy, block, own) for block in blocks if any(block)]
        self.cells = [c for block in self._blocks for c in block.cells if c is not None]

    def moments(self) -> Iterator[int]:
        """Run all trials; yields the step of the episode, 0 to H, at which the cells now stand.

        Raises:
            FloatingPointError: the policy gave an action that is not finite.
            ActionsError: an agent of other people's gave none.
        """
        for episode in range(self.episodes):
            if episode:
                for cell in self.cells:
                    cell.next_episode()
            yield 0
            for step in range(self.horizon):
                for block in self._blocks:
                    block.take_step(episode * self.horizon + step)
                yield step + 1

    def close(self) -> None:
        """Free the simulators."""
        for cell in self.cells:
            vars(cell.runner.env).pop("reset", None)  # a cycle: the simulator would linger
            cell.runner.env.close()
