"""Levels 2 and 3: slow policies that each follow the faster one below, and hold it back.

Policy Consolidation (Kaplanis et al. 2019, arXiv 1902.00255) in the form of this project: level 1
is learnt by PPO and pulled towards level 2; level k ≥ 2 is moved once per iteration by

    L(θ_k) = ω KL(π_k ‖ π_{k-1}) + [k < N] KL(π_k ‖ π_{k+1}) + β ω^{k-1} KL(π_k ‖ π_k^old)
             + λ KL(π̄ ‖ π_k) on replayed trials,          with step size lr ω^{-(k-1)}.

All neighbours are those of the iteration's start (a parallel update), and every level unrolls its
own memory along the same inputs from the start of the trial. The `ema` variant is
θ_k ← η_k θ_k + (1 - η_k) θ_{k-1}. On a quadratic loss either is a linear filter in closed form,
which the tests compare.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from memory.reservoir import Replay, distillation

Unroll = Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(policy, inputs (T, B, I), state (B, S)) → mean (T, B, A), log σ (A,), state (B, S)."""
Start = Callable[[Any, int], Tensor]
"""(policy, trials B) → state (B, S) at the start of a trial."""


@dataclass(frozen=True)
class CascadeConfig:
    """How slow policies follow."""

    levels: int = 3
    """N, levels of the cascade with the fast policy, which is the first."""
    consolidation: Literal["kl", "ema"] = "kl"
    """How slow policies follow: by KL in what they do, or by averaging weights."""
    omega: float = 4.0
    """Ratio of the timescales of neighbouring levels (kl)."""
    inertia: float = 0.5
    """beta: weight of each level's KL to itself before the iteration (kl)."""
    half_lives: tuple[float, ...] = (10.0, 100.0)
    """Half-life of each slow level's average, in iterations (ema)."""
    slow_optimiser: Literal["adam", "sgd"] = "adam"
    """What moves slow policies (kl)."""
    slow_minibatches: int = 8
    """Optimiser steps of each slow policy per iteration (kl)."""

    def problems(self) -> list[str]:
        """Everything wrong with these values, each with the flag to change."""
        checks = {
            "--levels must be from 2 to 8": 2 <= self.levels <= 8,
            "--omega must be a number from 1 to 100": 1 <= self.omega <= 100,
            "--inertia must be a number from 0 to 100": 0 <= self.inertia <= 100,
            "--half-lives must be positive numbers": min(self.half_lives, default=0) > 0,
            "--half-lives must be one number per slow level": self.consolidation == "kl"
            or len(self.half_lives) == self.levels - 1,
            "--slow-minibatches must be at least 1": self.slow_minibatches >= 1,
        }
        return [message for message, holds in checks.items() if not holds]


def gaussian_kl(
    mean_p: Float[Tensor, "*batch action"],
    log_std_p: Float[Tensor, "*#batch action"],
    mean_q: Float[Tensor, "*batch action"],
    log_std_q: Float[Tensor, "*#batch action"],
) -> Float[Tensor, "*batch"]:
    """KL(p ‖ q) of diagonal Gaussians, in nats, summed over the action."""
    spread = (2 * log_std_p).exp() + (mean_p - mean_q).square()
    return (log_std_q - log_std_p + spread / (2 * (2 * log_std_q).exp()) - 0.5).sum(-1)


