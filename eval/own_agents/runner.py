"""Trials of other people's agents: worker processes step them, the agent acts in this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from agents.acting.own import OwnAgent, checked_actions
from agents.input_layout import ACTION_DIM
from envs.pool.pool import Policy, available_cores
from envs.pool.shared_rollout import PER_TRIAL, TrialBatch
from envs.pool.vector_env import TrialVectorEnv
from envs.trials.trial import Trial

ROWS_PER_WORKER = 8  # trials that a worker steps together: a message costs about one step


class OwnAgentRunner:
    """What `eval.goals.measure.measure` needs of a pool, for one agent.

    Args:
        agent: acts for all rows at once.
        workers: processes; None: one per available core.
        report: called with the environment steps done so far.
    """

    def __init__(
        self,
        agent: OwnAgent,
        workers: int | None = None,
        report: Callable[[int], None] = lambda steps: None,
    ) -> None:
        self.workers = workers or available_cores()
        self._agent, self._report, self._steps = agent, report, 0

    def run(self, trials: Sequence[Trial], policy: Policy, *, lanes: int) -> TrialBatch:
        """Run `trials`, all of the same length; column i is trial i.

        `policy` and `lanes` are for agents of ours. After a physics fault a trial earns nothing.
        Log-probabilities, targets and aims, which nobody knows here, are zeros.

        Raises:
            ValueError: the agent gave something else than finite actions (B, 4).
            WorkerError: a worker failed.
        """
        rows = min(len(trials), self.workers * ROWS_PER_WORKER)
        spare = -len(trials) % rows  # rows of the last round that repeat a trial, and do not count
        padded = [*trials, *trials[:spare]]
        spec = {name: (kind, size) for name, kind, size in TrialBatch.spec(trials[0].steps, 1)}
        out = TrialBatch(
            **{
                name: np.zeros((size[0], len(padded), *size[2:]), kind)
                for name, (kind, size) in spec.items()
                if name not in PER_TRIAL
            },
            **{name: np.zeros((len(padded), spec[name][1][1]), np.float32) for name in PER_TRIAL},
        )
        env = TrialVectorEnv(padded, rows, workers=min(self.workers, rows))
        try:
            inputs, _ = env.reset()
            for first in range(0, len(padded), rows):
                if first:  # a step after the end of a trial begins the row's next one
                    inputs, *_ = env.step(np.zeros((rows, ACTION_DIM), np.float32))
                self._round(env, inputs, out, slice(first, first + rows))
        finally:
            env.close()
        end = len(trials)
        arrays = vars(out).items()
        return TrialBatch(**{n: x[:end] if n in PER_TRIAL else x[:, :end] for n, x in arrays})

    def _round(
        self, env: TrialVectorEnv, inputs: np.ndarray, out: TrialBatch, columns: slice
    ) -> None:
        """Run one trial in each row of `env`, from its first inputs (B, input), into `columns`."""
        faulted = np.zeros(len(inputs), dtype=bool)
        self._agent.begin(len(inputs))
        for t in range(len(out.rewards)):
            actions = np.clip(checked_actions(self._agent, inputs), -1.0, 1.0)
            out.inputs[t, columns], out.actions[t, columns] = inputs, actions
            inputs, rewards, _, _, infos = env.step(actions)
            faulted |= infos["physics_fault"]
            out.rewards[t, columns] = np.where(faulted, 0.0, rewards)
            out.successes[t, columns] = infos["success"] & ~faulted
            out.choices[t, columns] = infos["choice"]
            out.faults[t, columns] = faulted
            self._steps += len(inputs)
            self._report(self._steps)
