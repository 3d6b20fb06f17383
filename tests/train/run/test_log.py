"""The metrics stream: exact lines, resume, TensorBoard and the two kinds of console."""

import io
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import imageio.v3
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train.run import board
from train.run import log as log_module
from train.run.log import RunLog, read_metrics
from train.run.signals import STOPPING, StopSignal


def write_run(run: Path, steps: range, **options: Any) -> None:
    with RunLog(run, total_steps=100, console=False, **options) as log:
        for step in steps:
            log.write(step, {"ppo/kl": step / 3, "train/success": 0.1}, {"steps_per_second": 9.0})


def logged_steps(run: Path, name: str = "metrics.jsonl") -> list[int]:
    return [json.loads(line)["step"] for line in (run / name).read_text().splitlines()]


def board_of(run: Path) -> EventAccumulator:
    board = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    return board.Reload()


# ------------------------------------------------------------------------------------- lines


def test_lines_are_exact_and_apart_from_the_clock(tmp_path: Path) -> None:
    metrics = {"z": 0.1 + 0.2, "a/b": 3, "half": np.float32(0.1), "neg": -0.0, "tiny": 5e-324}
    with RunLog(tmp_path / "new" / "run", total_steps=10, console=False) as log:
        log.write(np.int64(7), metrics, {"steps_per_second": 1.5})  # type: ignore[arg-type]
    assert (tmp_path / "new" / "run" / "metrics.jsonl").read_text() == (
        '{"step": 7, "a/b": 3.0, "half": 0.10000000149011612, "neg": -0.0, '
        '"tiny": 5e-324, "z": 0.30000000000000004}\n'
    )
    timing = (tmp_path / "new" / "run" / "timing.jsonl").read_text()
    assert timing == '{"step": 7, "steps_per_second": 1.5}\n'
    assert read_metrics(tmp_path / "new" / "run") == [{"step": 7, **metrics}]


def test_not_finite_numbers_are_null_and_counted(tmp_path: Path) -> None:
    inf, nan = float("inf"), float("nan")
    with RunLog(tmp_path, total_steps=10, console=False) as log:
        log.write(1, {"a": nan, "b": inf, "c": 1.0, "d": -inf}, {"seconds": nan})
        log.write(2, {"z": nan, "a": 2.0}, {})
    last = (tmp_path / "metrics.jsonl").read_text().splitlines()[1]
    assert last == '{"step": 2, "a": 2.0, "log/non_finite": 1.0, "z": null}'
    assert read_metrics(tmp_path) == [
        {"step": 1, "a": None, "b": None, "c": 1.0, "d": None, "log/non_finite": 3.0},
        {"step": 2, "a": 2.0, "z": None, "log/non_finite": 1.0},
    ]
    board = board_of(tmp_path)
    assert [(event.step, event.value) for event in board.Scalars("a")] == [(2, 2.0)]
    counts = [(event.step, event.value) for event in board.Scalars("log/non_finite")]
    assert counts == [(1, 3.0), (2, 1.0)]
    assert "b" not in board.Tags()["scalars"]


