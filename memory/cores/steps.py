"""One step of each core in NumPy, for workers, which never load torch.

A step takes weights as the core's `export` gives them, features (B, F) and state (B, S), all
float32, and gives the output (B, H) and the next state. Rows of one block are always computed
together, so a trial's bits do not depend on how many workers there are.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Weights = Mapping[str, np.ndarray]
Step = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def make_step(stepper: str, weights: Weights) -> Step:
    """The step that `memory.cores.core.Core.stepper` names, with its weights.

    Args:
        stepper: ``graph``, a name in `STEPS`, or ``module:function``.
        weights: by the names of the core's `export`; for ``graph`` the graph is among them.
    """
    if stepper == "graph":
        return _graph_step(weights)
    if stepper in STEPS:
        return functools.partial(STEPS[stepper], weights)
    module, _, name = stepper.partition(":")
    return functools.partial(getattr(importlib.import_module(module), name), weights)


def none(w: Weights, features: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`memory.cores.none`: one tanh layer."""
    return np.tanh(features @ w["weight"] + w["bias"]), state


def gru(w: Weights, features: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`memory.cores.gru`; the gates are r, z, n."""
    n = h.shape[1]
    from_input, from_state = features @ w["weight_ih"], h @ w["weight_hh"]
    from_input += w["bias_ih"]
    from_state += w["bias_hh"]
    gates = sigmoid(from_input[:, : 2 * n] + from_state[:, : 2 * n])
    candidate = from_state[:, 2 * n :] * gates[:, :n]
    candidate += from_input[:, 2 * n :]
    np.tanh(candidate, out=candidate)
    state = h - candidate
    state *= gates[:, n:]
    state += candidate
    return state, state


def lstm(w: Weights, features: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`memory.cores.lstm`; the gates are i, f, g, o."""
    n = state.shape[1] // 2
    h, c = state[:, :n], state[:, n:]
    gates = features @ w["weight_ih"] + w["bias_ih"] + h @ w["weight_hh"] + w["bias_hh"]
    keep = sigmoid(gates[:, n : 2 * n])
    c = keep * c + sigmoid(gates[:, :n]) * np.tanh(gates[:, 2 * n : 3 * n])
    h = sigmoid(gates[:, 3 * n :]) * np.tanh(c)
    return h, np.concatenate((h, c), axis=1)


STEPS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "none": none,
    "gru": gru,
    "lstm": lstm,
}


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function by tanh, which cannot overflow."""
    half = 0.5 * x
    np.tanh(half, out=half)
    half += 1.0
    half *= 0.5
    return half


def _graph_step(weights: Weights) -> Step:
    session = _session(weights["graph"].tobytes())
    taken = {place.name for place in session.get_inputs()}
    fixed = {name: value for name, value in weights.items() if name in taken}

    def step(features: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        varying = {"features": features, "state": np.ascontiguousarray(state)}
        output, after = session.run(None, {**fixed, **varying})
        return output, after

    return step


@functools.lru_cache(maxsize=8)  # blocks follow each other with the same graph
def _session(graph: bytes) -> Any:
    import onnxruntime  # an optional extra, for cores without a step of their own

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # workers share the machine
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
