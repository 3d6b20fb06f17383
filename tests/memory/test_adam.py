"""Adam is torch's own; that it loads no compiler is in tests/train/run/test_initial_weights.py."""

import torch
from torch import nn

from memory.adam import Adam


def trained(kind: type[torch.optim.Adam]) -> tuple[dict[str, torch.Tensor], dict]:
    """Weights and state after four steps, with the optimiser restored into a new one halfway."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    inputs = torch.randn(4, 5, 3)
    optimiser = kind([{"params": [layer.weight]}, {"params": [layer.bias]}], lr=0.1, eps=1e-5)
    for number, batch in enumerate(inputs):
        if number == 2:
            saved = optimiser.state_dict()
            optimiser = kind([{"params": [layer.weight]}, {"params": [layer.bias]}])
            optimiser.load_state_dict(saved)
        optimiser.zero_grad()
        layer(batch).square().sum().backward()
        optimiser.step()
    return layer.state_dict(), optimiser.state_dict()


def test_every_bit_is_torchs() -> None:
    (weights, state), (theirs, their_state) = trained(Adam), trained(torch.optim.Adam)
    for name, weight in weights.items():
        assert torch.equal(weight, theirs[name])
    assert state["param_groups"] == their_state["param_groups"]
    for number, moments in state["state"].items():
        for name, moment in moments.items():
            assert torch.equal(moment, their_state["state"][number][name])
