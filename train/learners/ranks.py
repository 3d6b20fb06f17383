"""The learners of a run as an algorithm sees them; alone, it is given back what it gives.

Every learner collects its share of the trials and computes its share of each gradient. All else
is computed by every learner from the whole batch, so it has one learner's bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

Groups = Mapping[str, Mapping[str, Tensor]]


class RankError(Exception):
    """A learner is gone, hung or holds other parameters; the message says which.

    Attributes:
        speaks: whether this process is the one that tells the user.
    """

    def __init__(self, message: str, *, speaks: bool = True) -> None:
        super().__init__(message)
        self.speaks = speaks


class Ranks:
    """One learner alone; `train.learners.group.Group` has the same methods for several.

    Attributes:
        rank: number of this learner, from 0; the first logs and saves.
        count: learners.
    """

    rank = 0
    count = 1

    @property
    def first(self) -> bool:
        """Whether this learner logs and saves."""
        return self.rank == 0

    def sizes(self, count: int) -> list[int]:
        """How many of `count` things each learner has: shares differ by one at most."""
        return [(count - rank - 1) // self.count + 1 for rank in range(self.count)]

    def share(self, count: int) -> slice:
        """This learner's share of `count` things, contiguous and in the order of ranks.

        It is never empty. A learner without a share takes the first thing, which `gather` leaves
        out and `busy` weighs with 0, so that no work has to be written for none.
        """
        sizes = self.sizes(count)
        begin = sum(sizes[: self.rank])
        return slice(begin, begin + sizes[self.rank]) if sizes[self.rank] else slice(0, 1)

    def busy(self, count: int) -> float:
        """Weight of this learner's share: 1, or 0 where it has none."""
        return float(self.sizes(count)[self.rank] > 0)

    def gather(self, mine: Tensor, count: int, dim: int = 0) -> Tensor:
        """All `count` things along `dim`, from what every learner has of its `share`."""
        return mine

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum over all learners of each tensor, the same bits on all of them."""
        return list(tensors)

    def largest(self, value: Tensor) -> Tensor:
        """The largest over all learners of a single number."""
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any learner."""
        return flag

    def check_equal(self, groups: Groups) -> None:
        """Compare a hash of all tensors. Raises RankError where learners have come apart."""

    def workers(self, asked: int) -> int:
        """This learner's share of the `asked` workers of its machine, one at least."""
        return asked

    def timing(self) -> dict[str, float]:
        """Since the last call: ``shared_seconds`` in exchange and waiting, ``shared_megabytes``."""
        return {}


ALONE = Ranks()
