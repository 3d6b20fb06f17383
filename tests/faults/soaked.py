"""train.rl2 whose workers are given up after 30 s without a step: in a soak they often hang."""

import functools
import sys

from envs.pool.pool import WorkerPool
from train import rl2

if __name__ == "__main__":
    rl2.WorkerPool = functools.partial(WorkerPool, stall_seconds=30.0)  # type: ignore[misc]
    sys.exit(rl2.main())
