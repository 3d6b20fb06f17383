"""The reservoir: whole old trials, kept raw, so that memory can be rehearsed on its exact inputs.

Inputs are stored, not recurrent states: a trial is unrolled from its start by whatever weights are
asked, so nothing in the store can go stale (Chelu et al. 2024 call what goes stale otherwise
embedding drift). Behavioural distillation on such samples is what retains best on Continual World
(ClonEx-SAC, Wolczyk et al. 2022, arXiv 2209.13900).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memory.behaviour import Behaviour, divergence
from memory.restored import check_tensors, whole

BUDGET = 64 * 2**20  # bytes of inputs and means that one store may take, in memory and on disk


@dataclass(frozen=True)
class Replay:
    """Old trials and what was done in them.

    Attributes:
        inputs: packed inputs from the start of each trial.
        mean: mean actions of the policy that is to be kept.
        log_std: its log standard deviations.
        weight: how much each trial counts, from 0 to 1.
        scores: its belief in each hidden target (`memory.behaviour`), where it acts on one.
        read: how much that counts at each step, likewise.
    """

    inputs: Float[Tensor, "time trial input"]
    mean: Float[Tensor, "time trial action"]
    log_std: Float[Tensor, "trial action"]
    weight: Float[Tensor, " trial"]
    scores: Float[Tensor, "time trial target"] | None = None
    read: Float[Tensor, "time trial"] | None = None

    @property
    def count(self) -> int:
        """How many trials."""
        return self.inputs.shape[1]

    @property
    def done(self) -> Behaviour:
        """What the policy that is to be kept does and believes."""
        return Behaviour(self.mean, self.log_std, self.scores)

    def part(self, time: slice, columns: Int[Tensor, " n"]) -> Replay:
        """Some steps of some trials."""
        inputs, mean = self.inputs[time, columns], self.mean[time, columns]
        scores = None if self.scores is None else self.scores[time, columns]
        read = None if self.read is None else self.read[time, columns]
        return Replay(inputs, mean, self.log_std[columns], self.weight[columns], scores, read)

    def to(self, device: torch.device) -> Replay:
        """The same on another device."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        return Replay(**{name: value.to(device) for name, value in known.items()})


def distillation(now: Behaviour, old: Replay) -> Float[Tensor, ""]:
    """Weighted mean over steps and trials of KL(π̄ ‖ π), in nats, beliefs included."""
    kl = divergence(old.done, now, old.read)
    return (kl.mean(dim=0) * old.weight).mean()


def capacity(trials: int, recent: int, floats: int) -> tuple[int, int]:
    """Both sizes, cut down alike until trials of `floats` numbers fit into the budget."""
    share = min(1.0, BUDGET / (4 * floats * max(trials + recent, 1)))
    return max(int(trials * share), min(trials, 1)), max(int(recent * share), min(recent, 1))


