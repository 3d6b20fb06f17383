"""Level 0: the recurrent short-term memory, carried through a trial and cleared only at its start.

State goes in and comes out as one tensor; nothing is kept in the module, so a forward in the wrong
place cannot change the next one.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from memory import gru

Core = Literal["gru", "lstm", "none"]


class ShortTermMemory(nn.Module):
    """A GRU (Cho et al. 2014), an LSTM (Hochreiter & Schmidhuber 1997) or, for ``none``, an MLP.

    Args:
        core: ``gru``, ``lstm`` or ``none``; the last remembers nothing and is the baseline arm.
        inputs: width of the input features.
        hidden: width H of the output.
    """

    def __init__(self, core: Core, inputs: int, hidden: int) -> None:
        super().__init__()
        self.core: Core = core
        self.hidden = hidden
        self.net: nn.Module
        if core == "none":
            self.net = nn.Linear(inputs, hidden)
            nn.init.orthogonal_(self.net.weight, 2**0.5)
            nn.init.zeros_(self.net.bias)
            return
        self.net = nn.GRU(inputs, hidden) if core == "gru" else nn.LSTM(inputs, hidden)
        for name, weight in self.net.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(weight)
                continue
            for gate in weight.data.split(hidden):  # each gate's matrix on its own
                if name.startswith("weight_hh"):
                    nn.init.orthogonal_(gate)
                else:
                    nn.init.xavier_uniform_(gate)

    @property
    def state_width(self) -> int:
        """S, numbers of state per trial: H for GRU, 2 H for LSTM (h then c), 0 without memory."""
        return {"gru": 1, "lstm": 2, "none": 0}[self.core] * self.hidden

    def initial_state(self, trials: int) -> Float[Tensor, "trial state"]:
        """The cleared memory with which every trial starts."""
        return next(self.parameters()).new_zeros(trials, self.state_width)

    def forward(
        self,
        features: Float[Tensor, "time trial features"],
        state: Float[Tensor, "trial state"],
        new_trial: Bool[Tensor, "time trial"] | None = None,
    ) -> tuple[Float[Tensor, "time trial hidden"], Float[Tensor, "trial state"]]:
        """Unroll over time; `state` is cleared wherever `new_trial` is set, before that step.

        A whole stretch without a new trial is one fused call.
        """
        if self.core == "none":
            return torch.tanh(self.net(features)), state
        if new_trial is None or not bool(new_trial.any()):
            return self._stretch(features, state)
        starts = torch.nonzero(new_trial.any(dim=1)).flatten().tolist()
        cuts = sorted({0, *starts, len(features)})
        outputs = []
        for begin, end in itertools.pairwise(cuts):
            state = torch.where(new_trial[begin].unsqueeze(-1), torch.zeros_like(state), state)
            output, state = self._stretch(features[begin:end], state)
            outputs.append(output)
        return torch.cat(outputs), state

    def _stretch(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if self.core == "gru" and not features.is_cuda:
            net = self.net
            weights = net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0, net.bias_hh_l0
            output = gru.unroll(features, state, weights)  # type: ignore[arg-type]
            return output, output[-1]
        if self.core == "gru":
            output, last = self.net(features, state.unsqueeze(0).contiguous())
            return output, last.squeeze(0)
        h, c = (part.contiguous() for part in state.unsqueeze(0).chunk(2, dim=-1))
        output, (h, c) = self.net(features, (h, c))
        return output, torch.cat((h, c), dim=-1).squeeze(0)
