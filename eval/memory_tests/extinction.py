"""The extinction probe: every outcome is a failure; in which order are the sites tried?

An agent that lived through eras, in each of which a pair of sites held the target, is told in every
attempt that it was wrong. A memory of the present era alone tries its pair and then anything. A
slower memory goes on to older eras, the latest first, and to sites that never counted last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from envs.memory_tests.fork import UNCOMMITTED
from envs.memory_tests.fork_streams import PAIRS, SITES_IN_ALL
from envs.metaworld.streams import Stream
from envs.metaworld.suites import Suite
from envs.trials.trial import Trial

KIND = "strata extinction"
NOWHERE = (0.0, 0.0, 100.0)  # metres: the target that no hand reaches
SHUFFLES = 2000
MEASURES = {
    "tau": "τ-c with the recency of eras",
    "tau_past": "τ-c without the present era",
    "past": "older sites before a never-rewarded one",
    "chance_past": "the same by chance",
    "touched": "sites touched",
}
"""What is compared between runs, by its name in `Extinction`."""


@dataclass(frozen=True)
class Extinction:
    """What one policy did in N trials, with what is expected of an order that knows no eras.

    Attributes:
        order: (N, S) attempt in which each site was first touched, from 0; K: in none.
        tau: mean Kendall's τ-c of the order with the recency of eras: 1, the present era's sites
            first, then the older ones in their order, those that never counted last.
        tau_past: the same without the present era's sites, which any agent tries first.
        past: mean number of older eras' sites before the first that never counted.
        chance_past: the same if all but the present era's sites were shuffled.
        p_tau, p_tau_past, p_past: share of orders of the sites that come out as high, among
            `SHUFFLES` shuffles and the sites' own order.
        touched: mean number of different sites that were touched.
    """

    order: Int[np.ndarray, "trial site"]
    tau: float
    tau_past: float
    past: float
    chance_past: float
    p_tau: float
    p_tau_past: float
    p_past: float
    touched: float

    @classmethod
    def of(
        cls,
        choices: Int[np.ndarray, "trial attempt"],
        recency: Int[np.ndarray, " site"],
        *,
        seed: int = 0,
    ) -> Extinction:
        """Measure choices.

        Args:
            choices: site touched in each attempt, UNCOMMITTED for none.
            recency: of each site's last era, from 0, the present one; the largest: never counted.
            seed: of the shuffles.
        """
        order, rng = first_touched(choices, len(recency)), np.random.default_rng(seed)
        others = recency > 0
        everything = [rng.permutation(recency) for _ in range(SHUFFLES)]
        older = [recency.copy() for _ in range(SHUFFLES)]
        for shuffled in older:
            shuffled[others] = rng.permutation(shuffled[others])
        tau, tau_past = mean_tau(order, recency), mean_tau(order[:, others], recency[others])
        past = past_before_never(order, recency)
        by_chance = np.array([past_before_never(order, labels) for labels in older])
        taus = np.array([mean_tau(order, labels) for labels in everything])
        taus_past = np.array([mean_tau(order[:, others], labels[others]) for labels in older])
        return cls(
            order,
            tau,
            tau_past,
            past,
            float(by_chance.mean()),
            _share_as_high(taus, tau),
            _share_as_high(taus_past, tau_past),
            _share_as_high(by_chance, past),
            float((order < choices.shape[1]).sum(axis=1).mean()),
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**vars(self), "order": self.order.tolist()}


def _share_as_high(shuffled: np.ndarray, value: float) -> float:
    """The p of a permutation test; never 0, as the order that was seen is one of the orders."""
    return float((1 + (shuffled >= value - 1e-9).sum()) / (1 + len(shuffled)))


def first_touched(
    choices: Int[np.ndarray, "trial attempt"], sites: int
) -> Int[np.ndarray, "trial site"]:
    """Attempt in which each site was first touched, from 0; the number of attempts: in none."""
    attempts = choices.shape[1]
    order = np.full((len(choices), sites), attempts)
    for attempt in reversed(range(attempts)):
        rows = np.flatnonzero(choices[:, attempt] != UNCOMMITTED)
        order[rows, choices[rows, attempt]] = attempt
    return order


def kendall(
    order: Int[np.ndarray, "trial site"], recency: Int[np.ndarray, " site"]
) -> Float[np.ndarray, " trial"]:
    """Kendall's τ-c of each trial's order with `recency`; 0 where all sites are alike in one.

    τ-c (Stuart 1953), as `scipy.stats.kendalltau(variant="c")` has it: ± 1 can be reached although
    the sites of an era are tied.
    """
    one = np.sign(order[:, :, None] - order[:, None, :])
    other = np.sign(recency[:, None] - recency[None, :])
    agreement = (one * other).sum(axis=(1, 2)) / 2
    kinds = np.array([min(len(set(row)), len(set(recency.tolist()))) for row in order.tolist()])
    return 2 * kinds * agreement / (len(recency) ** 2 * np.maximum(kinds - 1, 1))


def mean_tau(order: np.ndarray, recency: np.ndarray) -> float:
    """Mean of `kendall` over trials."""
    return float(kendall(order, recency).mean())


def past_before_never(order: np.ndarray, recency: np.ndarray) -> float:
    """Mean number of older eras' sites that were touched before any that never counted."""
    never = recency == recency.max()
    first = order[:, never].min(axis=1)
    return float((order[:, (recency > 0) & ~never] < first[:, None]).sum(axis=1).mean())


def recency_of(stream: Stream, step: int) -> Int[np.ndarray, " site"]:
    """How many other eras each site's last one lies back after `step` steps; most: it had none."""
    begun = [phase.task for phase in stream.phases if phase.start < step]
    latest = list(dict.fromkeys(reversed(begun)))
    recency = np.full(SITES_IN_ALL, len(latest))
    for back, part in enumerate(latest):
        recency[list(PAIRS[part])] = back
    return recency


def extinction_trials(
    suite: Suite, *, trials: int, attempts: int, horizon: int, seed: int
) -> list[Trial]:
    """Unseen trials in which no site counts, however long one looks."""
    seeds: Sequence[int] = np.random.default_rng([seed, 19]).integers(2**63, size=trials).tolist()
    found = []
    for number, own in enumerate(seeds):
        trial = suite.trial("test", suite.tasks[0], number, attempts, horizon, seed=own)
        assert trial.fork is not None
        fork = replace(
            trial.fork,
            targets=(SITES_IN_ALL,) * attempts,
            sites=(*trial.fork.sites, NOWHERE),
        )
        found.append(replace(trial, fork=fork))
    return found
