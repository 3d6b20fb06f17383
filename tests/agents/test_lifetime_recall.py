"""Reading a lifetime's store: at one step, by the cue, into the state; acting as learning does."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.acting.numpy_actor import STORE, NumpyActor
from agents.input_layout import CUE, INPUT_DIM, OBJECT, PREV_DONE
from agents.lifetime_recall import LifetimeReader
from agents.reinstating import reinstating
from agents.rl2 import AgentConfig, RL2Agent, actor_weights

AT, HORIZON, STEPS, TRIALS, ENTRIES = 4, 10, 20, 3, 5
CONFIG = AgentConfig(
    hidden=8, encoder=7, lifetime=ENTRIES, read_at=AT, targets=3, act="posterior", slopes=0.0
)


def reader_of(agent: RL2Agent) -> LifetimeReader:
    assert agent.reader is not None
    return agent.reader


def make(core: str = "gru", **options: object) -> RL2Agent:
    torch.manual_seed(0)
    agent = RL2Agent(dataclasses.replace(CONFIG, core=core, **options))
    with torch.no_grad():
        agent.head.mean.weight.normal_()
    return agent


def inputs_of(agent: RL2Agent) -> Tensor:
    """Two attempts; the first numbers of the aim's place are zeros."""
    inputs = torch.randn(STEPS, TRIALS, agent.input_width)
    inputs[..., PREV_DONE] = 0.0
    inputs[HORIZON, :, PREV_DONE] = 1.0
    inputs[..., INPUT_DIM:] = 0.0
    return inputs


def store_of(agent: RL2Agent, inputs: Tensor) -> Tensor:
    """Row 0 has an entry with its own cue, row 1 one of another, row 2 nothing."""
    store = torch.zeros(TRIALS, ENTRIES, reader_of(agent).row)
    store[0, :2] = torch.randn(2, store.shape[-1])
    store[0, 1, :INPUT_DIM] = inputs[AT, 0, :INPUT_DIM]
    store[1, 0] = 10 * torch.randn(store.shape[-1])
    store[0, 0, -1], store[0, 1, -1], store[1, 0, -1] = 1, 2, 1
    store[..., INPUT_DIM:-1].tanh_()
    return store


def remembered(agent: RL2Agent, inputs: Tensor, store: Tensor | None) -> Tensor:
    with torch.no_grad():
        return agent.remember(inputs, agent.initial_state(TRIALS, store=store))[0]


def test_the_arm_starts_from_the_weights_of_the_flat_agent() -> None:
    flat, reading = make(lifetime=0), make()
    for name, weight in flat.state_dict().items():
        assert torch.equal(weight, reading.state_dict()[name])


@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_it_is_read_at_one_step_by_those_with_the_same_cue(core: str) -> None:
    agent = make(core)
    inputs = inputs_of(agent)
    store = store_of(agent, inputs)
    without, found = remembered(agent, inputs, None), remembered(agent, inputs, store)
    torch.testing.assert_close(found[:AT], without[:AT])
    changed = (found - without).abs().amax(dim=-1)
    assert changed[AT, 0] > 1e-2
    assert changed[:, 1].max() < 1e-4, "no entry is alike"
    assert changed[:, 2].max() == 0
    later = torch.zeros_like(store)
    later[0] = store[0]
    torch.testing.assert_close(remembered(agent, inputs, later)[:, 0], found[:, 0])


def test_stretches_give_what_whole_trials_do() -> None:
    agent = make()
    inputs = inputs_of(agent)
    store = store_of(agent, inputs)
    state, parts = agent.initial_state(TRIALS, store=store), []
    with torch.no_grad():
        for some in inputs.split(3):
            hidden, state = agent.remember(some, state)
            parts.append(hidden)
    torch.testing.assert_close(torch.cat(parts), remembered(agent, inputs, store))
    cue, value = reader_of(agent).entry(inputs, state)
    assert torch.equal(cue, inputs[AT, :, :INPUT_DIM])
    assert torch.equal(value, parts[-1][-1])


