"""The agent's forward in NumPy, for workers: no torch, no per-step message, the same arithmetic.

Rows of one block are always computed together in one matrix product of fixed shape, so a trial's
bits do not depend on how many workers there are. `tests/agents/acting/test_acting.py` holds this
path to `RL2Agent.unroll` within float32 round-off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.acting.aims import AimPlan, Aims
from agents.acting.place_aims import PlaceAims, PlacePlan
from agents.input_layout import (
    AIM,
    INPUT_DIM,
    OBS,
    OBS_DIM,
    PREV_DONE,
    PREV_REWARD,
    SLOPES,
    signal,
    slopes,
)
from memory.cores.signals import SIGNALS
from memory.cores.steps import make_step, sigmoid

OBS_CLIP = 5.0
LOG_TWO_PI = float(np.log(2 * np.pi))
OLD, ALL = 1, 2  # of memory.episodic, which imports torch
STORE = "reader.store"  # what each row may recall of its lifetime, among the stores


class NumpyActor:
    """A policy for a block of trials, stepped in lockstep.

    Args:
        core: who steps the short-term memory; see `memory.cores.steps.make_step`.
        weights: as `agents.rl2.actor_weights` gives them.
        trials: rows of the block.
        deterministic: act by the mean instead of sampling.
        recall: what of episodic memory each row may see (`memory.episodic`); None: all of it.
        aims: how each row's aims are drawn, for an agent that acts on them (`agents.posterior`,
            `agents.place_belief`).
        stores: what each row may recall, (B, …), by its names among the weights; None: all rows
            recall from the store that is among the weights.
    """

    def __init__(
        self,
        core: str,
        weights: Mapping[str, np.ndarray],
        trials: int,
        *,
        deterministic: bool = False,
        recall: Sequence[int] | np.ndarray | None = None,
        aims: Sequence[AimPlan | None] | Sequence[PlacePlan | None] | None = None,
        stores: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.core, self.trials, self.deterministic = core, trials, deterministic
        w = {name: value.copy() for name, value in weights.items()}
        self._net = _Net(core, w, "")
        self._head = np.ascontiguousarray(w["head.weight"].T), w["head.bias"]
        self._limit = w["head.limit"]
        self.log_std = w["head.log_std"]
        self.std = np.exp(self.log_std)
        self._log_norm = -0.5 * LOG_TWO_PI * len(self.log_std) - self.log_std.sum()
        self._recall = _Recall(core, w | dict(stores or {})) if "recall.keys" in w else None
        self._reader = _Reader(w, (stores or {}).get(STORE), trials) if "reader.at" in w else None
        self._body = [_layer(w, f"body.{n}") for n in ("first", "second") if f"body.{n}.bias" in w]
        self._aims: Aims | PlaceAims | None = None
        if self._body:
            kind: Any = PlaceAims if "belief.components" in w else Aims
            self._aims = kind(w, aims or [None] * trials)
        self._may = np.array([ALL] * trials if recall is None else recall, dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Bring the memory to the start of a trial."""
        extra = self._recall.width if self._recall else 0
        self.state = np.empty((self.trials, self._net.width + extra), dtype=np.float32)
        self.restart(slice(None))

    def restart(self, rows: int | slice | np.ndarray) -> None:
        """Bring the memory of these trials alone to their start."""
        self.state[rows] = 0.0
        if isinstance(self._aims, PlaceAims):
            self._aims.restart(rows)
        if self._reader:
            self._reader.age[rows] = 0
        if self._recall:
            self.state[rows, -1] = self._may[rows]

    def mean(self, inputs: np.ndarray) -> np.ndarray:
        """Mean action (B, 4) for packed inputs (B, input); advances the memory by one step.

        An agent that acts on aims writes them into `inputs`. One without memory that acts on
        FORK's targets hides the outcome there.
        """
        if self._hides():
            inputs[:, PREV_REWARD] = 0.0
        if self._reader is not None:
            self.state = self._reader.read(self._net, inputs, self.state)
        if self._recall is None:
            hidden, self.state = self._net.step(inputs, self.state)
        else:
            core, rest = np.split(self.state, [self._net.width], axis=1)
            core = self._recall.read(inputs, core, rest)
            hidden, core = self._net.step(inputs, core)
            self.state = np.concatenate((core, self._recall.follow(inputs, rest)), axis=1)
        if self._aims is not None:
            self._aims.write(inputs, hidden)
            hidden = np.concatenate((self._net.visible(inputs), inputs[:, AIM]), axis=1)
            for weight, bias in self._body:
                hidden = np.tanh(hidden @ weight + bias)
        return self._limit * np.tanh((hidden @ self._head[0] + self._head[1]) / self._limit)

    def _hides(self) -> bool:
        """Whether the outcome is hidden from it.

        An aim is held through an attempt. Drawn where the last outcome is seen, it would be a
        memory of that outcome, and an agent without memory has to have none.
        """
        return isinstance(self._aims, Aims) and self._net.width == 0

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions (B, 4), unclipped, and their log-probabilities (B,), from noise (B, 4)."""
        mean = self.mean(inputs)
        if self.deterministic:
            noise = np.zeros_like(noise)
        action = mean + self.std * noise
        return action, self._log_norm - 0.5 * np.einsum("ij,ij->i", noise, noise)


class _Net:
    """Encoder and short-term memory; state goes in and comes out."""

    def __init__(self, core: str, w: Mapping[str, np.ndarray], prefix: str) -> None:
        self._mean, self._scale = w[prefix + "obs.mean"], w[prefix + "obs.scale"]
        self._encoder = _layer(w, prefix + "encoder")
        self._slopes = float(w[prefix + "slopes"][0])
        self._inputs = len(self._encoder[0]) - SLOPES * bool(self._slopes)
        self._signals = [SIGNALS[int(n)] for n in w.get(prefix + "signals", ())]
        own = prefix + "core."
        core_weights = {n.removeprefix(own): v for n, v in w.items() if n.startswith(own)}
        self._core = make_step(core, core_weights)
        self.width, start, stop = map(int, w[prefix + "state"])
        self.hidden_part = slice(start, stop)
        self._kept = None  # a lesion: what is left of the state after each step (`eval.traces`)
        if prefix + "kept" in w:
            self._kept = w[prefix + "kept"], w[prefix + "kept_offset"]

    def step(self, inputs: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Output (B, H) and the next state for packed inputs (B, input)."""
        features = self.visible(inputs) @ self._encoder[0]
        features += self._encoder[1]
        features = np.tanh(features, out=features)
        if self._signals:
            told = [signal(name, inputs)[:, None] for name in self._signals]
            features = np.concatenate((features, *told), axis=1)
        output, state = self._core(features, state)
        if self._kept is None:
            return output, state
        left = output @ self._kept[0] + self._kept[1]
        return left, left

    def visible(self, inputs: np.ndarray) -> np.ndarray:
        """What the encoder's layer sees of packed inputs (B, input)."""
        obs = inputs[:, OBS] - self._mean
        obs *= self._scale
        np.minimum(np.maximum(obs, -OBS_CLIP, out=obs), OBS_CLIP, out=obs)  # np.clip is slower
        more = slopes(inputs, self._slopes) if self._slopes else []
        return np.concatenate((obs, inputs[:, OBS_DIM : self._inputs], *more), axis=1)


