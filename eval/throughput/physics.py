"""The limit of any tool on this MuJoCo: five `mj_step` and one `mj_forward` per environment step.

One process per core, each stepping all tasks in turn from the state after a reset, with random
actions on the gripper and the mocap body and nothing else of Meta-World.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco has no stubs)
from __future__ import annotations

import json
import os
import subprocess
import sys

import mujoco
import numpy as np

from envs.metaworld.suites import Goals
from envs.metaworld.task_env import MAX_HORIZON, TaskEnv
from envs.pool.pool import ONE_THREAD, available_cores, search_path

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_REACH = 0.01  # metres that the mocap body moves in a step, as in Meta-World


class Physics:
    """Bare physics in one process per core; see `eval.throughput.rivals.Contender`.

    Args:
        goals: task -> its goals; the first one is used.
        seed: seed of the actions.
    """

    def __init__(self, goals: Goals, *, seed: int) -> None:
        first = {task: vectors[0] for task, vectors in goals.items()}
        environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "PYTHONPATH": search_path()}
        self._workers = [
            subprocess.Popen(
                [sys.executable, "-m", "eval.throughput.physics", json.dumps(first), str(seed + i)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
            )
            for i in range(available_cores())
        ]
        for worker in self._workers:
            self._answer(worker)

    def run(self, steps: int) -> int:
        """Take at least `steps` steps, an equal part of them on each core; returns how many."""
        each = -(-steps // len(self._workers))
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{each}\n")
            worker.stdin.flush()
        return sum(self._answer(worker) for worker in self._workers)

    def close(self) -> None:
        """End all processes; idempotent."""
        for worker in self._workers:
            worker.kill()
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                if stream is not None:
                    stream.close()
        self._workers = []

    @staticmethod
    def _answer(worker: subprocess.Popen[str]) -> int:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            raise RuntimeError(f"a physics process ended (exit status {worker.wait()})")
        return int(line)


class _Task:
    """One task's model, returned to its state after a reset every 500 steps."""

    def __init__(self, name: str, goal: list[float]) -> None:
        env = TaskEnv(name)
        env.set_goal(np.array(goal))
        env.reset()
        self._keep = env  # its model and data
        self.model, self.data = env.env.model, env.env.data
        self._start = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, self._start, _STATE)
        self._taken = 0

    def run(self, actions: np.ndarray) -> None:
        """One environment step per row of `actions` (n, 4) in [-1, 1]."""
        model, data = self.model, self.data
        mocap, ctrl = data.mocap_pos[0], data.ctrl
        moves, grips = actions[:, :3] * _REACH, actions[:, 3].tolist()
        for move, grip in zip(moves, grips, strict=True):
            if self._taken == MAX_HORIZON:
                mujoco.mj_setState(model, data, self._start, _STATE)
                self._taken = 0
            mocap += move
            ctrl[0], ctrl[1] = grip, -grip
            mujoco.mj_step(model, data, 5)
            mujoco.mj_forward(model, data)
            self._taken += 1


def main() -> None:
    """A process of `Physics`: reads a number of steps, takes them, prints how many."""
    goals, seed = json.loads(sys.argv[1]), int(sys.argv[2])
    tasks = [_Task(name, goal) for name, goal in goals.items()]
    rng = np.random.default_rng(seed)
    print(0, flush=True)
    for line in sys.stdin:
        each = -(-int(line) // len(tasks))
        for task in tasks:
            task.run(rng.uniform(-1, 1, (each, 4)))
        print(each * len(tasks), flush=True)


if __name__ == "__main__":
    main()