@pytest.mark.parametrize(("core", "rate"), [("gru", 1.0), ("lstm", 1.0), ("gru", 20.0)])
def test_numpy_reads_as_torch_does(core: str, rate: float) -> None:
    agent = make(core, relevance_rate=rate)
    with torch.no_grad():
        reader_of(agent).gate.normal_()
        reader_of(agent).from_value.normal_()
        reader_of(agent).relevance.uniform_(1 - 0.9 / rate, 1 - 0.7 / rate)
    inputs = inputs_of(agent)
    store = store_of(agent, inputs)
    with torch.no_grad():
        outputs, _ = agent.unroll(inputs, agent.initial_state(TRIALS, store=store))
    weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
    actor = NumpyActor(agent.memory.stepper, weights, TRIALS, stores={STORE: store.numpy()})
    for _ in range(2):
        acted = []
        for step in inputs.numpy():
            actor.mean(step.copy())
            acted.append(actor.state[:, agent.memory.hidden_part].copy())
        if core == "gru":  # its state is its output
            np.testing.assert_allclose(np.stack(acted), outputs.hidden.numpy(), atol=1e-5)
        actor.reset()
    without = NumpyActor(agent.memory.stepper, weights, TRIALS)
    means = np.stack([without.mean(step.copy()) for step in inputs.numpy()])
    deaf, _ = agent.unroll(inputs, agent.initial_state(TRIALS))
    np.testing.assert_allclose(means, deaf.mean.detach().numpy(), atol=1e-5)


def test_relevance_is_learnt_at_its_rate() -> None:
    """A fast reader starts as a slow one does; a step of Adam takes it twenty times as far."""
    moved = []
    for rate in (1.0, 20.0):
        agent = make(relevance_rate=rate)
        reader = reader_of(agent)
        before = reader.effective_relevance().detach().clone()
        assert torch.equal(before, torch.ones(len(before)))
        keys = torch.randn(TRIALS, ENTRIES, len(before)) * 0.3
        weights = reader.attend(keys[:, 0] + 0.1, keys, torch.ones(TRIALS, ENTRIES))
        optimiser = torch.optim.Adam([reader.relevance], lr=1e-3)
        weights[:, 0].sum().backward()
        optimiser.step()
        moved.append((reader.effective_relevance() - before).detach())
    torch.testing.assert_close(moved[1], 20 * moved[0], rtol=1e-3, atol=1e-6)
    assert moved[0].abs().min() > 5e-4


def test_a_fast_reader_attends_as_a_slow_one_of_its_relevance() -> None:
    slow, fast = (reader_of(make(relevance_rate=rate)) for rate in (1.0, 20.0))
    with torch.no_grad():
        fast.relevance.add_(torch.linspace(-0.04, 0.04, len(fast.relevance)))
        slow.relevance.copy_(fast.effective_relevance())
    query, ages = torch.randn(TRIALS, len(slow.relevance)), torch.ones(TRIALS, ENTRIES)
    keys = query[:, None] + 0.1 * torch.randn(TRIALS, ENTRIES, len(slow.relevance))
    torch.testing.assert_close(fast.attend(query, keys, ages), slow.attend(query, keys, ages))


def test_the_belief_loss_reaches_all_that_reads() -> None:
    agent = make()
    inputs = inputs_of(agent)
    with torch.no_grad():
        reader_of(agent).relevance.fill_(0.2)
        reader_of(agent).unlike.fill_(1.0)
    hidden, _ = agent.remember(inputs, agent.initial_state(TRIALS, store=store_of(agent, inputs)))
    hidden[AT].square().sum().backward()
    for name, weight in reader_of(agent).named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("rate", [1.0, 20.0])
def test_reinstating_puts_back_the_state_of_the_latest_trial_with_the_cue(rate: float) -> None:
    agent = make(lifetime=0, relevance_rate=rate)
    raw = reinstating(agent, entries=ENTRIES, at=AT)
    inputs = inputs_of(raw)
    inputs[..., CUE] = inputs[..., OBJECT] = 0.0
    cue = torch.tensor([0.05, 0.0, -0.05])
    store = torch.zeros(TRIALS, ENTRIES, reader_of(raw).row)
    store[:, :3, INPUT_DIM:-1] = torch.rand(TRIALS, 3, 8)
    store[:, :3, -1] = torch.tensor([2.0, 1.0, 1.0])
    store[:, 0, CUE] = store[:, 1, CUE] = cue
    store[:, 2, CUE] = -cue
    shown = inputs.clone()
    shown[:5, :, CUE] = cue
    found = remembered(raw, shown, store)
    expected, _ = agent.remember(inputs[AT:], store[:, 1, INPUT_DIM:-1])
    torch.testing.assert_close(found[AT:], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[:AT], remembered(agent, inputs[:AT], None))
