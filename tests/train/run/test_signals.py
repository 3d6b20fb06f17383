"""Which signals ask a program to stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.eval.made_up_runs import write_stream_run
from tests.faults.runs import ROOT, heed_signals
from train.run.signals import INTERRUPTED, StopSignal, interrupt_on_signals

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FATAL = (
    *(signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
    *(signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO),
)
HARMLESS = (signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    for number in (*STOPPING, *FATAL):  # whatever started the tests may ignore some of them
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        if handler is not None and number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_asks(number: int) -> None:
    """A lost terminal too: training died of it and lost the iteration."""
    with StopSignal() as stop:
        os.kill(os.getpid(), number)
        assert stop.requested


def test_under_nohup_a_lost_terminal_is_no_matter() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested
    interrupt_on_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("number", [*STOPPING, *FATAL])
def test_evaluations_are_interrupted(number: int) -> None:
    interrupt_on_signals()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", HARMLESS)
def test_what_ends_no_program_is_left_alone(number: int) -> None:
    interrupt_on_signals()
    os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("program", ["eval.report", "eval.curves", "eval.continual"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_no_half_written_result_is_left(program: str, number: int, tmp_path: Path) -> None:
    """The signal comes when the new file is there and not yet in its place."""
    write_stream_run(tmp_path / "run", cycles=1)
    out = tmp_path / ("out" if program == "eval.report" else "out.png")
    code = f"""
import os, runpy, sys
os.replace = lambda *_: os.kill(os.getpid(), {int(number)})
sys.argv = ["x", {str(tmp_path / "run")!r}, "--out", {str(out)!r}]
runpy.run_module({program!r}, run_name="__main__", alter_sys=True)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, preexec_fn=heed_signals,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == INTERRUPTED, done.stderr
    assert done.stderr.endswith("interrupted: run the same command again\n")
    assert not list(tmp_path.rglob(".tmp-*"))
    assert not out.is_file()
