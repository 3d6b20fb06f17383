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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor, nn

from memory.adam import Adam
from memory.behaviour import Behaviour, divergence
from memory.reservoir import Replay, distillation
from memory.restored import adam_tensors, check_tensors, chosen, restore_adam

Unroll = Callable[[Any, Tensor, Tensor], tuple[Behaviour, Tensor]]
"""(policy, inputs (T, B, I), state (B, S)) → what it does along them, state (B, S)."""
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
    slow_optimiser: tyro.conf.Suppress[Literal["adam"]] = "adam"
    """What moves slow policies (kl); there is no other choice, but saved runs name it."""
    slow_minibatches: int = 8
    """Optimiser steps of each slow policy per iteration, about: at least one a stretch of time, at
    most one a trial and stretch (kl)."""

    def problems(self) -> list[str]:
        """Everything wrong with these values, each with the flag to change."""
        checks = {
            "--levels must be from 2 to 8": 2 <= self.levels <= 8,
            "--omega must be a number from 1 to 100": 1 <= self.omega <= 100,
            "--inertia must be a number from 0 to 100": 0 <= self.inertia <= 100,
            "--half-lives must be positive numbers, at most 1e9": bool(self.half_lives)
            and all(0 < life <= 1e9 for life in self.half_lives),
            "--half-lives must be one number per slow level": self.consolidation == "kl"
            or len(self.half_lives) == self.levels - 1,
            "--slow-minibatches must be from 1 to 10000": 1 <= self.slow_minibatches <= 10_000,
        }
        return [message for message, holds in checks.items() if not holds]


@dataclass(frozen=True)
class Sweep:
    """What a policy does along whole trials.

    Attributes:
        done: at each step.
        starts: states (B, S) before steps 0, L, 2 L, ….
    """

    done: Behaviour
    starts: list[Tensor]


