"""Every core in torch: one unroll is T steps, and nothing is kept outside the state."""

import pytest
import torch
from torch import Tensor, nn

from agents.input_layout import INPUT_DIM, PREV_DONE
from agents.rl2 import AgentConfig, RL2Agent
from memory.cores.core import Core
from memory.cores.registry import CORES, find_core

RECURRENT = [core for core in CORES if core != "none"]
TIME, TRIALS, INPUTS, HIDDEN = 40, 5, 6, 8


def make_memory(core: str, seed: int = 0) -> Core:
    torch.manual_seed(seed)
    return find_core(core)(INPUTS, HIDDEN).double()


def features(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(TIME, TRIALS, INPUTS, generator=generator, dtype=torch.float64)


def some_state(memory: Core) -> Tensor:
    """What the memory holds in mid-trial."""
    with torch.no_grad():
        return memory.unroll(features(seed=2), memory.initial_state(TRIALS))[1]


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("length", [1, 17, TIME - 1])
def test_an_unroll_can_be_cut_anywhere(core: str, length: int) -> None:
    """State is all there is: unrolls with the state handed over are one. Acting has length 1."""
    memory, x = make_memory(core), features()
    whole, last = memory.unroll(x, some_state(memory))
    outputs, state = [], some_state(memory)
    for part in x.split(length):
        output, state = memory.unroll(part, state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs), whole, rtol=0, atol=1e-13)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-13)


@pytest.mark.parametrize("core", RECURRENT)
def test_a_trial_does_not_see_another(core: str) -> None:
    """A trial that starts afresh changes nothing for its neighbours, and forgets all before."""
    memory, x, state = make_memory(core), features(), some_state(make_memory(core))
    carried, _ = memory.unroll(x, state)
    state[2] = 0.0
    output, _ = memory.unroll(x, state)
    alone, _ = memory.unroll(x[:, 2:3], memory.initial_state(1))
    torch.testing.assert_close(output[:, 2], alone[:, 0], rtol=0, atol=1e-13)
    others = [0, 1, 3, 4]
    torch.testing.assert_close(output[:, others], carried[:, others], rtol=0, atol=1e-13)
    assert not torch.allclose(output[:, 2], carried[:, 2], atol=1e-3)


@pytest.mark.parametrize("core", CORES)
def test_an_unroll_leaves_nothing_behind(core: str) -> None:
    """No state hides in the module and the caller's state is not written to."""
    memory, x = make_memory(core), features()
    state = some_state(memory)
    before = state.clone()
    first, _ = memory.unroll(x, state)
    memory.unroll(features(seed=9), state)
    again, _ = memory.unroll(x, state)
    assert torch.equal(state, before)
    assert torch.equal(first, again)


@pytest.mark.parametrize("core", CORES)
def test_gradients_are_those_of_finite_differences(core: str) -> None:
    """Of features, the state and every weight."""
    torch.manual_seed(3)
    memory = find_core(core)(4, 3).double()
    x, state = features()[:, :2, :4], memory.initial_state(2)
    with torch.no_grad():  # weights that start at zero would hide their factors
        for weight in memory.parameters():
            weight += 0.3 * torch.randn_like(weight)
        state = memory.unroll(x[:12], state)[1]
    names = [name for name, _ in memory.named_parameters()]
    learnt = [x[12:].clone().requires_grad_(), state.clone().requires_grad_(), *memory.parameters()]

    def outputs(x: Tensor, state: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        given = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(_Unroll(memory), _within(given), (x, state))

    assert torch.autograd.gradcheck(outputs, tuple(learnt), fast_mode=True)


class _Unroll(nn.Module):
    def __init__(self, core: Core) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.core.unroll(x, state)


def _within(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"core.{name}": weight for name, weight in weights.items()}


def test_none_remembers_nothing() -> None:
    """The baseline arm's output is a function of the present input alone, and it has no state."""
    memory, x = make_memory("none"), features()
    assert memory.initial_state(TRIALS).shape == (TRIALS, 0)
    output, state = memory.unroll(x, memory.initial_state(TRIALS))
    assert state.shape == (TRIALS, 0)
    changed = x.clone()
    changed[:20] += 1.0
    assert torch.equal(memory.unroll(changed, state)[0][20:], output[20:])
    assert not torch.equal(memory.unroll(changed, state)[0][:20], output[:20])


def first_input_gradient(core: str) -> Tensor:
    """Gradient of the agent's last mean action with respect to the first step's input."""
    torch.manual_seed(0)
    agent = RL2Agent(AgentConfig(core=core, hidden=16, encoder=16)).double()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(12, 3, INPUT_DIM, generator=generator, dtype=torch.float64)
    inputs[..., PREV_DONE] = 0.0
    inputs[6, :, PREV_DONE] = 1.0  # an episode ended: seen, and remembered across
    inputs.requires_grad_()
    outputs, _ = agent.unroll(inputs, agent.initial_state(3))
    outputs.mean[-1].sum().backward()
    assert inputs.grad is not None
    return inputs.grad[0].abs().sum(dim=-1)


@pytest.mark.parametrize("core", RECURRENT)
def test_learning_reaches_across_episodes(core: str) -> None:
    assert (first_input_gradient(core) > 1e-9).all()


def test_without_memory_no_credit_flows_back() -> None:
    assert (first_input_gradient("none") == 0.0).all()


def test_a_recalled_memory_goes_where_the_core_says() -> None:
    """h of a GRU, the cell of an LSTM."""
    assert make_memory("gru").hidden_part == slice(0, HIDDEN)
    assert make_memory("lstm").hidden_part == slice(HIDDEN, 2 * HIDDEN)
