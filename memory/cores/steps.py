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

SEGMENT, HALF = 25, 12  # of memory.cores.hmt, which imports torch
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


def gru(
    w: Weights, features: np.ndarray, h: np.ndarray, prefix: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """`memory.cores.gru`; the gates are r, z, n. Its weights' names begin with `prefix`."""
    n = h.shape[1]
    from_input, from_state = features @ w[f"{prefix}weight_ih"], h @ w[f"{prefix}weight_hh"]
    from_input += w[f"{prefix}bias_ih"]
    from_state += w[f"{prefix}bias_hh"]
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


def event(w: Weights, features: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`memory.cores.event`: the fast state, then the slow one."""
    n = state.shape[1] // 2
    fast, slow = state[:, :n], state[:, n:]
    due = features[:, -1:] > 0.5
    if due.any():
        seen = np.concatenate((features, fast), axis=1)
        slow = np.where(due, gru(w, seen, slow, "slow.")[0], slow)
    fast, _ = gru(w, np.concatenate((features, slow), axis=1), fast, "fast.")
    return fast, np.concatenate((fast, slow), axis=1)


def attention(w: Weights, features: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`memory.cores.attention`: h, the ring of tokens, their number."""
    n, state = len(w["null"]), state.copy()
    h, count = state[:, :n], state[:, -1]
    tokens = state[:, n:-1].reshape(len(state), -1, n)
    for row in np.flatnonzero(features[:, -1] > 0.5):
        slot = int(count[row]) % tokens.shape[1]
        seen = np.concatenate((features[row], h[row]))[None]
        content = linear(w, "write", seen)[0] + w["place"][slot]
        tokens[row, slot] = layer_norm(w, "token_norm", content)
        count[row] += 1
        h[row] = 0.0
    h[:], _ = gru(w, features, h, "inner.")
    return _attended(w, h, tokens, count), state


def _attended(w: Weights, h: np.ndarray, tokens: np.ndarray, count: np.ndarray) -> np.ndarray:
    heads = int(w["heads"][0])
    rows, n = h.shape
    apart = rows, -1, heads, n // heads
    stock, seen = _stock(w, tokens, count)
    query = (layer_norm(w, "query_norm", h) @ w["query.weight"]).reshape(apart)
    key, value = ((stock @ w[f"{part}.weight"]).reshape(apart) for part in ("key", "value"))
    scores = np.einsum("bhd,bnhd->bhn", query[:, 0], key) / np.float32((n // heads) ** 0.5)
    weights = softmax(np.where(seen[:, None], scores, -np.inf))
    found = np.einsum("bhn,bnhd->bhd", weights, value).reshape(rows, n)
    u = h + found @ w["out.weight"]
    inner = np.maximum(linear(w, "mlp_in", layer_norm(w, "mlp_norm", u)), 0.0)
    return u + linear(w, "mlp_out", inner)


def hmt(w: Weights, features: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`memory.cores.hmt`: h, the auxiliary run's state, the ring of memories, the age."""
    n, rows, state = len(w["null"]), len(state), state.copy()
    both = np.concatenate((state[:, :n], state[:, n : 2 * n]))
    both, _ = gru(w, np.concatenate((features, features)), both)
    output, aside = both[:rows], both[rows:]
    ring, age = state[:, 2 * n : -1].reshape(rows, -1, n), state[:, -1]
    age += 1
    state[:, :n], state[:, n : 2 * n] = output, aside
    half, whole = age % SEGMENT == HALF, age % SEGMENT == 0
    if half.any():
        stock, seen = _stock(w, ring, age // SEGMENT)
        scores = np.einsum("bd,bnd->bn", aside @ w["query"], stock @ w["key"])
        weights = softmax(np.where(seen, scores / np.float32(n**0.5), -np.inf))
        recalled = np.einsum("bn,bnd->bd", weights, stock)
        state[half, n : 2 * n] = recalled[half]
    for row in np.flatnonzero(whole):
        ring[row, (int(age[row]) // SEGMENT - 1) % ring.shape[1]] = output[row]
        state[row, :n], state[row, n : 2 * n] = aside[row], 0.0
    return output, state


def _stock(w: Weights, ring: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What there is to recall, after the learnt nothing (B, 1 + n, H), and which of it is real."""
    used = min(int(count.max()), ring.shape[1])
    null = np.broadcast_to(w["null"], (len(ring), 1, len(w["null"])))
    stock = np.concatenate((null, ring[:, :used]), axis=1)
    return stock, np.arange(used + 1) <= count[:, None]


def hrnn(w: Weights, features: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`memory.cores.hrnn`: the main state, then the inputs of the window."""
    (rows, width), patterns = features.shape, w["patterns"]
    length = patterns.shape[1]
    n = state.shape[1] - length * width
    main, window = state[:, :n], state[:, n:].reshape(rows, length, width)
    main = np.where(window[:, 0, -1:] > 0.5, gru(w, window[:, 0], main, "0.")[0], main)
    recent = np.concatenate((window[:, 1:], features[:, None]), axis=1)
    there = (recent[..., -1] > 0.5).astype(np.float32)
    experts, told = [], []
    for number, pattern in enumerate(patterns):
        h = main
        for place in np.flatnonzero(pattern):
            h, _ = gru(w, recent[:, place], h, f"{number}.")
        experts.append(h)
        told.append(np.concatenate((h, np.tile(pattern, (rows, 1)), there), axis=1))
    valid = (patterns <= there[:, None]).all(axis=2)
    scores = (np.stack(told, axis=1) @ w["mix"])[..., 0]
    weights = softmax(np.where(valid, scores, -np.inf))
    output = np.einsum("bk,bkd->bd", weights, np.stack(experts, axis=1))
    return output, np.concatenate((main, recent.reshape(rows, -1)), axis=1)


STEPS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "none": none,
    "gru": gru,
    "lstm": lstm,
    "event": event,
    "attention": attention,
    "hmt": hmt,
    "hrnn": hrnn,
}


def linear(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """A layer with a bias."""
    return x @ w[f"{name}.weight"] + w[f"{name}.bias"]


def layer_norm(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """`torch.nn.LayerNorm` over the last axis."""
    x = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    return x / scale * w[f"{name}.weight"] + w[f"{name}.bias"]


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


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