class Cascade:
    """The slow policies θ_2…θ_N and their optimisers. They are read freely and written by `follow`.

    Args:
        policy: the fast policy; the slow ones start as copies of it.
        config: see CascadeConfig.
        learning_rate: lr, the fast policy's.
        unroll, start: how a policy is run; this module knows nothing else of it.
        settle: called with a slow policy after each step of its optimiser.
    """

    def __init__(
        self,
        policy: nn.Module,
        config: CascadeConfig,
        *,
        learning_rate: float,
        unroll: Unroll,
        start: Start,
        settle: Callable[[Any], None] = lambda policy: None,
    ) -> None:
        self.config, self._unroll, self._start, self._settle = config, unroll, start, settle
        slow = range(2, config.levels + 1)
        self.levels = [copy.deepcopy(policy).requires_grad_(False) for _ in slow]
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[config.slow_optimiser]
        self.optimisers = [
            kind(level.parameters(), lr=learning_rate * config.omega ** (1 - k))
            for k, level in zip(slow, self.levels, strict=True)
        ]

    @torch.no_grad()
    def sweep(
        self, policy: nn.Module, inputs: Float[Tensor, "time trial input"], length: int
    ) -> tuple[Float[Tensor, "time trial action"], Float[Tensor, " action"], list[Tensor]]:
        """What `policy` does along whole trials: mean, log σ, and its memory every `length` steps.

        Returns:
            Mean (T, B, A), log σ (A,) and the states (B, S) before steps 0, L, 2 L, ….
        """
        state, means, starts = self._start(policy, inputs.shape[1]), [], []
        log_std = inputs.new_zeros(0)
        for part in inputs.split(length):
            starts.append(state)
            mean, log_std, state = self._unroll(policy, part, state)
            means.append(mean)
        return torch.cat(means), log_std.clone(), starts

    def follow(
        self,
        fast: nn.Module,
        inputs: Float[Tensor, "time trial input"],
        rng: np.random.Generator,
        *,
        length: int,
        replay: Replay | None = None,
        replay_weight: float = 0.0,
    ) -> dict[str, float]:
        """Move every slow policy once: the only thing that changes them.

        Args:
            fast: θ_1, as it is after the iteration.
            inputs: the iteration's whole trials.
            rng: orders the minibatches.
            length: steps of back-propagation through time.
            replay: old trials that slow policies are held to as well.
            replay_weight: λ.

        Returns:
            ``kl_k``, KL(π_k ‖ π_{k-1}) in nats before the iteration, for every slow level.
        """
        policies = [fast, *self.levels]
        swept = [self.sweep(policy, inputs, length) for policy in policies]
        apart = {
            f"kl_{k + 1}": float(gaussian_kl(*swept[k][:2], *swept[k - 1][:2]).mean())
            for k in range(1, len(policies))
        }
        if self.config.consolidation == "ema":
            self._average(fast)
            return apart
        held = replay if replay_weight else None
        for k, level in enumerate(self.levels, start=1):
            level.requires_grad_(True)
            started = None if held is None else self.sweep(level, held.inputs, length)[2]
            parts = minibatches(len(inputs), inputs.shape[1], length, self._count, rng)
            old = (
                []
                if held is None
                else [*minibatches(len(held.inputs), held.count, length, self._count, rng)]
            )
            for number, (step, columns) in enumerate(parts):
                time = slice(step * length, (step + 1) * length)
                start = swept[k][2][step][columns]
                mean, log_std, _ = self._unroll(level, inputs[time, columns], start)
                loss = inputs.new_zeros(())
                for weight, neighbour in self._neighbours(k, len(policies)):
                    target, target_log_std, _ = swept[neighbour]
                    kl = gaussian_kl(mean, log_std, target[time, columns], target_log_std)
                    loss = loss + weight * kl.mean()
                if held is not None and started is not None and number < len(old):
                    step, columns = old[number]
                    some = held.part(slice(step * length, (step + 1) * length), columns)
                    again = self._unroll(level, some.inputs, started[step][columns])
                    loss = loss + replay_weight * distillation(again[0], again[1], some)
                self._step(k - 1, loss)
            level.requires_grad_(False)
        return apart

    @property
    def _count(self) -> int:
        return self.config.slow_minibatches

    def _neighbours(self, k: int, levels: int) -> Iterator[tuple[float, int]]:
        """Weight and index (0 is the fast policy) of what slow level of index k is drawn to."""
        yield self.config.omega, k - 1
        if k + 1 < levels:
            yield 1.0, k + 1
        if self.config.inertia:
            yield self.config.inertia * self.config.omega**k, k

    def _step(self, slow: int, loss: Tensor) -> None:
        """One step of a slow policy, left out where a gradient is not finite."""
        optimiser, weights = self.optimisers[slow], list(self.levels[slow].parameters())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if bool(torch.isfinite(torch.nn.utils.clip_grad_norm_(weights, 1e3))):
            optimiser.step()
            self._settle(self.levels[slow])

    @torch.no_grad()
    def _average(self, fast: nn.Module) -> None:
        below = [fast, *self.levels[:-1]]
        before = [{n: w.clone() for n, w in policy.named_parameters()} for policy in below]
        for level, source, life in zip(self.levels, before, self.config.half_lives, strict=True):
            keep = 0.5 ** (1 / life)
            for name, weight in level.named_parameters():  # the fast one may have more
                weight.mul_(keep).add_(source[name], alpha=1 - keep)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of every slow level, and their optimisers' moments."""
        found: dict[str, Tensor] = {}
        for k, (level, optimiser) in enumerate(zip(self.levels, self.optimisers, strict=True), 2):
            found |= {f"level{k}.{name}": value for name, value in level.state_dict().items()}
            for i, slots in optimiser.state_dict()["state"].items():
                found |= {
                    f"optimiser{k}.{i}.{name}": value
                    for name, value in slots.items()
                    if value is not None
                }
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        for k, (level, optimiser) in enumerate(zip(self.levels, self.optimisers, strict=True), 2):
            level.load_state_dict(chosen(tensors, f"level{k}."))
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in chosen(tensors, f"optimiser{k}.").items():
                index, name = key.split(".", 1)
                slots.setdefault(int(index), {})[name] = value.clone()  # steps are in place
            optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})


def minibatches(
    steps: int, trials: int, length: int, count: int, rng: np.random.Generator
) -> list[tuple[int, Tensor]]:
    """About `count` minibatches: (number of the stretch of time, columns), each step of each once.

    A minibatch is one stretch of `length` steps of some trials, so nothing has to be padded.
    """
    stretches = -(-steps // length)
    groups = min(trials, max(1, round(count / stretches)))
    found: list[tuple[int, Tensor]] = []
    for stretch in range(stretches):
        order = torch.from_numpy(rng.permutation(trials))
        found += [(stretch, columns) for columns in torch.tensor_split(order, groups)]
    return [found[i] for i in rng.permutation(len(found))]


def chosen(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name starts with `prefix`, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def policies_of(tensors: dict[str, Tensor]) -> Sequence[int]:
    """Numbers of the slow levels that `Cascade.tensors` holds."""
    return sorted({int(n[5 : n.index(".")]) for n in tensors if n.startswith("level")})
