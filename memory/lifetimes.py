"""Level 1 of a lifetime: for each slot a store of the trials that it has met, read by their cues.

A store belongs to one slot and to one lifetime; that of another lifetime is empty to a reader. It
is written between iterations only, so an iteration acts and learns on one store. Entries are raw:
keys are made of the stored inputs by the weights that read, so no key can go stale.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memory.restored import check_tensors

NONE = -1  # the lifetime of a slot that has met nothing; seeds are not negative
NAMES = ("entries", "lifetimes")


class LifetimeStores:
    """S stores of E entries. An entry is a row: cue (I), value (H), age.

    The age of an entry is 1 after the round that wrote it and grows by 1 with each further one; 0
    is an empty place.

    Args:
        slots: S.
        entries: E, trials of a lifetime.
        cue: I, numbers of an input.
        value: H, numbers of what a trial leaves behind.
    """

    def __init__(self, slots: int, entries: int, *, cue: int, value: int) -> None:
        self.cue = cue
        self.entries = torch.zeros(slots, entries, cue + value + 1)
        self.lifetimes = torch.full((slots,), NONE)

    def read(
        self, slots: Int[Tensor, " trial"], lifetimes: Int[Tensor, " trial"]
    ) -> Float[Tensor, "trial entry number"]:
        """What trials of these slots and lifetimes find."""
        same = self.lifetimes[slots] == lifetimes
        return self.entries[slots] * same[:, None, None]

    def write(
        self,
        slots: Int[Tensor, " trial"],
        lifetimes: Int[Tensor, " trial"],
        cues: Float[Tensor, "trial cue"],
        values: Float[Tensor, "trial value"],
    ) -> None:
        """Take in one round: trials of any slots, all of a slot from one lifetime.

        A slot whose lifetime is another is cleared first. A full store gives up its oldest entry.
        """
        slots, lifetimes, cues, values = (x.cpu() for x in (slots, lifetimes, cues, values))
        new = self.lifetimes[slots] != lifetimes
        self.entries[slots[new]] = 0.0
        self.lifetimes[slots] = lifetimes
        met = slots.unique()
        ages = self.entries[met, :, -1]
        self.entries[met, :, -1] = ages + (ages > 0)
        young = torch.ones(1)
        for slot, cue, value in zip(slots.tolist(), cues, values, strict=True):
            place = self._place(self.entries[slot, :, -1])
            self.entries[slot, place] = torch.cat((cue, value, young))

    @staticmethod
    def _place(ages: Float[Tensor, " entry"]) -> int:
        """The first empty place, or that of the oldest entry."""
        known = ages.tolist()
        return known.index(0.0 if 0.0 in known else max(known))

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint must hold."""
        return {name: getattr(self, name) for name in NAMES}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`. Raises ValueError where they are of other sizes."""
        check_tensors(tensors, self.tensors())
        for name in NAMES:
            setattr(self, name, tensors[name].clone())
