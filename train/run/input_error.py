"""Bad input: raised for a caller in Python, told with exit code 2 to one at a terminal."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from train.run.printable import printable_lines

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class InputError(ValueError):
    """What was asked for cannot be done, and nothing was written.

    Attributes:
        problems: one sentence for each thing that is wrong.
        hint: what to do instead; may be empty.
    """

    def __init__(self, problems: Sequence[str], hint: str = "") -> None:
        super().__init__("; ".join(problems) + (f" ({hint})" if hint else ""))
        self.problems, self.hint = tuple(problems), hint

    def tell(self) -> None:
        """Print each problem on a line of its own, and then the hint."""
        for problem in self.problems:  # which may quote a file
            print(f"error: {printable_lines(problem)}", file=sys.stderr)
        if self.hint:
            print(self.hint, file=sys.stderr)


def exits_on_bad_input(
    main: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """Let a program end with exit code 2 and a message where its input is bad."""

    @functools.wraps(main)
    def program(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return main(*args, **kwargs)
        except InputError as error:
            error.tell()
            raise SystemExit(2) from None

    return program
