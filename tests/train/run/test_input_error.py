"""Bad input is an error with a type for Python, and exit code 2 with words for a terminal."""

import pytest

from train.run.config import stop
from train.run.input_error import InputError, exits_on_bad_input
from train.run.verified_folder import CheckpointError


def test_every_problem_and_the_hint_are_kept() -> None:
    with pytest.raises(InputError, match="first; second") as raised:
        stop(["first", "second"], "type another")
    assert raised.value.problems == ("first", "second")
    assert raised.value.hint == "type another"


def test_a_program_ends_with_code_2_and_tells_each_on_its_line(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        exits_on_bad_input(stop)(["first", "second"], "type another")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: first\nerror: second\ntype another\n"


def test_other_errors_and_results_pass() -> None:
    assert exits_on_bad_input(abs)(-1) == 1
    with pytest.raises(ZeroDivisionError):
        exits_on_bad_input(divmod)(1, 0)


def test_what_a_file_says_moves_no_cursor(capsys) -> None:
    """A name in a checkpoint could clear the screen, or repaint the line above."""
    with pytest.raises(SystemExit):
        exits_on_bad_input(stop)(["arm \x1b[2Jx\r\u202e\nsecond line"])
    assert capsys.readouterr().err == "error: arm \\x1b[2Jx\\r\\u202e\nsecond line\n"
    assert str(CheckpointError("tensor \x1b[31m")) == "tensor \\x1b[31m"
