"""Reading long-term memory while acting: when it is read, by what query, and where it goes.

A slow encoder (a frozen copy of encoder and short-term memory of the slowest policy) is unrolled
beside the agent, without reads of its own, so keys of the store and queries live in one space that
changes only when the whole store is encoded anew.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agents.encoder import Encoder
from agents.input_layout import PREV_DONE
from memory.cores.core import Core
from memory.episodic import ALL, NOTHING, EpisodicMemory


@dataclass(frozen=True)
class RecallState:
    """An agent's state taken apart, one row per trial.

    Attributes:
        core: state of the short-term memory.
        slow: state of the slow encoder's.
        total: sum of the slow encoder's outputs over the trial so far.
        age: steps of the trial gone.
        recall: what the trial may recall; see `memory.episodic`.
    """

    core: Float[Tensor, "trial state"]
    slow: Float[Tensor, "trial slow"]
    total: Float[Tensor, "trial hidden"]
    age: Float[Tensor, " trial"]
    recall: Float[Tensor, " trial"]

    def join(self) -> Float[Tensor, "trial joined"]:
        """As one tensor: core, slow, total, age, recall."""
        last = torch.stack((self.age, self.recall), dim=-1)
        return torch.cat((self.core, self.slow, self.total, last), dim=-1)


class Recall(nn.Module):
    """The store, the slow encoder, and the unroll that reads.

    Args:
        encoder, memory: copied as the first slow encoder.
        entries: trials that the store holds.
        every: steps between reads within an episode; the starts of later episodes read as well.
    """

    def __init__(self, encoder: Encoder, memory: Core, *, entries: int, every: int) -> None:
        super().__init__()
        self.every = every
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.memory = copy.deepcopy(memory).requires_grad_(False)
        self.store = EpisodicMemory(entries, memory.hidden, memory.hidden)

    @property
    def extra_width(self) -> int:
        """Numbers of state besides those of the short-term memory."""
        return self.memory.state_width + self.memory.hidden + 2

    def split(self, state: Float[Tensor, "trial joined"]) -> RecallState:
        """Inverse of `RecallState.join`."""
        width, hidden = self.memory.state_width, self.memory.hidden
        core, slow, total, last = state.split([width, width, hidden, 2], dim=-1)
        return RecallState(core, slow, total, last[:, 0], last[:, 1])

    def initial_state(
        self, core: Float[Tensor, "trial state"], recall: Tensor | None
    ) -> Float[Tensor, "trial joined"]:
        """State at the start of trials that may recall what `recall` (trial,) says; None: all."""
        state = torch.cat((core, core.new_zeros(len(core), self.extra_width)), dim=-1)
        state[:, -1] = ALL if recall is None else recall.to(state)
        return state

    def report(self, state: Float[Tensor, "trial joined"]) -> dict[str, float]:
        """What a read would do in `state`; see `EpisodicMemory.report`."""
        now = self.split(state)
        query = _mean(now.total, now.age)
        return self.store.report(now.core[:, self.memory.hidden_part], query, now.recall)

    @torch.no_grad()
    def encode(
        self, inputs: Float[Tensor, "time trial input"]
    ) -> Float[Tensor, "time trial hidden"]:
        """The slow encoder's outputs along whole trials."""
        start = self.memory.initial_state(inputs.shape[1])
        return self.memory.unroll(self.encoder(inputs), start)[0]

    def forward(
        self,
        memory: Core,
        features: Float[Tensor, "time trial features"],
        inputs: Float[Tensor, "time trial input"],
        state: Float[Tensor, "trial joined"],
    ) -> tuple[Float[Tensor, "time trial hidden"], Float[Tensor, "trial joined"]]:
        """Unroll `memory` over `features` of `inputs`, reading where a read is due."""
        now, place = self.split(state), memory.hidden_part
        core = now.core
        if not bool((now.recall > NOTHING).any()):  # no query will ever be asked for
            output, core = memory.unroll(features, core)
            return output, dataclasses.replace(now, core=core).join()
        with torch.no_grad():
            encoded, slow = self.memory.unroll(self.encoder(inputs), now.slow)
            totals = torch.cat((now.total[None], now.total + encoded.cumsum(dim=0)))
            ages = now.age + torch.arange(len(inputs) + 1, device=inputs.device)[:, None]
            asked = (ages[:-1] % self.every == 0) | (inputs[..., PREV_DONE] > 0.5)
            due = asked & (ages[:-1] > 0)
        outputs = []
        reads = torch.nonzero(due.any(dim=1)).flatten().tolist()
        for begin, end in itertools.pairwise(sorted({0, *reads, len(inputs)})):
            if bool(due[begin].any()):
                hidden = core[:, place]
                read = self.store.read(hidden, _mean(totals[begin], ages[begin]), now.recall)
                read = torch.where(due[begin][:, None], read, hidden)
                parts = core[:, : place.start], read, core[:, place.stop :]
                core = torch.cat(parts, dim=-1)
            output, core = memory.unroll(features[begin:end], core)
            outputs.append(output)
        after = RecallState(core, slow, totals[-1], ages[-1], now.recall)
        return torch.cat(outputs), after.join()


def _mean(
    total: Float[Tensor, "trial hidden"], age: Float[Tensor, " trial"]
) -> Float[Tensor, "trial hidden"]:
    """The query of a read: the slow encoder's mean output over the trial so far."""
    return total / age.clamp(min=1)[:, None]
