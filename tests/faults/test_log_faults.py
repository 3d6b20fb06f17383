"""The metrics stream under fire: kills and full disks."""

import errno
import json
import os
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train.run.log import RunLog, read_metrics


def in_child(action: Callable[[], None], kill_when: Callable[[], bool] | None = None) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of others; not used here
        child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if kill_when is not None:
        while not kill_when():
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_each_step_once_after_kills_between_log_and_checkpoint(tmp_path: Path) -> None:
    resume = -1
    for attempt in range(4):

        def train(resume: int = resume) -> None:
            log = RunLog(tmp_path, total_steps=10**9, resume_step=resume, console=False)
            for step in range(resume + 1, 10**9):
                log.write(step, {"value": step / 7}, {"seconds": 0.1})

        def is_well_under_way(target: int = resume + 200 + 50 * attempt) -> bool:
            metrics = tmp_path / "metrics.jsonl"
            return metrics.exists() and metrics.read_bytes().count(b"\n") > target

        assert in_child(train, kill_when=is_well_under_way) == -signal.SIGKILL
        lines = read_metrics(tmp_path)
        assert [line["step"] for line in lines] == list(range(len(lines)))
        resume = len(lines) // 2  # a checkpoint of long before
    with RunLog(tmp_path, total_steps=10**9, resume_step=resume, console=False) as log:
        log.write(resume + 1, {"value": 0.5}, {})
    text = (tmp_path / "metrics.jsonl").read_text()
    expected = [{"step": step, "value": step / 7} for step in range(resume + 1)]
    assert [json.loads(line) for line in text.splitlines()] == [
        *expected,
        {"step": resume + 1, "value": 0.5},
    ]
    board = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    steps = [event.step for event in board.Scalars("value")]
    assert len(steps) == len(set(steps))
    assert steps[-1] == resume + 1


def test_a_full_disk_loses_no_line_and_stops_only_the_sync(tmp_path: Path) -> None:
    def train() -> None:
        log = RunLog(tmp_path, total_steps=10, console=False)
        log.write(1, {"value": 1.0}, {})
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, hard))  # room for one line and a half
        with pytest.warns(UserWarning, match="its lines wait in memory"):
            log.write(2, {"value": 2.0}, {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            log.write(3, {"value": 3.0}, {})
            log.write(4, {"value": 4.0}, {})
        with pytest.raises(OSError, match="File too large"):
            log.sync()
        assert [line["step"] for line in read_metrics(tmp_path)] == [1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        log.write(5, {"value": 5.0}, {})
        log.sync()
        log.close()

    assert in_child(train) == 0
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == "".join(f'{{"step": {step}, "value": {step}.0}}\n' for step in range(1, 6))


def test_a_tensorboard_that_fails_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunLog(tmp_path, total_steps=10, console=False) as log:
        with monkeypatch.context() as patch:
            patch.setattr("torch.utils.tensorboard.writer.SummaryWriter.add_scalar", fail)
            with pytest.warns(UserWarning, match="TensorBoard output stops"):
                log.write(1, {"value": 1.0}, {})
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # once is enough
                log.write(1, {"value": 1.0}, {})
        log.write(2, {"value": 2.0}, {})
        log.sync()
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 1, 2]


def test_a_failed_rewrite_leaves_the_old_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunLog(tmp_path, total_steps=10, console=False) as log:
        log.write(1, {"value": 1.0}, {})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        RunLog(tmp_path, total_steps=10, console=False)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "metrics.jsonl", "timing.jsonl", "tensorboard",
    }  # fmt: skip
