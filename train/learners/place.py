"""Where a process stands among the learners of a run, as torchrun says it in the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """One learner among those of a run.

    Attributes:
        rank, count: its number from 0, and how many there are.
        local_rank, local_count: the same among those of its machine.
        host, port: where the learners meet.
        attempt: how often torchrun has started the run anew.
        served: whether somebody else (torchrun) keeps the store at `host` and `port`.
    """

    rank: int
    count: int
    local_rank: int
    local_count: int
    host: str
    port: int
    attempt: str = "0"
    served: bool = False

    def environment(self) -> dict[str, str]:
        """What `launched` reads."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.count),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_count),
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(self.port),
        }


def launched() -> Place | None:
    """The place that a launcher gave this process; None where it was started by itself."""
    given = os.environ
    if not all(given.get(name) for name in _NAMES):
        return None
    rank, count = int(given["RANK"]), int(given["WORLD_SIZE"])
    if count < 2:
        return None
    return Place(
        rank,
        count,
        int(given.get("LOCAL_RANK", rank)),
        int(given.get("LOCAL_WORLD_SIZE", count)),
        given["MASTER_ADDR"],
        int(given["MASTER_PORT"]),
        given.get("TORCHELASTIC_RESTART_COUNT", "0"),
        given.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )
