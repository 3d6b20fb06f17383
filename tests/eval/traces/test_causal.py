"""Causal timescales of memories that are known: a leaky integrator and one that keeps for ever."""

import numpy as np
import pytest
import torch

from agents.input_layout import OBS
from eval.traces.causal import (
    context_swap,
    draw_pairs,
    half_life,
    past_of,
    perturbations,
    push_start,
    swap_start,
)
from eval.traces.gates import gate_constants
from eval.traces.levels import belief_kl, state_after, trace
from tests.eval.traces.made_up import HORIZON, STILL, make_agent, make_recording


def leaky(keep: float, *, act: str = "direct"):
    """An agent whose units forget a share 1 - `keep` of what they hold in each step."""
    agent = make_agent(act=act)
    net = agent.memory.net
    with torch.no_grad():
        net.weight_hh_l0.zero_()
        net.weight_ih_l0[8:16].zero_()
        net.bias_ih_l0.zero_()
        net.bias_hh_l0.zero_()
        net.bias_ih_l0[8:16] = float(np.log(keep / (1 - keep)))
    return agent


def test_half_life() -> None:
    curves = np.array([[8.0, 1.0, 0.0], [5.0, 0.9, 0.0], [4.0, 0.8, 0.0]])
    np.testing.assert_array_equal(half_life(curves), [2, np.inf, np.nan])


@pytest.mark.parametrize("keep", [0.6, 0.8])
def test_gates_and_swaps_find_how_much_is_kept(keep: float) -> None:
    agent, recording = leaky(keep), make_recording()
    states = trace(agent, recording.inputs).states
    np.testing.assert_allclose(
        gate_constants(agent, recording.inputs, states), -1 / np.log(keep), rtol=1e-4
    )
    rng = np.random.default_rng(0)
    pairs = draw_pairs(past_of(recording), same=False, rng=rng)
    found = context_swap(agent, recording, pairs, rng)
    assert found.first == swap_start(recording) == HORIZON + STILL
    np.testing.assert_allclose(
        found.state, keep ** np.arange(len(found.state)), rtol=1e-3, atol=1e-4
    )
    expected = np.ceil(np.log(0.5) / np.log(keep) - 1e-6)
    assert (found.units == expected).all()
    assert (np.diff(found.kl[:4]) < 0).all()


def test_pairs_have_other_or_the_same_past() -> None:
    labels, rng = np.array([0, 0, 1, 1, 2]), np.random.default_rng(0)
    for same in (True, False):
        first, second = draw_pairs(labels, same=same, rng=rng)
        assert (first != second).all()
        assert ((labels[first] == labels[second]) == same).all()
    assert draw_pairs(np.arange(5), same=True, rng=rng).shape == (2, 0)


def test_a_memory_without_a_past_differs_in_nothing() -> None:
    agent, recording = make_agent("none"), make_recording()
    rng = np.random.default_rng(0)
    found = context_swap(agent, recording, draw_pairs(past_of(recording), same=False, rng=rng), rng)
    assert not found.state.any()
    assert not found.kl.any()
    changed = perturbations(agent, recording, rng)
    assert changed["outcome"].state[0] == 1.0
    assert not changed["outcome"].state[1:].any()
    assert not changed["random direction"].state.any()
    assert gate_constants(agent, recording.inputs, recording.states["L0"]) is None


@pytest.mark.parametrize("core", ["gru", "lstm", "hmt", "event"])
def test_a_push_is_as_long_as_what_another_observation_moves(core: str) -> None:
    """Whatever else the state holds: a store's query, segments, an LSTM's output."""
    agent, inputs = make_agent(core, entries=3), make_recording().inputs[:8]
    other = inputs.copy()
    other[-1, :, OBS] = np.roll(inputs[-1, :, OBS], 1, axis=0)
    part = agent.memory.hidden_part
    moved = (state_after(agent, other) - state_after(agent, inputs))[:, part]
    state, pushed = push_start(agent, inputs, np.random.default_rng(0))
    way = pushed - state
    np.testing.assert_allclose(way[:, part].norm(dim=-1), moved.norm(dim=-1), rtol=1e-4)
    way[:, part] = 0
    assert not way.any()


def test_an_agent_that_acts_on_aims_is_moved_by_its_belief() -> None:
    agent, recording = leaky(0.9, act="posterior"), make_recording(width=48)
    assert agent.belief is not None
    rng = np.random.default_rng(0)
    pairs = draw_pairs(past_of(recording), same=False, rng=rng)
    assert not context_swap(agent, recording, pairs, rng).kl.any()  # its belief is still blank
    torch.nn.init.normal_(agent.belief.out.weight)
    assert (context_swap(agent, recording, pairs, rng).kl > 0).all()


def test_divergence_of_beliefs() -> None:
    p, q = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    np.testing.assert_allclose(belief_kl(p, q), [expected])
    np.testing.assert_allclose(belief_kl(p + 3, p), [0], atol=1e-12)