class TrialStore:
    """Slots 0…R-1 hold the most recent trials, the C after them a sample of all that were offered.

    Reservoir sampling (Vitter 1985, algorithm R): after n offers each of them is in the sample
    with probability C / n.

    Args:
        trials: C, size of the lifelong sample.
        recent: R, size of the ring of recent trials.
        steps, inputs, actions: T steps of I inputs and A actions.
        targets: M scores of the belief at each step; 0: there is none.
    """

    def __init__(
        self,
        trials: int,
        recent: int,
        *,
        steps: int,
        inputs: int,
        actions: int,
        targets: int = 0,
    ) -> None:
        self.trials, self.recent = trials, recent
        slots = trials + recent
        self.inputs = torch.zeros(slots, steps, inputs)
        self.mean = torch.zeros(slots, steps, actions)
        self.scores = torch.zeros(slots, steps, targets) if targets else None
        self.read = torch.zeros(slots, steps) if targets else None
        self.log_std = torch.zeros(slots, actions)
        self.weight = torch.zeros(slots)
        self.written = torch.full((slots,), -1)  # iteration; -1: an empty slot
        self.offered = self.passed = 0

    def assign(
        self,
        worth: Float[Tensor, " trial"],
        rng: np.random.Generator,
        chance: Float[Tensor, " trial"] | None = None,
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """Where new trials go: columns of the batch and the slot of each; a slot only once.

        Every trial passes through the ring. Those with `worth` > 0 are offered to the sample, each
        with its `chance`; None: for certain.
        """
        place: dict[int, int] = {}
        offered = worth > 0
        if chance is not None:
            offered &= torch.from_numpy(rng.random(len(worth))) < chance
        for column, offer in enumerate(offered.tolist()):
            if self.recent:
                place[self.passed % self.recent] = column
                self.passed += 1
            if self.trials and offer:
                drawn = self.offered
                if drawn >= self.trials:
                    drawn = int(rng.integers(self.offered + 1))
                if drawn < self.trials:
                    place[self.recent + drawn] = column
                self.offered += 1
        slots = sorted(place)
        columns = [place[slot] for slot in slots]
        return torch.tensor(columns, dtype=torch.long), torch.tensor(slots, dtype=torch.long)

    def write(self, slots: Int[Tensor, " n"], trials: Replay, iteration: int) -> None:
        """Put `trials` into `slots`."""
        self.inputs[slots] = trials.inputs.transpose(0, 1).cpu()
        self.mean[slots] = trials.mean.transpose(0, 1).cpu()
        self.log_std[slots], self.weight[slots] = trials.log_std.cpu(), trials.weight.cpu()
        if self.scores is not None and self.read is not None:
            assert trials.scores is not None
            assert trials.read is not None
            self.scores[slots] = trials.scores.transpose(0, 1).cpu()
            self.read[slots] = trials.read.T.cpu()
        self.written[slots] = iteration

    @property
    def filled(self) -> Int[Tensor, " n"]:
        """Slots that hold a trial."""
        return torch.nonzero(self.written >= 0).flatten()

    def __len__(self) -> int:
        return len(self.filled)

    def draw(self, count: int, rng: np.random.Generator) -> Replay | None:
        """Up to `count` trials of the lifelong sample, each at most once; None if it is empty."""
        kept = self.filled[self.filled >= self.recent]
        if not len(kept) or count < 1:
            return None
        picked = kept[torch.from_numpy(rng.permutation(len(kept))[:count])]
        return self.at(picked)

    def at(self, slots: Int[Tensor, " n"]) -> Replay:
        """The trials in `slots`, time-major."""
        inputs, mean = self.inputs[slots].transpose(0, 1), self.mean[slots].transpose(0, 1)
        scores = None if self.scores is None else self.scores[slots].transpose(0, 1)
        read = None if self.read is None else self.read[slots].T
        return Replay(inputs, mean, self.log_std[slots], self.weight[slots], scores, read)

    def tensors(self) -> dict[str, Tensor]:
        """What is filled; `restore` puts it back to the bit."""
        slots = self.filled
        return {"slots": slots} | {name: getattr(self, name)[slots] for name in self._kept}

    @property
    def _kept(self) -> tuple[str, ...]:
        """Names of the tensors that hold the trials."""
        names = ("inputs", "mean", "log_std", "weight", "written")
        return names if self.scores is None else (*names, "scores", "read")

    def state(self) -> dict[str, int]:
        """Counters of the sampling."""
        return {"offered": self.offered, "passed": self.passed}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, int]) -> None:
        """Inverse of `tensors` and `state`.

        Raises:
            KeyError, ValueError: they are of a store of another size, or damaged.
        """
        names = self._kept
        slots = tensors["slots"]
        size = len(self.written)
        fits = slots.dtype == torch.int64 and slots.dim() == 1 and len(slots.unique()) == len(slots)
        if not fits or not bool(((slots >= 0) & (slots < size)).all()):
            raise ValueError(f"slots must be different whole numbers from 0 to {size - 1}")
        blank = {name: getattr(self, name)[: len(slots)] for name in names}
        check_tensors(tensors, {"slots": slots, **blank})
        if bool((tensors["written"] < 0).any()):
            raise ValueError("written must not be negative")
        for name in names:
            own = getattr(self, name)
            own.zero_()
            own[slots] = tensors[name]
        empty = torch.ones(len(self.written), dtype=torch.bool)
        empty[slots] = False
        self.written[empty] = -1
        self.offered, self.passed = whole(state, "offered"), whole(state, "passed")
