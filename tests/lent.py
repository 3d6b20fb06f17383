"""What programs that tests run in this process lend to each other, as it takes a second to make.

Workers: what one runs is a function of the command it gets, whatever it ran before
(`tests/envs/pool`); tests of the pool, and of faults within workers, start workers of their own.
Goals: they are a function of what is asked for (`tests/envs/metaworld/test_suites.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import metaworld
import pytest

from envs.metaworld import suites
from envs.pool.pool import WorkerPool, available_cores

PROGRAMS = (
    "train.rl2",
    "train.continual",
    "eval.evaluate",
    "eval.own_agents.program",
    "eval.memory_tests.fork_evaluation",
    "eval.throughput.rivals",
    "eval.throughput.training",
)


class LentPool(WorkerPool):
    """A pool whose workers go to the next pool of its size, unless anything went wrong."""

    shelf: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, workers: int | None = None, **options: Any) -> None:
        count = available_cores() if workers is None else workers
        kept = next((kept for kept in self.shelf if kept["workers"] == count), None)
        if kept is None or options:
            super().__init__(workers, **options)
        else:
            self.shelf.remove(kept)
            vars(self).update(kept, respawned=0)

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self.close()
        else:
            super().close()

    def close(self) -> None:
        if self._pool and all(map(_healthy, self._pool)):
            self.shelf.append(dict(vars(self)))
            self._pool = []
        elif self._pool:
            super().close()


def _healthy(process: Any) -> bool:
    """Alive, and with no answer left that the next program would take for its own."""
    alive = not process.channel.closed and process.popen.poll() is None
    return alive and not process.channel.poll()


def end_lent_workers() -> None:
    """End those that nobody uses."""
    while LentPool.shelf:
        pool = WorkerPool.__new__(WorkerPool)
        vars(pool).update(LentPool.shelf.pop())
        pool.close()


_goals: dict[Any, Any] = {}


def _drawn_once(name: str) -> Callable[..., Any]:
    """A function of `suites` that for equal arguments is called but once in this process."""
    draw = getattr(suites, name)

    def known(*asked: Any) -> Any:
        words = [tuple(a) if isinstance(a, Sequence) else a for a in asked]
        key = name, metaworld._N_GOALS, *words
        if key not in _goals:
            _goals[key] = draw(*asked)
        return _goals[key]

    return known


@contextmanager
def lending() -> Iterator[None]:
    """Programs run within it use lent workers and goals."""
    with pytest.MonkeyPatch.context() as patch:
        for program in PROGRAMS:
            patch.setattr(f"{program}.WorkerPool", LentPool)
        for name in ("_official", "further_goals"):
            patch.setattr(suites, name, _drawn_once(name))
        yield
