"""Reading while acting: at the right steps, by the right query, into the right place, or not."""

import dataclasses

import pytest
import torch
from torch import Tensor

from agents.input_layout import INPUT_DIM, PREV_DONE
from agents.recall import Recall
from agents.rl2 import AgentConfig, RL2Agent

EVERY, HORIZON = 4, 6
CONFIG = AgentConfig(hidden=10, encoder=7, entries=5, read_every=EVERY)


def inputs_of(steps: int, trials: int, seed: int = 1) -> Tensor:
    """Episodes of six steps: reads are due before steps 4, 6, 8, 12, 16, 18, …"""
    inputs = torch.randn(steps, trials, INPUT_DIM, generator=torch.Generator().manual_seed(seed))
    inputs[..., PREV_DONE] = 0.0
    inputs[HORIZON::HORIZON, :, PREV_DONE] = 1.0
    return inputs


def make(core: str = "gru", *, seed: int = 0, loud: bool = True) -> RL2Agent:
    torch.manual_seed(seed)
    agent = RL2Agent(dataclasses.replace(CONFIG, core=core))
    store = slow_of(agent).store
    with torch.no_grad():
        encoded = slow_of(agent).encode(inputs_of(HORIZON, 3, seed=2))
        store.write(torch.tensor([0, 1, 4]), encoded.mean(dim=0), encoded[-1])
        if loud:
            store.from_value.normal_()
            store.gate_bias.fill_(2.0)
            agent.head.mean.weight.normal_()
    store.settle(torch.tensor([False, True, False, False, False]))
    return agent


def slow_of(agent: RL2Agent) -> Recall:
    assert agent.recall is not None
    return agent.recall


def test_the_arm_starts_from_the_weights_of_the_flat_agent() -> None:
    """Not one draw more: arms are compared from the same initial weights."""
    torch.manual_seed(3)
    flat = RL2Agent(dataclasses.replace(CONFIG, entries=0))
    after = torch.rand(1)
    torch.manual_seed(3)
    recalling = RL2Agent(CONFIG)
    assert torch.equal(torch.rand(1), after)
    for name, weight in flat.state_dict().items():
        assert torch.equal(weight, recalling.state_dict()[name])


@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_a_new_reader_changes_nothing(core: str) -> None:
    """Zero weights of the value: the flat agent, to round-off (a read splits a fused call)."""
    agent = make(core, loud=False)
    flat = RL2Agent(dataclasses.replace(agent.config, entries=0))
    flat.load_state_dict(agent.state_dict(), strict=False)
    inputs = inputs_of(20, 3)
    mine, _ = agent.unroll(inputs, agent.initial_state(3))
    theirs, _ = flat.unroll(inputs, flat.initial_state(3))
    torch.testing.assert_close(mine.hidden, theirs.hidden, rtol=0, atol=1e-6)


@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_reads_come_when_they_are_due(core: str) -> None:
    """Never at a trial's start, then every EVERY steps and where an episode starts."""
    agent, seen = make(core), []
    store, original = slow_of(agent).store, slow_of(agent).store.attend

    def attend(query: Tensor, recall: Tensor) -> object:
        seen.append(query.detach().clone())
        return original(query, recall)

    store.attend = attend  # type: ignore[method-assign]
    inputs = inputs_of(20, 2)
    agent.unroll(inputs, agent.initial_state(2))
    encoded = slow_of(agent).encode(inputs)
    due = (4, 6, 8, 12, 16, 18)
    assert len(seen) == len(due)
    for step, query in zip(due, seen, strict=True):
        torch.testing.assert_close(query, encoded[:step].mean(dim=0))


@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_single_steps_are_one_unroll(core: str) -> None:
    """Rows of unlike age, so that a read is due in some and not in others."""
    agent, inputs = make(core), inputs_of(20, 4)
    with torch.no_grad():
        states = []
        for row, ahead in enumerate((0, 1, 5, 6)):
            before = inputs_of(ahead, 1, seed=row) if ahead else torch.zeros(0, 1, INPUT_DIM)
            state = agent.initial_state(1, torch.tensor([min(row, 2)]))
            states.append(agent.unroll(before, state)[1] if ahead else state)
        state = torch.cat(states)
        whole, end = agent.unroll(inputs, state)
        steps = []
        for x in inputs:
            out, state = agent.unroll(x[None], state)
            steps.append(out.hidden)
    torch.testing.assert_close(torch.cat(steps), whole.hidden, rtol=0, atol=1e-5)
    torch.testing.assert_close(state, end, rtol=0, atol=1e-4)


def test_who_may_recall_nothing_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By themselves such trials skip the slow encoder, and do what they do beside others."""
    agent, inputs = make(), inputs_of(20, 3)
    with torch.no_grad():
        beside, _ = agent.unroll(inputs, agent.initial_state(3, torch.tensor([0, 0, 2])))
        monkeypatch.setattr(slow_of(agent).encoder, "forward", None)
        alone, end = agent.unroll(inputs[:, :2], agent.initial_state(2, torch.tensor([0, 0])))
        halves = agent.initial_state(2, torch.tensor([0, 0]))
        for part in inputs[:, :2].split(10):
            halves = agent.unroll(part, halves)[1]
    torch.testing.assert_close(alone.hidden, beside.hidden[:, :2], rtol=0, atol=1e-6)
    torch.testing.assert_close(halves, end, rtol=0, atol=1e-6)


def test_gradients_reach_the_reader_and_nothing_frozen() -> None:
    agent = make()
    outputs, _ = agent.unroll(inputs_of(20, 3), agent.initial_state(3))
    outputs.mean.square().sum().backward()
    moved = {name for name, w in agent.named_parameters() if w.grad is not None and w.grad.any()}
    frozen = {name for name, w in agent.named_parameters() if not w.requires_grad}
    assert {
        name for name in frozen if not name.startswith(("recall.encoder", "recall.memory"))
    } == set()
    assert not moved & frozen
    reader = ("from_value", "gate", "gate_bias", "log_temperature", "null")
    assert {f"recall.store.{name}" for name in reader} <= moved