def test_misuse_is_refused(tmp_path: Path) -> None:
    with RunLog(tmp_path, total_steps=10, console=False) as log:
        with pytest.raises(ValueError, match='"step"'):
            log.write(1, {"step": 1.0}, {})
        with pytest.raises(TypeError):
            log.write(1.5, {}, {})  # type: ignore[arg-type]
    log.close()  # again
    with pytest.raises(ValueError, match="closed"):
        log.write(1, {}, {})
    assert read_metrics(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        read_metrics(tmp_path / "absent")


def test_lines_are_visible_at_once_and_durable_after_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = os.fsync, []

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    with RunLog(tmp_path, total_steps=10, console=False) as log:
        log.write(1, {"a": 1.0}, {"b": 2.0})
        assert logged_steps(tmp_path) == logged_steps(tmp_path, "timing.jsonl") == [1]
        monkeypatch.setattr(os, "fsync", fsync)
        log.sync()
        assert synced == [str(tmp_path / "metrics.jsonl"), str(tmp_path / "timing.jsonl")]
        assert [event.step for event in board_of(tmp_path).Scalars("a")] == [1]


# ------------------------------------------------------------------------------------ resume


def test_an_interrupted_run_leaves_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    write_run(tmp_path / "whole", range(0, 60, 10))
    write_run(tmp_path / "broken", range(0, 50, 10))
    write_run(tmp_path / "broken", range(30, 60, 10), resume_step=20)  # checkpoint was at 20
    for name in ("metrics.jsonl", "timing.jsonl"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "broken" / name).read_bytes() == whole
    assert logged_steps(tmp_path / "broken") == [0, 10, 20, 30, 40, 50]


def test_tensorboard_has_each_step_once_after_resume(tmp_path: Path) -> None:
    write_run(tmp_path, range(0, 50, 10))
    with RunLog(tmp_path, total_steps=100, resume_step=20, console=False) as log:
        log.write(30, {"ppo/kl": -1.0}, {"steps_per_second": 5.0})
    board = board_of(tmp_path)
    values = [(event.step, event.value) for event in board.Scalars("ppo/kl")]
    expected = [(0, 0.0), (10, np.float32(10 / 3)), (20, np.float32(20 / 3)), (30, -1.0)]
    assert values == expected
    clock = [(event.step, event.value) for event in board.Scalars("timing/steps_per_second")]
    assert clock == [(0, 9.0), (10, 9.0), (20, 9.0), (30, 5.0)]


def test_a_run_that_starts_from_nothing_drops_everything(tmp_path: Path) -> None:
    write_run(tmp_path, range(0, 50, 10))  # died before its first checkpoint
    write_run(tmp_path, range(0, 20, 10))
    assert logged_steps(tmp_path) == logged_steps(tmp_path, "timing.jsonl") == [0, 10]
    assert [event.step for event in board_of(tmp_path).Scalars("ppo/kl")] == [0, 10]


@pytest.mark.parametrize("torn", [b'{"step": 30, "a', b"{", b"\0" * 40, b"\xff", b'{"step": 3}'])
def test_a_torn_last_line_is_left_out(
    tmp_path: Path, torn: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "_await_new_second", lambda _: None)  # TensorBoard's affair
    write_run(tmp_path, range(0, 30, 10))
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    assert [record["step"] for record in read_metrics(tmp_path)] == [0, 10, 20]
    write_run(tmp_path, range(30, 40, 10), resume_step=20)
    assert logged_steps(tmp_path) == [0, 10, 20, 30]


@pytest.mark.parametrize("bad", [b"nonsense", b"[1]", b"5", b'"step"', b'{"a": 1}', b"[" * 10**5])
def test_damage_within_is_not_silent(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + bad + b'\n{"step": 3}\n')
    with pytest.warns(UserWarning, match="line 2 is damaged"):
        assert read_metrics(tmp_path) == [{"step": 1}, {"step": 3}]


# ------------------------------------------------------------------------------- TensorBoard


def test_video_is_an_animation(tmp_path: Path) -> None:
    frames = np.zeros((5, 24, 32, 3), dtype=np.uint8)
    for index, frame in enumerate(frames):
        frame[:, :, 0] = 50 * index
    with RunLog(tmp_path, total_steps=10, console=False) as log:
        log.video(3, "eval/video", frames, fps=10)
        for wrong in (frames[0], frames[:0], frames[..., :1], frames.astype(np.float32)):
            with pytest.raises(ValueError, match="need uint8 frames"):
                log.video(3, "eval/video", wrong)  # type: ignore[arg-type]
    [event] = board_of(tmp_path).Images("eval/video")
    assert (event.step, event.width, event.height) == (3, 32, 24)
    assert event.encoded_image_string.startswith(b"GIF89a")
    decoded = imageio.v3.imread(event.encoded_image_string, extension=".gif", index=None)
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).max() <= 8  # a GIF has 256 colours
    assert imageio.v3.immeta(event.encoded_image_string, extension=".gif")["duration"] == 100