class Cascade:
    """The slow policies θ_2…θ_N and their optimisers. They are read freely and written by `follow`.

    Args:
        policy: the fast policy; the slow ones start as copies of it.
        config: see CascadeConfig.
        learning_rate: lr, the fast policy's.
        unroll, start: how a policy is run; this module knows nothing else of it.
        settle: called with a slow policy after each step of its optimiser.
        optimiser: makes what moves a slow policy from its weights and ``lr``.
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
        optimiser: Callable[..., torch.optim.Optimizer] = Adam,
    ) -> None:
        self.config, self._unroll, self._start, self._settle = config, unroll, start, settle
        slow = range(2, config.levels + 1)
        self.policies = [copy.deepcopy(policy).requires_grad_(False) for _ in slow]
        self.optimisers = [
            optimiser(level.parameters(), lr=learning_rate * config.omega ** (1 - k))
            for k, level in zip(slow, self.policies, strict=True)
        ]

    @torch.no_grad()
    def sweep(
        self,
        policy: nn.Module,
        inputs: Float[Tensor, "time trial input"],
        length: int,
        start: Float[Tensor, "trial state"] | None = None,
    ) -> Sweep:
        """What `policy` does along whole trials, from `start` or from its usual start."""
        state = self._start(policy, inputs.shape[1]) if start is None else start
        parts, starts = [], []
        for part in inputs.split(length):
            starts.append(state)
            done, state = self._unroll(policy, part, state)
            parts.append(done)
        return Sweep(_joined(parts), starts)

    def follow(
        self,
        fast: nn.Module,
        inputs: Float[Tensor, "time trial input"],
        rng: np.random.Generator,
        *,
        length: int,
        fast_start: Float[Tensor, "trial state"] | None = None,
        read: Float[Tensor, "time trial"] | None = None,
        replay: Replay | None = None,
        replay_weight: float = 0.0,
    ) -> dict[str, float]:
        """Move every slow policy once: the only thing that changes them.

        Args:
            fast: θ_1, as it is after the iteration.
            inputs: the iteration's whole trials.
            rng: orders the minibatches.
            length: steps of back-propagation through time.
            fast_start: the fast policy's state at the start of the trials; None: its usual one.
            read: how much the belief counts at each step (`memory.behaviour`).
            replay: old trials that slow policies are held to as well.
            replay_weight: λ.

        Returns:
            ``kl_k``, KL(π_k ‖ π_{k-1}) in nats before the iteration, for every slow level.
        """
        swept = [self.sweep(fast, inputs, length, fast_start)]
        swept += [self.sweep(policy, inputs, length) for policy in self.policies]
        apart = {
            f"kl_{k + 1}": float(divergence(swept[k].done, swept[k - 1].done, read).mean())
            for k in range(1, len(swept))
        }
        if self.config.consolidation == "ema":
            self._average(fast)
            return apart
        old = replay if replay_weight else None
        for k, policy in enumerate(self.policies, start=1):
            policy.requires_grad_(True)
            self._move(k, inputs, swept, rng, length, read, old, replay_weight)
            policy.requires_grad_(False)
        return apart

    def _move(
        self,
        k: int,
        inputs: Tensor,
        swept: list[Sweep],
        rng: np.random.Generator,
        length: int,
        read: Tensor | None,
        old: Replay | None,
        replay_weight: float,
    ) -> None:
        """All optimiser steps that slow policy of index k (0 is the fast one) makes at once."""
        policy, count = self.policies[k - 1], self.config.slow_minibatches
        starts = [] if old is None else self.sweep(policy, old.inputs, length).starts
        parts = minibatches(len(inputs), inputs.shape[1], length, count, rng)
        old_parts = (
            [] if old is None else minibatches(len(old.inputs), old.count, length, count, rng)
        )
        for number, (step, columns) in enumerate(parts):
            time = slice(step * length, (step + 1) * length)
            start = swept[k].starts[step][columns]
            done, _ = self._unroll(policy, inputs[time, columns], start)
            loss = inputs.new_zeros(())
            some_read = None if read is None else read[time, columns]
            for weight, neighbour in self._neighbours(k, len(swept)):
                target = swept[neighbour].done.changed(lambda x, t=time, c=columns: x[t, c])
                loss = loss + weight * divergence(done, target, some_read).mean()
            if old is not None and number < len(old_parts):
                step, columns = old_parts[number]
                some = old.part(slice(step * length, (step + 1) * length), columns)
                again, _ = self._unroll(policy, some.inputs, starts[step][columns])
                loss = loss + replay_weight * distillation(again, some)
            self._step(k - 1, loss)

    def _neighbours(self, k: int, levels: int) -> Iterator[tuple[float, int]]:
        """Weight and index (0 is the fast policy) of what slow level of index k is drawn to."""
        yield self.config.omega, k - 1
        if k + 1 < levels:
            yield 1.0, k + 1
        if self.config.inertia:
            yield self.config.inertia * self.config.omega**k, k

    def _step(self, slow: int, loss: Tensor) -> None:
        """One step of a slow policy, left out where a gradient is not finite."""
        optimiser, weights = self.optimisers[slow], list(self.policies[slow].parameters())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if bool(torch.isfinite(torch.nn.utils.clip_grad_norm_(weights, 1e3))):
            optimiser.step()
            self._settle(self.policies[slow])

    @torch.no_grad()
    def _average(self, fast: nn.Module) -> None:
        below = [fast, *self.policies[:-1]]
        before = [{n: w.clone() for n, w in policy.named_parameters()} for policy in below]
        for level, source, life in zip(self.policies, before, self.config.half_lives, strict=True):
            keep = 0.5 ** (1 / life)
            for name, weight in level.named_parameters():  # the fast one may have more
                weight.mul_(keep).add_(source[name], alpha=1 - keep)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of every slow level, and their optimisers' moments."""
        found: dict[str, Tensor] = {}
        for k, (level, optimiser) in enumerate(zip(self.policies, self.optimisers, strict=True), 2):
            found |= {f"level{k}.{name}": value for name, value in level.state_dict().items()}
            moments = adam_tensors(optimiser)
            found |= {f"optimiser{k}.{name}": value for name, value in moments.items()}
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        for k, (level, optimiser) in enumerate(zip(self.policies, self.optimisers, strict=True), 2):
            own = chosen(tensors, f"level{k}.")
            check_tensors(own, level.state_dict())
            level.load_state_dict(own)
            restore_adam(optimiser, chosen(tensors, f"optimiser{k}."))


def _joined(parts: list[Behaviour]) -> Behaviour:
    """What was done in one stretch after another; σ is the same in all."""
    scores = [part.scores for part in parts if part.scores is not None]
    return Behaviour(
        torch.cat([part.mean for part in parts]),
        parts[-1].log_std.clone(),
        torch.cat(scores) if scores else None,
    )


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
