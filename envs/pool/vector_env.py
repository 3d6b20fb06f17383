"""The pool as a `gymnasium.vector.VectorEnv`, so that other people's agents can run on trials.

One message per worker and step: slower than `WorkerPool.run`, which sends one per block of trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from agents.input_layout import ACTION_DIM, INPUT_DIM
from envs.pool.pool import WorkerError, WorkerPool
from envs.pool.worker import step_spec
from envs.trials.trial import Trial
from envs.trials.trial_env import check_horizons, reset_info


class TrialVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Trials in worker processes; one Gymnasium "episode" is one trial, ended by truncation.

    Row i runs trials i, i + num_envs, … of `trials`, again from the first after the last.
    Observations are packed RL² inputs, (B, input) float32. Infos hold ``task`` and ``goal_index``
    of each row that begins a trial, and ``success`` (also as ``is_success``), ``episode_done`` (an
    inner episode ended) and ``physics_fault`` of each row that takes a step. After a physics fault
    a row shows zeros until its trial ends. Autoreset is NEXT_STEP.

    Args:
        trials: trials to run; their number is a multiple of `num_envs`.
        num_envs: rows stepped together; None: one per trial.
        workers: processes; None: one per core.
    """

    metadata = {  # noqa: RUF012 - Gymnasium's own convention
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        trials: Sequence[Trial],
        num_envs: int | None = None,
        *,
        workers: int | None = None,
    ) -> None:
        self.trials = tuple(trials)
        self.num_envs = num_envs or len(self.trials)
        if not self.trials or len(self.trials) % self.num_envs:
            raise ValueError(
                f"{len(self.trials)} trials do not divide among {self.num_envs} environments"
            )
        check_horizons(self.trials)
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (INPUT_DIM,), np.float32)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._pool = WorkerPool(workers)
        rows = np.array_split(np.arange(self.num_envs), self._pool.workers)
        self._rows = {index: part for index, part in enumerate(rows) if len(part)}
        self._arrays = self._pool.buffer.arrays(step_spec(self.num_envs))
        self._round = np.zeros(self.num_envs, dtype=int)
        self._ended = np.zeros(self.num_envs, dtype=bool)
        self._running = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start every row's first trial. Trials carry their own seeds; `seed` does not matter.

        Raises:
            ClosedEnvironmentError: the environment was closed.
        """
        self._refuse_if_closed()
        super().reset(seed=seed if isinstance(seed, int) else None)
        self._round[:] = 0
        self._ended[:] = False
        self._ask(
            {
                index: {
                    "do": "begin",
                    "trials": [self._trial(row).to_json() for row in rows],
                    "shape": [self.num_envs],
                    "column": int(rows[0]),
                }
                for index, rows in self._rows.items()
            }
        )
        self._running = True
        infos: dict[str, Any] = {}
        for row in range(self.num_envs):
            infos = self._add_info(infos, reset_info(self._trial(row)), row)
        return self._arrays["inputs"].copy(), infos

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every row; a row whose trial had ended starts its next one instead.

        Raises:
            ClosedEnvironmentError: the environment was closed.
            ResetNeeded: there was no reset yet.
            ValueError: the actions are not finite or not of shape (B, 4).
            WorkerError: a worker failed; the environment is closed then.
        """
        self._refuse_if_closed()
        if not self._running:
            raise ResetNeeded("call reset() before step()")
        actions = np.asarray(actions, dtype=np.float32)
        if actions.shape != (self.num_envs, ACTION_DIM) or not np.isfinite(actions).all():
            raise ValueError(f"actions must be finite and ({self.num_envs}, {ACTION_DIM})")
        self._arrays["actions"][:] = actions
        self._round += self._ended
        answers = self._ask(
            {
                index: {
                    "do": "step",
                    "restart": [
                        self._trial(row).to_json() if self._ended[row] else None for row in rows
                    ],
                }
                for index, rows in self._rows.items()
            }
        )
        infos: dict[str, Any] = {}
        for index, rows in self._rows.items():
            for row, info in zip(rows, answers[index]["infos"], strict=True):
                infos = self._add_info(infos, info or reset_info(self._trial(row)), int(row))
        arrays = {name: array.copy() for name, array in self._arrays.items()}
        self._ended = arrays["finished"]
        never = np.zeros(self.num_envs, dtype=bool)
        return arrays["inputs"], arrays["rewards"].astype(float), never, self._ended.copy(), infos

    def close_extras(self, **kwargs: Any) -> None:
        """End the workers."""
        self._pool.close()

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the environment is closed: make a new one")

    def _trial(self, row: int) -> Trial:
        return self.trials[(int(row) + self._round[row] * self.num_envs) % len(self.trials)]

    def _ask(self, commands: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
        """Send one command to each worker and wait for all; a failure closes the environment."""
        for index, command in commands.items():
            self._pool.send(index, command)
        answers: dict[int, dict[str, Any]] = {}
        while len(answers) < len(commands):
            waiting = {index: None for index in commands if index not in answers}
            for index, answer in self._pool.answers(waiting):
                if "error" in answer:
                    self.close()
                    raise WorkerError(
                        f"worker {index}: {answer['error']}\n{answer.get('traceback', '')}"
                    )
                answers[index] = answer
        return answers
