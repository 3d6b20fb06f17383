"""Several learners: what they exchange, by ``torch.distributed``.

Every exchange is a collective that all learners call in the same order. Sums have the same bits on
all of them, because each is computed once and passed on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from train.learners.place import Place
from train.learners.ranks import Groups, RankError, Ranks
from train.learners.watch import Watch

_PAUSES = (2e-4, 2e-2)  # seconds between looks at a collective, from its start and at most


class Group(Ranks):
    """The learners of a run, after `torch.distributed` has been started.

    Args:
        place: of this learner.
        watch: knows who is gone.
    """

    def __init__(self, place: Place, watch: Watch) -> None:
        self.rank, self.count, self.watch = place.rank, place.count, watch
        self._place = place
        self._on_gpu = "nccl" in dist.get_backend_config()
        self._seconds = self._bytes = 0.0

    def gather(self, mine: Tensor, count: int, dim: int = 0) -> Tensor:
        """See `Ranks.gather`."""
        sizes = self.sizes(count)
        rows = self._sent(mine.detach().movedim(dim, 0))
        padded = rows.new_zeros((sizes[0], *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        self._run(lambda: dist.all_gather(parts, padded, async_op=True), padded)
        whole = torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
        return whole.movedim(0, dim).contiguous().to(mine.device)

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See `Ranks.total`; one message for all tensors."""
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        sent = self._sent(flat)
        self._run(lambda: dist.all_reduce(sent, async_op=True), sent)
        parts = sent.to(flat.device).split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def largest(self, value: Tensor) -> Tensor:
        """See `Ranks.largest`."""
        return self.gather(value.reshape(1), self.count).max()

    def any(self, flag: bool) -> bool:
        """See `Ranks.any`."""
        return bool(self.gather(torch.tensor([flag], dtype=torch.uint8), self.count).any())

    def check_equal(self, groups: Groups) -> None:
        """See `Ranks.check_equal`."""
        digest = hashlib.blake2b(digest_size=16)
        for group in sorted(groups):
            for name, tensor in sorted(groups[group].items()):
                data = tensor.detach().cpu().contiguous()
                digest.update(f"{group}.{name}".encode())
                digest.update(data.reshape(-1).view(torch.uint8).numpy().data)
        mine = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)[None]
        found = self.gather(mine, self.count)
        others = [rank for rank in range(self.count) if not torch.equal(found[rank], found[0])]
        if others:
            raise RankError(
                f"learner {others[0]} holds other parameters than learner 0: all machines need the "
                "same kind of CPU and the same versions",
                speaks=self.rank == 0,
            )

    def pass_on(self, data: bytes = b"") -> bytes:
        """What the first learner has in `data`, on all of them."""
        length = torch.tensor([len(data)])
        self._run(lambda: dist.broadcast(length, 0, async_op=True), length)
        buffer = torch.zeros(int(length), dtype=torch.uint8)
        if self.first and data:
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self._run(lambda: dist.broadcast(buffer, 0, async_op=True), buffer)
        return buffer.numpy().tobytes()

    def workers(self, asked: int) -> int:
        """See `Ranks.workers`."""
        share, rest = divmod(asked, self._place.local_count)
        return max(1, share + (self._place.local_rank < rest))

    def timing(self) -> dict[str, float]:
        """See `Ranks.timing`."""
        found = {"shared_seconds": self._seconds, "shared_megabytes": self._bytes / 1e6}
        self._seconds = self._bytes = 0.0
        return found

    def _sent(self, tensor: Tensor) -> Tensor:
        """As it travels: from GPU to GPU, or through main memory."""
        return tensor if self._on_gpu else tensor.cpu()

    def _run(self, collective: Callable[[], Any], sent: Tensor) -> None:
        """Run a collective, looking up at times: signals and what the watch has found come first.

        Raises:
            RankError: somebody is gone.
        """
        began, (pause, most) = time.perf_counter(), _PAUSES
        try:
            work = collective()
            while not work.is_completed():
                self.watch.check()
                time.sleep(pause)
                pause = min(1.05 * pause, most)
            work.wait()
        except RuntimeError as error:  # a connection broke
            raise self.watch.reason(str(error).splitlines()[0]) from error
        self._seconds += time.perf_counter() - began
        self._bytes += sent.numel() * sent.element_size()
