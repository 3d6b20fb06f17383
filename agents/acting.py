"""The agent's forward in NumPy, for workers: no torch, no per-step message, the same arithmetic.

Rows of one block are always computed together in one matrix product of fixed shape, so a trial's
bits do not depend on how many workers there are. `tests/agents/test_acting.py` holds this path to
`RL2Agent.unroll` within float32 round-off.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agents.step_input import OBS, OBS_DIM

OBS_CLIP = 5.0
LOG_TWO_PI = float(np.log(2 * np.pi))


class NumpyActor:
    """A policy for a block of trials, stepped in lockstep.

    Args:
        core: ``gru``, ``lstm`` or ``none``.
        weights: as `agents.rl2.actor_weights` gives them.
        trials: rows of the block.
        deterministic: act by the mean instead of sampling.
    """

    def __init__(
        self,
        core: str,
        weights: Mapping[str, np.ndarray],
        trials: int,
        *,
        deterministic: bool = False,
    ) -> None:
        self.core, self.trials, self.deterministic = core, trials, deterministic
        w = {name: np.array(value, dtype=np.float32) for name, value in weights.items()}
        self._mean, self._scale = w["obs.mean"], w["obs.scale"]
        self._encoder = np.ascontiguousarray(w["encoder.weight"].T), w["encoder.bias"]
        self._head = np.ascontiguousarray(w["head.weight"].T), w["head.bias"]
        self._limit = w["head.limit"]
        self.log_std = w["head.log_std"]
        self.std = np.exp(self.log_std)
        if core == "none":
            self._dense = np.ascontiguousarray(w["core.weight"].T), w["core.bias"]
            self.hidden = len(w["core.bias"])
        else:
            self._ih = np.ascontiguousarray(w["core.weight_ih_l0"].T), w["core.bias_ih_l0"]
            self._hh = np.ascontiguousarray(w["core.weight_hh_l0"].T), w["core.bias_hh_l0"]
            self.hidden = self._hh[0].shape[0]
        self.reset()

    def reset(self) -> None:
        """Clear the memory: the start of a trial."""
        width = {"gru": 1, "lstm": 2, "none": 0}[self.core] * self.hidden
        self.state = np.zeros((self.trials, width), dtype=np.float32)

    def mean(self, inputs: np.ndarray) -> np.ndarray:
        """Mean action (B, 4) for packed inputs (B, 46); advances the memory by one step."""
        x = inputs.copy()
        obs = x[:, OBS]
        obs -= self._mean
        obs *= self._scale
        np.clip(obs, -OBS_CLIP, OBS_CLIP, out=obs)
        x[:, :OBS_DIM] = obs
        features = np.tanh(x @ self._encoder[0] + self._encoder[1])
        hidden = getattr(self, f"_{self.core}")(features)
        return self._limit * np.tanh((hidden @ self._head[0] + self._head[1]) / self._limit)

    def act(self, inputs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions (B, 4), unclipped, and their log-probabilities (B,), from noise (B, 4)."""
        mean = self.mean(inputs)
        if self.deterministic:
            noise = np.zeros_like(noise)
        action = mean + self.std * noise
        log_prob = -0.5 * (noise * noise + LOG_TWO_PI).sum(-1) - self.log_std.sum()
        return action, log_prob

    def _none(self, features: np.ndarray) -> np.ndarray:
        return np.tanh(features @ self._dense[0] + self._dense[1])

    def _gru(self, features: np.ndarray) -> np.ndarray:
        n, h = self.hidden, self.state
        from_input = features @ self._ih[0] + self._ih[1]
        from_state = h @ self._hh[0] + self._hh[1]
        gates = _sigmoid(from_input[:, : 2 * n] + from_state[:, : 2 * n])
        candidate = np.tanh(from_input[:, 2 * n :] + gates[:, :n] * from_state[:, 2 * n :])
        self.state = candidate + gates[:, n:] * (h - candidate)
        return self.state

    def _lstm(self, features: np.ndarray) -> np.ndarray:
        n = self.hidden
        h, c = self.state[:, :n], self.state[:, n:]
        gates = features @ self._ih[0] + self._ih[1] + h @ self._hh[0] + self._hh[1]
        keep = _sigmoid(gates[:, n : 2 * n])
        c = keep * c + _sigmoid(gates[:, :n]) * np.tanh(gates[:, 2 * n : 3 * n])
        h = _sigmoid(gates[:, 3 * n :]) * np.tanh(c)
        self.state = np.concatenate((h, c), axis=1)
        return h


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (np.tanh(0.5 * x) + 1.0)
