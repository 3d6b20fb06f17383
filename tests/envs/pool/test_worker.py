"""A worker, in this process: what it writes into the batch."""

import copy
import dataclasses

import numpy as np
import pytest

from agents.input_layout import INPUT_DIM
from envs.pool.shared_rollout import SharedBuffer, TrialBatch
from envs.pool.worker import Worker
from envs.trials import block as block_module
from tests.envs.pool_trials import SHORT
from tests.envs.toy_runner import ToyRunner


def test_a_physics_fault_ends_its_trial_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the fault on the trial is flagged and holds only zeros; its neighbour goes on."""
    monkeypatch.setattr(block_module, "TrialRunner", ToyRunner)
    trials = [dataclasses.replace(SHORT[0], split=split) for split in ("sound", "warning")]
    buffer = SharedBuffer()
    worker = Worker(None, buffer, 0)  # type: ignore[arg-type] - nothing is sent
    answer = worker._run(
        {"kind": "random"},
        [],
        [],
        [16, 2, INPUT_DIM],
        0,
        [0, 2],
        [trial.to_json() for trial in trials],
    )
    batch = copy.deepcopy(TrialBatch(**buffer.arrays(TrialBatch.spec(16, 2))))
    buffer.close()
    assert len(answer["faults"]) == 1
    assert not batch.faults[:, 0].any()
    assert (batch.rewards[:, 0] == 1).all()
    assert batch.faults[:, 1].tolist() == [False] * 3 + [True] * 13
    assert batch.rewards[:, 1].tolist() == [1.0] * 3 + [0.0] * 13
    assert batch.successes[:, 1].tolist() == [True] * 3 + [False] * 13
    assert (batch.inputs[4:, 1] == 0).all()
    assert all(np.isfinite(array).all() for array in vars(batch).values())
