"""How trials are dealt to workers."""

from __future__ import annotations


def pieces(
    trials: int, lanes: int, workers: int, part: slice | None = None
) -> list[tuple[int, int, slice]]:
    """What is handed to one worker at a time: (first trial of its block, trials of it, piece).

    Blocks of `lanes` trials, cut into the fewest pieces that keep all workers busy for 90 % of the
    time, were all trials to cost the same; the next free worker takes the next piece.

    Args:
        trials: all trials, whose number decides where blocks begin.
        lanes: trials of a block.
        workers: processes among which pieces are dealt.
        part: the trials that are dealt here; None: all.
    """
    part = part or slice(0, trials)
    blocks = [(first, min(lanes, trials - first)) for first in range(0, trials, lanes)]

    def plan(cuts: int) -> list[tuple[int, int, slice]]:
        found = []
        for first, count in blocks:
            begin, end = max(first, part.start), min(first + count, part.stop)
            own = min(cuts, end - begin)
            ends = [begin + (end - begin) * i // own for i in range(own + 1)] if own > 0 else []
            found += [(first, count, slice(*ends[i : i + 2])) for i in range(len(ends) - 1)]
        return found

    def busy(plan: list[tuple[int, int, slice]]) -> float:
        longest = max(piece.stop - piece.start for _, _, piece in plan)
        return (part.stop - part.start) / (workers * longest * -(-len(plan) // workers))

    plans = [plan(cuts) for cuts in range(1, lanes + 1)]
    return next((p for p in plans if busy(p) >= 0.9), max(plans, key=busy))
