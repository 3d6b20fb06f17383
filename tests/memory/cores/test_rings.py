"""Cores with a ring of memories: what is kept in it, and what happens when it is full."""

import numpy as np
import pytest
import torch

from memory.cores.attention import TOKENS, Attention
from memory.cores.core import Core
from memory.cores.hmt import HALF, HMT, SEGMENT
from memory.cores.registry import find_core
from memory.cores.steps import make_step

INPUTS, HIDDEN = 5, 4


def made(core: str) -> Core:
    torch.manual_seed(1)
    memory = find_core(core)(INPUTS, HIDDEN)
    with torch.no_grad():
        for weight in memory.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return memory


def inputs(steps: int, event: float = 1.0) -> torch.Tensor:
    x = torch.randn(steps, 2, INPUTS, generator=torch.Generator().manual_seed(2))
    x[..., -1] = event
    return x


@pytest.mark.parametrize(("core", "steps"), [("attention", TOKENS + 9), ("hmt", 66 * SEGMENT + 20)])
@torch.no_grad()
def test_workers_write_over_the_oldest_too(core: str, steps: int) -> None:
    memory, x = made(core), inputs(steps)
    step = make_step(core, {n: w.contiguous().numpy() for n, w in memory.export().items()})
    outputs, last = memory.unroll(x, memory.initial_state(2))
    state, taken = np.zeros((2, memory.state_width), np.float32), []
    for row in x.numpy():
        output, state = step(row, state)
        taken.append(output)
    np.testing.assert_allclose(taken[-30:], outputs[-30:].numpy(), atol=2e-5)
    np.testing.assert_allclose(state, last.numpy(), atol=2e-5)


@torch.no_grad()
def test_attention_holds_64_attempts_and_no_more() -> None:
    """An attempt of one step each: only tokens carry anything over, and the 65th replaces one."""
    memory = made("attention")
    assert isinstance(memory, Attention)
    x = inputs(TOKENS + 2)
    changed = x.clone()
    changed[0, :, :-1] += 1.0
    ours, theirs = (memory.unroll(y, memory.initial_state(2))[0] for y in (x, changed))
    assert ((ours - theirs)[1:TOKENS].abs().amax(dim=(1, 2)) > 1e-6).all()
    torch.testing.assert_close(ours[-1], theirs[-1], rtol=0, atol=0)


@torch.no_grad()
def test_what_hmt_recalls_comes_one_segment_later() -> None:
    """The recall in the middle of a segment is an input of the next one, not of this one."""
    memory = made("hmt")
    assert isinstance(memory, HMT)
    x, start = inputs(SEGMENT), memory.initial_state(2)
    other = start.clone()
    ring = slice(2 * HIDDEN, 2 * HIDDEN + HIDDEN)
    for state in (start, other):
        state[:, -1] = SEGMENT  # one segment is over
    other[:, ring] = 1.0
    ours, theirs = (memory.unroll(x, state) for state in (start, other))
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=0)
    h = slice(0, HIDDEN)
    assert (ours[1][:, h] - theirs[1][:, h]).abs().min() > 1e-6


@torch.no_grad()
def test_hmt_starts_a_segment_from_what_it_recalled_and_the_sensory_tail() -> None:
    """By the equations, with the backbone run by torch."""
    memory = made("hmt")
    assert isinstance(memory, HMT)
    x = inputs(SEGMENT + 1)
    outputs, _ = memory.unroll(x, memory.initial_state(2))
    recalled = memory.null.expand(1, 2, HIDDEN)  # there is nothing else yet
    tail = memory.backbone(x[HALF:], recalled.contiguous())[0]
    torch.testing.assert_close(outputs[-1], tail[-1], rtol=0, atol=1e-6)
