"""Standard input, output and error that were closed before the program began (``2>&-``)."""

from __future__ import annotations

import os


def fill_standard_descriptors() -> None:
    """Open what was closed: else the next file that is opened would stand in its place.

    A log or a lock would then get what a signal's handler writes to the terminal by number, and
    MuJoCo's window library cannot be loaded.
    """
    for descriptor in (0, 1, 2):  # the least free number is the one that is opened
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
