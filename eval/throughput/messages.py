"""How long messages between learners take: ``python -m eval.throughput.messages``.

    python -m eval.throughput.messages                             two learners of this machine
    torchrun --nnodes 2 … -m -- eval.throughput.messages           those that torchrun starts

The messages are those of a run that learners share: sums as of gradients, and gathered trials, from
main memory and so by gloo. Exit codes: 0 done, 1 a learner is gone, 2 bad input.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from train.learners.group import Group
from train.learners.meeting import meeting
from train.learners.ranks import RankError
from train.run.command_line import read
from train.run.config import stop
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input

PROGRAM = "eval.throughput.messages"
AGAIN = f"measure again: python -m {PROGRAM}"
SUMMED = (4_000, 500_000, 1_000_000, 4_000_000)  # bytes; the default's gradients have half a MB
GATHERED = (1_000_000, 5_000_000, 20_000_000)  # an iteration of 20,000 steps has 5 MB
UNMEASURED = 3  # messages before those that count


@dataclass(frozen=True)
class Settings:
    """Measure the messages between learners, on this machine or wherever torchrun started them."""

    learners: int = 2
    """Learners of this machine; torchrun has its own number."""
    repeats: int = 50
    """Messages of each size; medians are shown."""

    def problems(self) -> list[str]:
        """Everything wrong with these values."""
        found = [] if self.repeats >= 1 else [f"--repeats must be at least 1, not {self.repeats}"]
        if not 2 <= self.learners <= 64:
            found.append(f"--learners must be from 2 to 64, not {self.learners}")
        return found


def seconds(group: Group, send: Callable[[], object], repeats: int) -> float:
    """Median seconds of one message, begun by all learners at once."""
    taken = []
    for _ in range(UNMEASURED + repeats):
        group.any(False)  # all are here
        began = time.perf_counter()
        send()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[UNMEASURED:])


def measure(group: Group, repeats: int) -> list[tuple[str, float, float]]:
    """What was sent, its bytes, and the seconds that it took."""
    found = []
    for size in SUMMED:
        sent = [torch.ones(size // 4)]
        found.append(("sum", size, seconds(group, partial(group.total, sent), repeats)))
    for size in GATHERED:
        part = torch.zeros(size, dtype=torch.uint8)[group.share(size)]
        found.append(("gather", size, seconds(group, partial(group.gather, part, size), repeats)))
    return found


@forgiving_console()
@exits_on_bad_input
def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    settings = read(Settings, arguments, PROGRAM)
    if problems := settings.problems():
        stop(problems)
    try:
        with meeting(settings.learners, PROGRAM, arguments, lambda: AGAIN) as group:
            found = measure(group, settings.repeats)
    except RankError as error:
        if error.speaks:
            print(f"error: {error}", file=sys.stderr)
        return 1
    if group.first:
        print(f"{group.count} learners, medians of {settings.repeats} messages\n")
        print("| message | MB | ms |\n|---|---:|---:|")
        for kind, size, taken in found:
            print(f"| {kind} | {size / 1e6:g} | {1e3 * taken:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
