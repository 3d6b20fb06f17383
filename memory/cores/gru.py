"""A GRU (Cho et al. 2014), unrolled on the CPU with a gradient worked out by hand.

`torch.nn.GRU` records about ten operations a step and walks back through each of them. For
minibatches of twenty rows that costs more than the arithmetic. `unroll` does everything that does
not wait for the step before (input projections, derivatives of the gates, gradients of the weights)
for all steps at once. Six operations forward and four backward are left in its loops.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from memory.cores.core import Core, exported_gates, initialise_gates


class GRU(Core):
    """`torch.nn.GRU`; its state is h, which is its output as well."""

    stepper = "gru"

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)
        self.net = nn.GRU(inputs, hidden)
        initialise_gates(self.net, hidden)

    @property
    def state_width(self) -> int:
        """H."""
        return self.hidden

    def unroll(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Core.unroll`; on a GPU one fused call."""
        output = run_gru(self.net, features, state)
        return output, output[-1]

    def export(self) -> dict[str, Tensor]:
        """Gates in the order r, z, n."""
        return exported_gates(self.net)


def run_gru(
    net: nn.GRU, x: Float[Tensor, "time trial features"], h: Float[Tensor, "trial hidden"]
) -> Float[Tensor, "time trial hidden"]:
    """Outputs of all steps of a `torch.nn.GRU`; the last one is the next state.

    On a GPU it is one fused call, elsewhere `unroll`.
    """
    if x.is_cuda:
        return net(x, h.unsqueeze(0).contiguous())[0]  # type: ignore[no-any-return]
    weights = net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0, net.bias_hh_l0
    return unroll(x, h, weights)  # type: ignore[arg-type]


def unroll(
    x: Float[Tensor, "time trial features"],
    h: Float[Tensor, "trial hidden"],
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
) -> Float[Tensor, "time trial hidden"]:
    """Outputs of all steps, as `torch.nn.GRU` gives them; the last one is the next state.

    r = σ(W_ir x + b_ir + W_hr h + b_hr), z likewise, n = tanh(W_in x + b_in + r (W_hn h + b_hn)),
    h' = (1 - z) n + z h.

    Args:
        x: features.
        h: state before the first step.
        weights: weight_ih (3 H, features), weight_hh (3 H, H), bias_ih (3 H), bias_hh (3 H), the
            gates in the order r, z, n.
    """
    return _Unroll.apply(x, h, *weights)  # type: ignore[no-any-return]


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
        w_ih, w_hh, b_ih, b_hh = weights
        (time, trials, _), width = x.shape, h.shape[1]
        from_input = torch.addmm(b_ih, x.reshape(time * trials, -1), w_ih.t())
        from_input = from_input.view(time, trials, 3 * width)
        from_state = torch.empty_like(from_input)
        gates = x.new_empty(time, trials, 2 * width)  # r, z
        candidate, states = x.new_empty(time, trials, width), x.new_empty(time + 1, trials, width)
        states[0] = h
        across, along = w_hh.t().contiguous(), states.unbind()
        r, z = (part.unbind() for part in gates.chunk(2, dim=-1))
        steps = zip(
            from_input[..., : 2 * width].unbind(),
            from_input[..., 2 * width :].unbind(),
            from_state.unbind(),
            from_state[..., : 2 * width].unbind(),
            from_state[..., 2 * width :].unbind(),
            gates.unbind(),
            candidate.unbind(),
            strict=True,
        )
        for t, (rz_in, n_in, state, rz_state, n_state, gate, n) in enumerate(steps):
            torch.addmm(b_hh, along[t], across, out=state)
            torch.add(rz_in, rz_state, out=gate).sigmoid_()
            torch.addcmul(n_in, r[t], n_state, out=n).tanh_()
            torch.lerp(n, along[t], z[t], out=along[t + 1])
        ctx.save_for_backward(x, w_ih, w_hh, gates, candidate, states, from_state)
        return states[1:].clone()  # what is saved must not be changed from outside

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, gates, n, states, from_state = ctx.saved_tensors
        (time, trials, width), before = n.shape, states[:-1]
        r, z = gates.chunk(2, dim=-1)
        # Derivatives of the pre-activations by the step's output, which only that output scales.
        to_n = (1 - z) * (1 - n * n)
        by_output = torch.stack(
            (
                to_n * from_state[..., 2 * width :] * r * (1 - r),
                (before - n) * z * (1 - z),
                to_n * r,
            ),
            dim=2,
        )
        pre = torch.empty_like(by_output)
        total = torch.empty_like(n)
        grad = x.new_zeros(trials, width)
        later = list(
            zip(
                grads[0].unbind(),
                total.unbind(),
                total.unsqueeze(2).unbind(),
                by_output.unbind(),
                pre.unbind(),
                pre.view(time, trials, 3 * width).unbind(),
                z.unbind(),
                strict=True,
            )
        )
        for given, whole, spread, slope, step, flat, keep in reversed(later):
            torch.add(grad, given, out=whole)
            torch.mul(spread, slope, out=step)
            grad = torch.addmm(whole * keep, flat, w_hh)
        rows = time * trials
        by_state = pre.view(rows, 3 * width)
        by_input = pre.clone()
        torch.mul(total, to_n, out=by_input[:, :, 2])
        by_input = by_input.view(rows, 3 * width)
        need = ctx.needs_input_grad
        return (
            (by_input @ w_ih).view_as(x) if need[0] else None,
            grad if need[1] else None,
            by_input.t() @ x.reshape(rows, -1) if need[2] else None,
            by_state.t() @ before.reshape(rows, width) if need[3] else None,
            by_input.sum(0) if need[4] else None,
            by_state.sum(0) if need[5] else None,
        )
