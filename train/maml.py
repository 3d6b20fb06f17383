"""Train MAML on Meta-World: ``python -m train.maml --suite ML1 --task reach-v3``.

    python -m train.maml --suite ML10                    MAML-TRPO: a gradient step adapts
    python -m train.maml --suite FORK-reach-4 --anil     only the last layer adapts
    python -m train.maml --suite ML10 --outer ppo        ProMP
    python -m train.maml --resume runs/ML10-maml-seed1   go on exactly where it stopped

The baseline that learns by gradients beside RL², which remembers (docs/maml.md). Exit codes: 0
finished, 1 failed (the message says how to go on), 2 bad input (nothing written), 75 interrupted
and resumable.
"""

from __future__ import annotations

import functools
import sys

from train import rl2
from train.run.console import forgiving_console
from train.run.maml_config import MamlConfig
from train.run.program import run_program

PROGRAM = "train.maml"


@forgiving_console()
def main(argv: list[str] | None = None) -> int:
    """Train as the command line says. Returns the exit code."""
    return run_program(argv, MamlConfig, PROGRAM, functools.partial(rl2.run, program=PROGRAM))


if __name__ == "__main__":
    sys.exit(main())
