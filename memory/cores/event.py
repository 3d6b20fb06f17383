"""Two clocks: a slow GRU that steps when an outcome arrives, and a fast one that steps always.

With h^s the slow and h^f the fast state, and e_t = 1 at the first input of an episode:

    h^s_t = GRU_slow([x_t; h^f_{t-1}], h^s_{t-1}) where e_t = 1, else h^s_{t-1}
    h^f_t = GRU_fast([x_t; h^s_t], h^f_{t-1}), which is the output

That input shows the outcome of the last attempt in FORK, and the last reward elsewhere; h^f knows
what was tried. So the slow state has to last for K events and not for K × H steps.

Clocks of different speed are those of the clockwork RNN (Koutník et al. 2014, arXiv 1402.3511).
Here events and not a period drive the slow one: a recurrent expert that runs only over inputs that
are there is the idea of Sahin & Kozat (2024), see `memory.cores.hrnn`. Departures: one slow module
instead of many, and the fast one feeds it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memory.cores.core import Core, exported_gates, initialise_gates, spans
from memory.cores.gru import run_gru


class Event(Core):
    """See this module; its state is the fast one, then the slow one."""

    stepper = "event"
    signals = ("outcome",)

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)
        self.fast = nn.GRU(inputs + hidden, hidden)
        self.slow = nn.GRU(inputs + hidden, hidden)
        for net in (self.fast, self.slow):
            initialise_gates(net, hidden)

    @property
    def state_width(self) -> int:
        """2 H."""
        return 2 * self.hidden

    def unroll(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Core.unroll`; between events the fast GRU runs over all steps at once."""
        fast, slow = state.chunk(2, dim=-1)
        event, outputs = features[..., -1] > 0.5, []
        for begin, end in spans(event):
            seen = torch.cat((features[begin], fast), dim=-1)[None]
            slow = torch.where(event[begin, :, None], run_gru(self.slow, seen, slow)[0], slow)
            told = slow.expand(end - begin, -1, -1)
            output = run_gru(self.fast, torch.cat((features[begin:end], told), dim=-1), fast)
            fast = output[-1]
            outputs.append(output)
        return torch.cat(outputs), torch.cat((fast, slow), dim=-1)

    def export(self) -> dict[str, Tensor]:
        """Gates of both in the order r, z, n."""
        return exported_gates(self.fast, "fast.") | exported_gates(self.slow, "slow.")