# ----------------------------------------------------------------------------------- console


def test_plain_lines_without_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(log_module.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("FORCE_COLOR", "1")  # as some CI sets it: a pipe is still no terminal
    metrics = {"train/success": 0.25, "train/return": 1234.56, "ppo/kl": 0.0123, "other": 1.0}
    with RunLog(tmp_path, total_steps=10_000, console=True) as log:
        log.write(1000, metrics, {"steps_per_second": 90.0})
        now[0] += 9.9
        log.write(2000, metrics, {})  # too soon
        now[0] += 0.1
        log.write(3000, {"train/success": float("nan")}, {"steps_per_second": 0.0})
        log.message("saved [checkpoint]")
        log.write(10_000, {"ppo/kl": 0.5}, {"steps_per_second": 1e-300})  # the last is shown
    assert capsys.readouterr().out.splitlines() == [
        "step=1000/10000 success=0.25 return=1235 kl=0.0123 steps/s=90 eta=0:01:40",
        "step=3000/10000",
        "saved [checkpoint]",
        "step=10000/10000 kl=0.5 steps/s=0 eta=0:00:00",
    ]
    assert logged_steps(tmp_path) == [1000, 2000, 3000, 10_000]


def test_eta_of_a_stalled_run_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunLog(tmp_path, total_steps=10**12, console=True) as log:
        log.write(1, {}, {"steps_per_second": 1e-300})
    assert "eta=" in capsys.readouterr().out


def test_silent_without_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path, total_steps=10, console=False) as log:
        log.write(1, {"train/success": 1.0}, {"steps_per_second": 1.0})
        log.message("hello")
    assert capsys.readouterr().out == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_display_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("sys.stdout", screen)
    with RunLog(tmp_path, total_steps=10_000, resume_step=1999, console=True) as log:
        one_task = {"train/success": 0.5, "train/success/reach-v3": 0.5, "train/return": 12.0}
        log.write(4000, one_task, {"steps_per_second": 100.0})
        log.message("saved [checkpoint]")
        assert "success 0.5" in screen.getvalue()
        assert "reach-v3" not in screen.getvalue()  # one task needs no table
        log.write(5000, one_task | {"train/success/push-v3": 0.25}, {"steps_per_second": 100.0})
    shown = screen.getvalue()
    assert "success 0.5  return 12  steps/s 100  eta 0:00:50" in shown
    for text in ("5,000/10,000", " 50%", "push-v3", "reach-v3", "saved [checkpoint]"):
        assert text in shown
    assert shown.endswith("\x1b[?25h")  # the cursor is back


def test_the_display_fits_80_columns_and_tells_of_ctrl_c_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line that breaks, or is written beside the display, leaves an old copy of it behind."""
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout", screen)
    wide = {"train/success": 0.51234, "train/return": -1234.56, "ppo/kl": 0.0123456}
    tasks = {f"train/success/a-task-with-a-long-name-{n}-v3": 0.25 for n in range(10)}
    with (
        StopSignal() as stop,
        RunLog(tmp_path, total_steps=20_000_000, console=True, stop=stop) as log,
    ):
        log.write(19_000_000, wide | tasks, {"steps_per_second": 1.5})
        signal.raise_signal(signal.SIGINT)
        log.write(19_020_000, wide | tasks, {"steps_per_second": 12345.0})
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    lines = list(filter(None, re.split(r"[\r\n]+", plain)))
    assert max(map(len, lines)) <= 80
    assert sum("eta 7 days" in line for line in lines) >= 1
    assert lines[-1] == STOPPING
    assert capfd.readouterr().err == ""
