"""What an ideal memory knows in FORK: the probabilities of the targets, given what was tried."""

from __future__ import annotations

from collections.abc import Sequence

Belief = tuple[float, ...]


def uniform(options: int) -> Belief:
    """Before the first attempt."""
    return (1.0 / options,) * options


def after_outcome(belief: Belief, choice: int, right: bool, switch: float = 0.0) -> Belief:
    """The belief about the next attempt's target after `choice` was `right` or not.

    Args:
        belief: (M,) probabilities that each target counted in this attempt.
        choice: the target touched.
        right: the outcome, which `belief` must hold possible.
        switch: h, the chance that another target, each as likely, counts from the next attempt on.
    """
    if right:
        now = [float(option == choice) for option in range(len(belief))]
    else:
        others = sum(belief) - belief[choice]
        now = [0.0 if i == choice else p / others for i, p in enumerate(belief)]
    return after_switch(now, switch)


def after_switch(belief: Sequence[float], switch: float) -> Belief:
    """The belief about the next attempt's target, where this attempt said nothing of it."""
    elsewhere = switch / (len(belief) - 1)
    return tuple((1 - switch) * p + elsewhere * (1 - p) for p in belief)