class _Recall:
    """`agents.recall.Recall` and `memory.episodic.EpisodicMemory.read`, one step at a time.

    Its state, `rest`, is the slow encoder's state, the sum of its outputs, age and what each row
    may see; every row is read and the read kept where it is due, so shapes never change. All rows
    read one store, (entry, …), or each its own, (B, entry, …).
    """

    def __init__(self, core: str, w: Mapping[str, np.ndarray]) -> None:
        self._slow = _Net(core, w, "recall.")
        self._every = float(w["recall.every"][0])
        self._centre, self._values = w["recall.centre"], w["recall.values"]
        self._keys = np.ascontiguousarray(w["recall.keys"].swapaxes(-1, -2))
        self._all, self._old = w["recall.all"] > 0, w["recall.old"] > 0
        self._gate = np.ascontiguousarray(w["recall.gate"].T), w["recall.gate_bias"]
        self._sharpness, self._null = w["recall.sharpness"][0], w["recall.null"][0]
        place = self._slow.hidden_part
        self._place, self._hidden = place, place.stop - place.start
        self.width = self._slow.width + self._hidden + 2

    def read(self, inputs: np.ndarray, core: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """The short-term memory's state before this step, with what was recalled."""
        age, may = rest[:, -2], rest[:, -1]
        due = (age > 0) & ((age % self._every == 0) | (inputs[:, PREV_DONE] > 0.5))
        if not due.any():
            return core
        width, hidden = self._hidden, core[:, self._place]
        total = rest[:, self._slow.width : self._slow.width + width]
        query = total / np.maximum(age, 1.0)[:, None] - self._centre
        length = np.sqrt((query * query).sum(axis=1, keepdims=True))
        cosine = _times(query / np.maximum(length, 1e-12), self._keys)
        seen = (may >= OLD)[:, None] & self._old | (may >= ALL)[:, None] & self._all
        scores = np.where(seen, cosine, -np.inf) * self._sharpness
        entries = np.maximum(seen.sum(axis=1, keepdims=True), 1).astype(np.float32)
        null = self._null * self._sharpness + np.log(entries)
        top = np.maximum(scores.max(axis=1, keepdims=True), null)
        weights = np.exp(scores - top)
        weights /= weights.sum(axis=1, keepdims=True) + np.exp(null - top)
        memory = _times(weights, self._values)
        best = np.where(seen, cosine, np.float32(-1.0)).max(axis=1, keepdims=True)
        gate = np.concatenate((hidden, memory, best), axis=1) @ self._gate[0] + self._gate[1]
        read = hidden + sigmoid(gate) * np.tanh(memory)
        changed = core.copy()
        changed[:, self._place] = np.where(due[:, None], read, hidden)
        return changed

    def follow(self, inputs: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """`rest` after this step."""
        slow, width = self._slow.width, self._hidden
        output, state = self._slow.step(inputs, rest[:, :slow])
        after = rest.copy()
        after[:, :slow] = state
        after[:, slow : slow + width] += output
        after[:, -2] += 1.0
        return after


class _Reader:
    """`agents.lifetime_recall.LifetimeReader`: every row reads its own store at the same step."""

    def __init__(self, w: Mapping[str, np.ndarray], store: np.ndarray | None, rows: int) -> None:
        self._at = int(w["reader.at"][0])
        self._relevance = w["reader.relevance"]
        self._unlike, self._ageing = w["reader.unlike"], w["reader.ageing"]
        self._value = np.ascontiguousarray(w["reader.from_value"].T)
        self._gate = np.ascontiguousarray(w["reader.gate"].T), w["reader.gate_bias"]
        self._store = store
        self.age = np.zeros(rows, dtype=int)

    def read(self, net: _Net, inputs: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The short-term memory's state before this step, with what was recalled."""
        due, store = self.age == self._at, self._store
        self.age += 1
        if store is None or not due.any():
            return state
        hidden, ages = state[:, net.hidden_part], store[..., -1]
        shape = store.shape[:2]
        keys = net.visible(store[..., :INPUT_DIM].reshape(-1, INPUT_DIM)).reshape(*shape, -1)
        apart = (net.visible(inputs)[:, None] - keys) * self._relevance
        scores = -(apart * apart).sum(axis=-1) - self._ageing * (ages - 1)
        scores = np.where(ages == 0, np.float32(-np.inf), scores)
        top = np.maximum(scores.max(axis=1, keepdims=True), -self._unlike)
        weights = np.exp(scores - top)
        weights /= weights.sum(axis=1, keepdims=True) + np.exp(-self._unlike - top)
        found = weights.sum(axis=1, keepdims=True)
        mean = _times(weights, store[..., INPUT_DIM:-1]) / np.maximum(found, 1e-6)
        gate = sigmoid(np.concatenate((hidden, mean), axis=1) @ self._gate[0] + self._gate[1])
        changed = state.copy()
        read = hidden + found * gate * (mean @ self._value - hidden)
        changed[:, net.hidden_part] = np.where(due[:, None], read, hidden)
        return changed


def _times(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`rows` (B, n) times one matrix (n, m), or each row times its own (B, n, m)."""
    return rows @ matrix if matrix.ndim == 2 else (rows[:, None] @ matrix)[:, 0]


def _layer(w: Mapping[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(w[f"{name}.weight"].T), w[f"{name}.bias"]
