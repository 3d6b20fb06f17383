"""What workers step is what the learner unrolls: every core, by its NumPy step or its graph."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from memory.cores.core import Core
from memory.cores.registry import CORES, find_core, import_core
from memory.cores.steps import make_step

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
CUSTOM = "custom_core:MinimalGatedUnit"
INPUTS, HIDDEN, ROWS = 12, 10, 4
TRIALS, STEPS = 3, 120  # of each trial, all its episodes together


@pytest.fixture(scope="module", params=[*CORES, CUSTOM])
def core(request: pytest.FixtureRequest) -> Core:
    """A core with every weight moved, as in mid-training."""
    if request.param == CUSTOM:
        pytest.importorskip("onnxruntime")
        sys.path.insert(0, str(EXAMPLES))
        import_core(CUSTOM)
        sys.path.remove(str(EXAMPLES))
    torch.manual_seed(5)
    made = find_core(request.param)(INPUTS, HIDDEN)
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.2 * torch.randn_like(weight)
    return made


def step_of(core: Core):
    weights = {name: w.detach().contiguous().numpy() for name, w in core.export().items()}
    if core.stepper == "graph":
        weights["graph"] = core.graph.numpy()
    return make_step(core.stepper, weights)


def features(steps: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 2, (steps, ROWS, INPUTS)).astype(np.float32)


@torch.no_grad()
def in_mid_trial(core: Core, rows: int) -> torch.Tensor:
    x = torch.from_numpy(features(40)[:, :rows])
    return core.unroll(x, core.initial_state(rows))[1]


def test_steps_are_the_unroll(core: Core) -> None:
    """Over whole trials one after another: the state is carried in each and cleared between."""
    x, step = features(TRIALS * STEPS), step_of(core)
    outputs, states, expected, expected_states = [], [], [], []
    for trial in np.split(x, TRIALS):
        state = np.zeros((ROWS, core.state_width), dtype=np.float32)
        for row in trial:
            output, state = step(row, state)
            outputs.append(output)
        states.append(state)
        with torch.no_grad():
            output, last = core.unroll(torch.from_numpy(trial), core.initial_state(ROWS))
        expected.append(output.numpy())
        expected_states.append(last.numpy())
    assert np.std(outputs) > 0.1
    assert outputs[0].dtype == np.float32
    np.testing.assert_allclose(np.stack(outputs), np.concatenate(expected), atol=5e-6)
    np.testing.assert_allclose(states, expected_states, atol=1e-5)


def test_a_step_changes_nothing_that_it_is_given(core: Core) -> None:
    """Inputs and states live in memory that others read."""
    x, step = features(1)[0], step_of(core)
    state = in_mid_trial(core, ROWS).numpy()
    before = x.copy(), state.copy()
    first, after = step(x, state), step(x, state)
    np.testing.assert_array_equal(first[0], after[0])
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(state, before[1])


def test_any_number_of_rows_and_new_weights_need_no_new_graph(core: Core) -> None:
    x = features(1)[0]
    with torch.no_grad():
        for weight in core.parameters():
            weight *= 0.9
        state = in_mid_trial(core, 1)
        expected, _ = core.unroll(torch.from_numpy(x[None, :1]), state)
    output, _ = step_of(core)(x[:1], state.numpy())
    np.testing.assert_allclose(output, expected[0].numpy(), atol=5e-6)
