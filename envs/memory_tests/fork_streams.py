"""Streams of FORK trials: scenes, or pairs of sites, that come one after another.

A part is what one phase trains on: a joint's scene, or a pair of the eight sites of reach. In a
phase of sites all eight commit an attempt, and the pair alone holds the target. The simulator, what
is observed and the policy's input are the same in all pairs, so nothing tells them apart but what
trials turn out to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from envs.memory_tests.fork import JOINTS, ForkSettings

SCENES = ("drawer", "window", "faucet", "handle-side", "lock")
PAIRS = {"sites-1-2": (0, 1), "sites-3-4": (2, 3), "sites-5-6": (4, 5)}
"""Targets that may count in each part of a stream of sites; sites 7 and 8 never do."""
SITES_IN_ALL = 8

FORK_STREAMS = {
    "STREAM-FORK": SCENES,
    "STREAM-FORK-reach": tuple(PAIRS),
    "ERAS": tuple(PAIRS),
}
"""Parts of each stream, in their order."""


def stream_settings(name: str, parts: Sequence[str] = ()) -> ForkSettings | None:
    """FORK over all `parts` of the stream `name`; None where it is no stream of FORK trials.

    Args:
        name: of the stream.
        parts: some of its own, known to be so; empty: all.
    """
    if name not in FORK_STREAMS:
        return None
    chosen = tuple(parts) or FORK_STREAMS[name]
    if all(part in PAIRS for part in chosen):
        among = tuple(site for part in chosen for site in PAIRS[part])
        return ForkSettings(("reach",), SITES_IN_ALL, among=among)
    return ForkSettings(tuple(part for part in chosen if part in JOINTS), 2)


def of_part(fork: ForkSettings, part: str) -> ForkSettings:
    """FORK of one part of a stream alone."""
    if part in PAIRS:
        return replace(fork, among=PAIRS[part])
    return replace(fork, scenes=(part,))
