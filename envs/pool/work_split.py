"""How trials are dealt to workers."""

from __future__ import annotations


def pieces(trials: int, lanes: int, workers: int) -> list[tuple[int, int, slice]]:
    """What is handed to one worker at a time: (first trial of its block, trials of it, piece).

    Blocks of `lanes` trials, cut into the fewest pieces that keep all workers busy for 90 % of the
    time, were all trials to cost the same; the next free worker takes the next piece.
    """
    blocks = [(first, min(lanes, trials - first)) for first in range(0, trials, lanes)]

    def plan(cuts: int) -> list[tuple[int, int, slice]]:
        found = []
        for first, count in blocks:
            ends = [first + count * i // min(cuts, count) for i in range(min(cuts, count) + 1)]
            found += [(first, count, slice(*ends[i : i + 2])) for i in range(len(ends) - 1)]
        return found

    def busy(plan: list[tuple[int, int, slice]]) -> float:
        longest = max(piece.stop - piece.start for _, _, piece in plan)
        return trials / (workers * longest * -(-len(plan) // workers))

    plans = [plan(cuts) for cuts in range(1, lanes + 1)]
    return next((p for p in plans if busy(p) >= 0.9), max(plans, key=busy))
