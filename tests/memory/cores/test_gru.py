"""The hand-made unrolling is torch's GRU: outputs, state and every gradient."""

import pytest
import torch
from torch import Tensor, nn

from memory.cores.gru import unroll

TIME, TRIALS, FEATURES, HIDDEN = 9, 4, 7, 5
NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


@pytest.fixture
def parts() -> tuple[nn.GRU, Tensor, Tensor, tuple[Tensor, ...]]:
    """A GRU, features and a state that are learnt, and its weights, in double precision."""
    torch.manual_seed(0)
    net = nn.GRU(FEATURES, HIDDEN).double()
    x = torch.randn(TIME, TRIALS, FEATURES, dtype=torch.double, requires_grad=True)
    h = torch.randn(TRIALS, HIDDEN, dtype=torch.double, requires_grad=True)
    return net, x, h, tuple(getattr(net, name) for name in NAMES)


def test_outputs_and_gradients_are_torch_s(parts) -> None:
    net, x, h, weights = parts
    expected, found = net(x, h.unsqueeze(0))[0], unroll(x, h, weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    weigh = torch.randn_like(expected)  # every step has a say, the last one twice
    losses = [(out * weigh).sum() + out[-1].square().sum() for out in (expected, found)]
    inputs = [x, h, *weights]
    for a, b in zip(*(torch.autograd.grad(loss, inputs) for loss in losses), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences(parts) -> None:
    _, x, h, weights = parts
    assert torch.autograd.gradcheck(
        lambda *args: unroll(args[0], args[1], args[2:]), (x, h, *weights)
    )


@pytest.mark.parametrize("learnt", range(6))
def test_any_part_may_be_fixed(parts, learnt: int) -> None:
    """Only what is learnt gets a gradient, and the same one as beside the others."""
    _, x, h, weights = parts
    inputs = [x, h, *weights]
    whole = torch.autograd.grad(unroll(x, h, weights).square().sum(), inputs)[learnt]
    alone = [value.detach() for value in inputs]
    alone[learnt].requires_grad_()
    unroll(alone[0], alone[1], tuple(alone[2:])).square().sum().backward()
    assert all((value.grad is None) == (i != learnt) for i, value in enumerate(alone))
    assert torch.equal(alone[learnt].grad, whole)


def test_its_outputs_are_its_caller_s(parts) -> None:
    """Writing into them must not change the gradient unseen."""
    _, x, h, weights = parts
    expected = torch.autograd.grad(unroll(x, h, weights).sum(), [h])[0]
    out = unroll(x, h, weights)
    total = out.sum()
    out.detach().zero_()
    assert torch.equal(torch.autograd.grad(total, [h])[0], expected)
