"""Short-term memory: one unroll is T steps, and only a new trial clears it."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from agents.input_layout import INPUT_DIM, PREV_DONE
from agents.rl2 import AgentConfig, RL2Agent
from memory.short_term import Core, ShortTermMemory

CORES = get_args(Core)
RECURRENT = [core for core in CORES if core != "none"]
TIME, TRIALS, INPUTS, HIDDEN = 40, 5, 6, 8


def make_memory(core: Core, seed: int = 0) -> ShortTermMemory:
    torch.manual_seed(seed)
    return ShortTermMemory(core, INPUTS, HIDDEN).double()


def features(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(TIME, TRIALS, INPUTS, generator=generator, dtype=torch.float64)


def some_state(memory: ShortTermMemory) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = TRIALS, memory.state_width
    return torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5


def resets(kind: str) -> Tensor:
    """Steps at which trials start, never the same steps in all trials."""
    starts = torch.zeros(TIME, TRIALS, dtype=torch.bool)
    if kind == "scattered":
        generator = torch.Generator().manual_seed(3)
        starts = torch.rand(TIME, TRIALS, generator=generator) < 0.15
    if kind == "edges":  # first and last step, and two in a row
        for trial, steps in enumerate([(0,), (TIME - 1,), (7, 8), (0, TIME - 1), ()]):
            starts[list(steps), trial] = True
    return starts


def step_by_step(memory: ShortTermMemory, x: Tensor, state: Tensor, starts: Tensor):
    """The definition: single steps, with the state of a new trial zeroed before its first."""
    outputs = []
    for t in range(len(x)):
        state = state * (~starts[t]).unsqueeze(-1)
        output, state = memory(x[t : t + 1], state)
        outputs.append(output)
    return torch.cat(outputs), state


@pytest.mark.parametrize("kind", ["nowhere", "scattered", "edges"])
@pytest.mark.parametrize("core", CORES)
def test_single_steps_equal_one_unroll(core: Core, kind: str) -> None:
    """Acting is the unroll with T = 1; were they different, PPO's ratio would not start at 1."""
    memory, x, starts = make_memory(core), features(), resets(kind)
    state = some_state(memory)
    expected, expected_state = step_by_step(memory, x, state, starts)
    output, last = memory(x, state, starts)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(last, expected_state, rtol=0, atol=1e-13)


@pytest.mark.parametrize("core", CORES)
def test_an_unroll_can_be_cut_anywhere(core: Core) -> None:
    """State is all there is: two unrolls with the state handed over are one."""
    memory, x, starts = make_memory(core), features(), resets("scattered")
    whole, last = memory(x, some_state(memory), starts)
    for cut in (1, 17, TIME - 1):
        first, state = memory(x[:cut], some_state(memory), starts[:cut])
        second, state = memory(x[cut:], state, starts[cut:])
        torch.testing.assert_close(torch.cat((first, second)), whole, rtol=0, atol=1e-13)
        torch.testing.assert_close(state, last, rtol=0, atol=1e-13)


@pytest.mark.parametrize("core", RECURRENT)
def test_a_trial_does_not_see_another(core: Core) -> None:
    """After its start a trial is as if nothing had been before, and its neighbours go on."""
    memory, x = make_memory(core), features()
    starts = torch.zeros(TIME, TRIALS, dtype=torch.bool)
    starts[10, 2] = True
    output, _ = memory(x, some_state(memory), starts)
    fresh, _ = memory(x[10:], memory.initial_state(TRIALS))
    plain, _ = memory(x, some_state(memory))
    torch.testing.assert_close(output[10:, 2], fresh[:, 2], rtol=0, atol=1e-13)
    others = [0, 1, 3, 4]
    torch.testing.assert_close(output[:, others], plain[:, others], rtol=0, atol=1e-13)
    assert not torch.allclose(output[10:, 2], plain[10:, 2], atol=1e-3)


@pytest.mark.parametrize("core", CORES)
def test_an_unroll_leaves_nothing_behind(core: Core) -> None:
    """No state hides in the module and the caller's state is not written to."""
    memory, x = make_memory(core), features()
    state = some_state(memory)
    before = state.clone()
    first, _ = memory(x, state, resets("scattered"))
    memory(features(seed=9), state)
    again, _ = memory(x, state, resets("scattered"))
    assert torch.equal(state, before)
    assert torch.equal(first, again)


def test_none_remembers_nothing() -> None:
    """The baseline arm's output is a function of the present input alone, and it has no state."""
    memory, x = make_memory("none"), features()
    assert memory.initial_state(TRIALS).shape == (TRIALS, 0)
    output, state = memory(x, memory.initial_state(TRIALS))
    assert state.shape == (TRIALS, 0)
    changed = x.clone()
    changed[:20] += 1.0
    assert torch.equal(memory(changed, state)[0][20:], output[20:])
    assert not torch.equal(memory(changed, state)[0][:20], output[:20])


def first_input_gradient(core: Core, new_trial: Tensor | None) -> Tensor:
    """Gradient of the agent's last mean action with respect to the first step's input."""
    torch.manual_seed(0)
    agent = RL2Agent(AgentConfig(core=core, hidden=16, encoder=16)).double()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(12, 3, INPUT_DIM, generator=generator, dtype=torch.float64)
    inputs[..., PREV_DONE] = 0.0
    inputs[6, :, PREV_DONE] = 1.0  # an episode ended: seen, and remembered across
    inputs.requires_grad_()
    outputs, _ = agent.unroll(inputs, agent.initial_state(3), new_trial)
    outputs.mean[-1].sum().backward()
    assert inputs.grad is not None
    return inputs.grad[0].abs().sum(dim=-1)


@pytest.mark.parametrize("core", RECURRENT)
def test_learning_reaches_across_episodes_and_stops_at_trials(core: Core) -> None:
    """Credit flows over the end of an inner episode; at the start of a trial it must be cut."""
    assert (first_input_gradient(core, None) > 1e-9).all()
    starts = torch.zeros(12, 3, dtype=torch.bool)
    starts[6, 1] = True
    across = first_input_gradient(core, starts)
    assert across[1] == 0.0
    assert (across[[0, 2]] > 1e-9).all()


def test_without_memory_no_credit_flows_back() -> None:
    assert (first_input_gradient("none", None) == 0.0).all()
