"""Attention over the trial's attempts: one token for each, queried at every step.

A GRU runs within an attempt. At the first input of the next one (e_t = 1) its state and that input,
which shows the outcome, become token k, and the GRU starts anew:

    m_k = LN(W_m [x_t; h_{t-1}] + p_{k mod 64}), then h_{t-1} = 0
    h_t = GRU(x_t, h_{t-1})
    a = softmax over m_0, m_1 … of (W_q LN(h_t)) · (W_k m_i) / √d, for each of 4 heads
    u = h_t + W_o [Σ_i a_i W_v m_i]; the output is u + W_2 relu(W_1 LN(u))

A pre-norm transformer block (Vaswani et al. 2017, arXiv 1706.03762; Xiong et al. 2020, arXiv
2002.04745) whose present step attends to earlier attempts only, so it is causal. m_0 is learnt:
nothing to recall. 64 tokens are a ring: later ones replace the oldest. Departures: one block, and
tokens are attempts and not steps, which keeps a step cheap; p are learnt places.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from memory.cores.core import Core, exported_gates, initialise_gates, spans
from memory.cores.gru import run_gru

TOKENS, HEADS = 64, 4


class Attention(Core):
    """See this module; its state is the GRU's, the ring of tokens and their number."""

    stepper = "attention"
    signals = ("outcome",)

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)
        self.heads = HEADS if hidden % HEADS == 0 else 1
        self.inner = nn.GRU(inputs, hidden)
        initialise_gates(self.inner, hidden)
        self.write = nn.Linear(inputs + hidden, hidden)
        self.place = nn.Parameter(0.1 * torch.randn(TOKENS, hidden))
        self.null = nn.Parameter(torch.zeros(hidden))
        self.token_norm, self.query_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query, self.key, self.value, self.out = (
            nn.Linear(hidden, hidden, bias=False) for _ in range(4)
        )
        self.mlp_norm = nn.LayerNorm(hidden)
        self.mlp_in, self.mlp_out = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)

    @property
    def state_width(self) -> int:
        """65 H + 1."""
        return (1 + TOKENS) * self.hidden + 1

    def unroll(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Core.unroll`; between events the tokens stay, and all steps run at once."""
        h, tokens, count = state.split([self.hidden, TOKENS * self.hidden, 1], dim=-1)
        tokens, count = tokens.unflatten(-1, (TOKENS, self.hidden)), count.detach().round()
        event, outputs = features[..., -1:] > 0.5, []
        for begin, end in spans(event[..., 0]):
            now = event[begin]
            tokens = self._written(now, features[begin], h, tokens, count)
            count, h = count + now, torch.where(now, 0.0, h)
            inner = run_gru(self.inner, features[begin:end], h)
            h = inner[-1]
            outputs.append(self._read(inner, tokens, count))
        return torch.cat(outputs), torch.cat((h, tokens.flatten(1), count), dim=-1)

    def _written(
        self,
        now: Bool[Tensor, "trial 1"],
        x: Float[Tensor, "trial features"],
        h: Float[Tensor, "trial hidden"],
        tokens: Float[Tensor, "trial token hidden"],
        count: Float[Tensor, "trial 1"],
    ) -> Float[Tensor, "trial token hidden"]:
        """The ring with another token in the trials in which an attempt has ended."""
        slot = (count % TOKENS).long()
        content = self.write(torch.cat((x, h), dim=-1)) + self.place[slot[:, 0]]
        here = now & (torch.arange(TOKENS, device=x.device) == slot)
        return torch.where(here[..., None], self.token_norm(content)[:, None], tokens)

    def _read(
        self,
        inner: Float[Tensor, "time trial hidden"],
        tokens: Float[Tensor, "trial token hidden"],
        count: Float[Tensor, "trial 1"],
    ) -> Float[Tensor, "time trial hidden"]:
        """The block's output, with each step as a query of its trial's tokens."""
        used = min(int(count.max()), TOKENS)
        null = self.null.expand(len(tokens), 1, -1)
        stock = torch.cat((null, tokens[:, :used]), dim=1)
        seen = torch.arange(used + 1, device=count.device) <= count
        apart = self.heads, self.hidden // self.heads
        query = self.query(self.query_norm(inner)).unflatten(-1, apart)
        key, value = (part(stock).unflatten(-1, apart) for part in (self.key, self.value))
        scores = torch.einsum("tbhd,bnhd->tbhn", query, key) * apart[1] ** -0.5
        weights = scores.masked_fill(~seen[:, None], -torch.inf).softmax(dim=-1)
        found = torch.einsum("tbhn,bnhd->tbhd", weights, value).flatten(-2)
        u = inner + self.out(found)
        return u + self.mlp_out(torch.relu(self.mlp_in(self.mlp_norm(u))))

    def export(self) -> dict[str, Tensor]:
        """Gates in the order r, z, n; the other layers by name, their weights transposed."""
        layers = {n: m for n, m in self.named_children() if isinstance(m, nn.Linear)}
        norms = {n: m for n, m in self.named_children() if isinstance(m, nn.LayerNorm)}
        return {
            **exported_gates(self.inner, "inner."),
            **{f"{n}.weight": m.weight.t() for n, m in layers.items()},
            **{f"{n}.bias": m.bias for n, m in layers.items() if m.bias is not None},
            **{f"{n}.{k}": w for n, m in norms.items() for k, w in m.named_parameters()},
            "place": self.place,
            "null": self.null,
            "heads": torch.tensor([float(self.heads)]),
        }
