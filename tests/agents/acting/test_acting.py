"""The workers' NumPy path against the torch path that learns: the same policy, to round-off."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from agents.acting.numpy_actor import NumpyActor
from agents.encoder import OBS_CLIP
from agents.heads import gaussian_log_prob
from agents.input_layout import ACTION_DIM, INPUT_DIM, OBS_DIM, PREV_DONE, PREV_REWARD
from agents.rl2 import AgentConfig, RL2Agent, actor_weights
from memory.cores.registry import CORES

STEPS, TRIALS = 500, 4
SPREAD = np.linspace(0.05, 2.0, OBS_DIM)  # Meta-World's dimensions differ as much in scale


def observations(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (0.3 + SPREAD * rng.standard_normal((*shape, OBS_DIM))).astype(np.float32)


def trained_agent(core: str) -> RL2Agent:
    """An agent as it is in mid-training: every weight moved, the normaliser updated twice."""
    torch.manual_seed(5)
    agent = RL2Agent(AgentConfig(core=core, hidden=32, encoder=24, log_std_init=-0.5))
    rng = np.random.default_rng(6)
    with torch.no_grad():
        for weight in agent.parameters():
            weight += 0.1 * torch.randn_like(weight)
        agent.head.mean.weight += 0.3 * torch.randn_like(agent.head.mean.weight)
    for size in (50, 300):
        agent.encoder.normaliser.update(torch.from_numpy(observations(rng, size) + 0.1))
    return agent


def recalling_agent(core: str) -> RL2Agent:
    """The same with a store of seven trials, three of them recent, that is read strongly."""
    torch.manual_seed(5)
    plain = trained_agent(core)
    agent = RL2Agent(dataclasses.replace(plain.config, entries=10, read_every=30))
    agent.load_state_dict(plain.state_dict(), strict=False)
    assert agent.recall is not None
    store, slots = agent.recall.store, torch.tensor([0, 1, 2, 3, 5, 7, 9])
    agent.recall.encoder.load_state_dict(plain.encoder.state_dict())
    with torch.no_grad():
        for weight in agent.recall.memory.parameters():
            weight += 0.2 * torch.randn_like(weight)
        encoded = agent.recall.encode(torch.from_numpy(packed_inputs(9, 40)).repeat(1, 2, 1))
        key, value = encoded[:20, :7].mean(dim=0), encoded[-1, :7]
        store.write(slots, key + 0.1 * torch.randn_like(key), value)
        store.from_value.normal_()
        store.gate.normal_(std=0.3)
        store.null.fill_(-2.0)
    store.settle(torch.arange(10) < 3)
    return agent


def packed_inputs(seed: int = 7, steps: int = STEPS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    inputs = np.zeros((steps, TRIALS, INPUT_DIM), dtype=np.float32)
    inputs[..., :OBS_DIM] = observations(rng, steps, TRIALS)
    inputs[..., OBS_DIM:PREV_REWARD] = rng.uniform(-1, 1, (steps, TRIALS, ACTION_DIM))
    inputs[..., PREV_REWARD] = rng.uniform(0, 1, (steps, TRIALS))
    inputs[100::100, :, PREV_DONE] = 1.0
    return inputs


def make_actor(agent: RL2Agent, **options: Any) -> NumpyActor:
    weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
    return NumpyActor(agent.memory.stepper, weights, TRIALS, **options)


def unroll(agent: RL2Agent, inputs: np.ndarray):
    with torch.no_grad():
        return agent.unroll(torch.from_numpy(inputs), agent.initial_state(TRIALS))[0]


@pytest.mark.parametrize("core", CORES)
def test_numpy_acts_as_torch_learns(core: str) -> None:
    """500 steps without a reset: round-off must not build up in the memory.

    The means must not be saturated or constant, or the comparison would show nothing.
    """
    agent, inputs = trained_agent(core), packed_inputs()
    outputs, actor = unroll(agent, inputs), make_actor(agent)
    noise = np.random.default_rng(8).standard_normal((STEPS, TRIALS, ACTION_DIM), dtype=np.float32)
    taken = [actor.act(x, n) for x, n in zip(inputs, noise, strict=True)]
    actions = np.stack([action for action, _ in taken])
    log_probs = np.stack([log_prob for _, log_prob in taken])
    means = outputs.mean.numpy()
    assert means.std() > 0.1
    assert np.abs(means).mean() < 0.9 * agent.head.mean_limit
    np.testing.assert_allclose(actions, means + actor.std * noise, atol=5e-6)
    relearnt = gaussian_log_prob(torch.from_numpy(actions), outputs.mean, outputs.log_std)
    np.testing.assert_allclose(log_probs, relearnt.numpy(), atol=1e-4)


@pytest.mark.parametrize("core", CORES)
def test_deterministic_acts_by_the_mean(core: str) -> None:
    agent, inputs = trained_agent(core), packed_inputs(steps=20)
    actor, noisy = make_actor(agent, deterministic=True), np.ones((TRIALS, ACTION_DIM), np.float32)
    actions = np.stack([actor.act(x, noisy)[0] for x in inputs])
    np.testing.assert_allclose(actions, unroll(agent, inputs).mean.numpy(), atol=2e-6)


@pytest.mark.parametrize("core", CORES)
def test_reset_starts_a_trial(core: str) -> None:
    """The same actor serves trial after trial: after a reset nothing of the last one is left."""
    agent, inputs = trained_agent(core), packed_inputs(steps=20)
    actor = make_actor(agent)
    first = [actor.mean(x) for x in inputs]
    carried = [actor.mean(x) for x in inputs]
    actor.reset()
    again = [actor.mean(x) for x in inputs]
    np.testing.assert_array_equal(first, again)
    if core != "none":
        assert np.abs(np.subtract(first, carried)).max() > 1e-3


def test_the_normaliser_is_part_of_the_weights() -> None:
    """Acting on a stale normaliser is the classical silent mismatch between acting and learning."""
    agent, inputs = trained_agent("gru"), packed_inputs(steps=5)
    stale = make_actor(agent).mean(inputs[0])
    agent.encoder.normaliser.update(torch.from_numpy(inputs[..., :OBS_DIM]) + 1.0)
    fresh = make_actor(agent).mean(inputs[0])
    assert np.abs(stale - fresh).max() > 1e-2
    np.testing.assert_allclose(fresh, unroll(agent, inputs).mean[0].numpy(), atol=2e-6)


def test_outliers_are_clipped_alike() -> None:
    agent, inputs = trained_agent("gru"), packed_inputs(steps=5)
    inputs[..., 0] = 1e6
    inputs[..., 1] = -1e6
    actor = make_actor(agent)
    means = np.stack([actor.mean(x) for x in inputs])
    np.testing.assert_allclose(means, unroll(agent, inputs).mean.numpy(), atol=2e-6)
    normalised = agent.encoder.normaliser(torch.from_numpy(inputs[..., :OBS_DIM]))
    assert normalised[..., 0].unique().tolist() == [OBS_CLIP]


@pytest.mark.parametrize("core", CORES)
def test_extreme_rewards_do_not_overflow(core: str) -> None:
    """V1 rewards reach thousands: gates must saturate, not warn or overflow."""
    agent, inputs = trained_agent(core), packed_inputs(steps=5)
    inputs[..., PREV_REWARD] = [1e4, -1e4, 1e30, -1e30]
    actor = make_actor(agent)
    with np.errstate(all="raise"):
        means = np.stack([actor.mean(x) for x in inputs])
    np.testing.assert_allclose(means, unroll(agent, inputs).mean.numpy(), atol=1e-5)


def test_the_actor_keeps_to_itself() -> None:
    """Inputs and weights live in memory shared with the learner, which rewrites it next time."""
    agent, inputs = trained_agent("gru"), packed_inputs(steps=3)
    weights = {name: weight.numpy().copy() for name, weight in actor_weights(agent).items()}
    actor, before = NumpyActor("gru", weights, TRIALS), inputs.copy()
    expected = [make_actor(agent).mean(inputs[0])]
    for weight in weights.values():
        weight[...] = np.nan
    np.testing.assert_array_equal(actor.mean(inputs[0]), expected[0])
    np.testing.assert_array_equal(inputs, before)


# ---------------------------------------------------------------------------------------- recall


@pytest.mark.parametrize("core", [core for core in CORES if core != "none"])
def test_numpy_recalls_as_torch_does(core: str) -> None:
    """Each row may see something else; 500 steps of reads, at episode starts and in between."""
    agent, inputs = recalling_agent(core), packed_inputs()
    recall = torch.tensor([0, 1, 2, 2])
    with torch.no_grad():
        outputs, state = agent.unroll(torch.from_numpy(inputs), agent.initial_state(4, recall))
        deaf, _ = agent.unroll(torch.from_numpy(inputs), agent.initial_state(4, 0 * recall))
    actor = make_actor(agent, recall=recall.tolist())
    means = np.stack([actor.mean(x) for x in inputs])
    np.testing.assert_allclose(means, outputs.mean.numpy(), atol=2e-5)
    np.testing.assert_allclose(actor.state, state.numpy(), atol=1e-3, rtol=1e-5)
    heard = (outputs.mean - deaf.mean).abs().amax(dim=(0, 2))
    assert heard[0] < 1e-5  # other spans, other rounding
    assert (heard[1:] > 2e-3).all()
    blind = torch.tensor([0, 2, 1, 1])
    with torch.no_grad():
        other, _ = agent.unroll(torch.from_numpy(inputs), agent.initial_state(4, blind))
    assert (other.mean - outputs.mean).abs().amax(dim=(0, 2))[2:].min() > 1e-3


def test_the_actor_recalls_after_a_reset() -> None:
    """What a row may see outlives the trial; what it has seen does not."""
    agent, inputs = recalling_agent("gru"), packed_inputs(steps=120)
    actor = make_actor(agent, recall=[0, 1, 2, 2])
    first = [actor.mean(x) for x in inputs]
    actor.reset()
    np.testing.assert_array_equal(first, [actor.mean(x) for x in inputs])


def test_what_acted_stays_what_it_was_while_the_agent_learns() -> None:
    agent = trained_agent("gru")
    weights = actor_weights(agent)
    before = {name: value.clone() for name, value in weights.items()}
    with torch.no_grad():
        for value in agent.state_dict().values():
            value += 1
    assert all(torch.equal(value, before[name]) for name, value in weights.items())
