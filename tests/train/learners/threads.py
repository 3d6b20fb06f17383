"""Learners in threads of one process: what they exchange is exact, and nothing has to start."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from train.learners.ranks import Ranks

_Kind = TypeVar("_Kind")


class Table:
    """Where the threads lay down what they have for each other."""

    def __init__(self, count: int) -> None:
        self.slots: list[Any] = [None] * count
        self.barrier = threading.Barrier(count, timeout=60)

    def all(self, rank: int, value: Any) -> list[Any]:
        self.slots[rank] = value
        self.barrier.wait()
        found = list(self.slots)
        self.barrier.wait()
        return found


class ThreadRanks(Ranks):
    """One thread's place at the table."""

    def __init__(self, rank: int, count: int, table: Table) -> None:
        self.rank, self.count, self._table = rank, count, table

    def gather(self, mine: Tensor, count: int, dim: int = 0) -> Tensor:
        parts = self._table.all(self.rank, mine.detach())
        sizes = self.sizes(count)
        return torch.cat([p.narrow(dim, 0, n) for p, n in zip(parts, sizes, strict=True)], dim)

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        parts = self._table.all(self.rank, [tensor.detach().clone() for tensor in tensors])
        return [torch.stack(same).sum(dim=0) for same in zip(*parts, strict=True)]

    def largest(self, value: Tensor) -> Tensor:
        return torch.stack(self._table.all(self.rank, value.detach())).max()

    def any(self, flag: bool) -> bool:
        return any(self._table.all(self.rank, flag))


def together(count: int, work: Callable[[Ranks], _Kind]) -> list[_Kind]:
    """What `work` gives each of `count` learners."""
    table = Table(count)
    found: dict[int, _Kind] = {}
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            found[rank] = work(ThreadRanks(rank, count, table))
        except BaseException as error:
            errors.append(error)
            table.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [found[rank] for rank in range(count)]
