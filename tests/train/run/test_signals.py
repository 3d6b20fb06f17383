"""Which signals ask a program to stop."""

import os
import signal
from collections.abc import Iterator

import pytest

from train.run.signals import StopSignal, interrupt_on_signals

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
