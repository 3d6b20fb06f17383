"""A collected iteration, its advantages, and its cutting into sequences: all pure functions."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from agents.heads import GOAL_DIM
from agents.input_layout import OBS, OBS_DIM
from envs.memory_tests.fork import STILL
from envs.pool.shared_rollout import TrialBatch
from envs.trials.practice import PARTS
from envs.trials.trial import Trial

Boundary = Literal["carry", "cut"]
TIMED = ("inputs", "actions", "log_probs", "rewards", "successes")
"""Fields of a rollout with a row for each step; trials are columns."""
BY_EPISODE = ("choices", "targets")
"""Fields with a row for each episode, or None; trials are columns."""
BY_TRIAL = (
    "task_ids", "goals", "recall", "kinds", "practised", "shown", "lives", "stores", "true_aims",
)  # fmt: skip
"""Fields with a row for each trial, or None; so has `usable`."""


@dataclass(frozen=True)
class Rollout:
    """One batch of trials, time-major, T = episodes × horizon.

    Attributes:
        inputs: packed inputs.
        actions: unclipped actions.
        log_probs: log-probabilities computed by the workers while acting.
        rewards: unscaled rewards.
        successes: success flag of each step.
        usable: trials without a physics fault; the others are kept out of every loss.
        task_ids: index of each trial's task among the training tasks, N; N more for proposals.
        goals: each trial's goal, padded with zeros to 6 numbers, in metres, or its proposal's
            `vector`.
        episodes: K.
        recall: what of episodic memory each trial saw; None: all of it.
        kinds: 0 for the suite's own tasks, 1, 2 for proposals by `envs.trials.practice.PARTS`;
            None: all are the suite's own.
        choices: in FORK the target that each attempt touched, -1 for none; else None.
        targets: in FORK the target z that counted in each attempt, -1 in another scene; else None.
        practised: trials that showed the true target; None: none.
        shown: those of them that showed it in the input; None: none.
        lives: in RECALL the slot and the lifetime of each trial; else None.
        stores: what each trial could recall of its lifetime (`memory.lifetimes`); None: nothing.
        true_aims: what each trial asks for, as an aim over (part, place), where the agent acts on
            those (`agents.acting.place_aims`); None, or zeros: it does not.
    """

    inputs: Float[Tensor, "time trial input"]
    actions: Float[Tensor, "time trial action"]
    log_probs: Float[Tensor, "time trial"]
    rewards: Float[Tensor, "time trial"]
    successes: Bool[Tensor, "time trial"]
    usable: Bool[Tensor, " trial"]
    task_ids: Int[Tensor, " trial"]
    goals: Float[Tensor, "trial goal"]
    episodes: int
    recall: Int[Tensor, " trial"] | None = None
    kinds: Int[Tensor, " trial"] | None = None
    choices: Int[Tensor, "episode trial"] | None = None
    targets: Int[Tensor, "episode trial"] | None = None
    practised: Bool[Tensor, " trial"] | None = None
    shown: Bool[Tensor, " trial"] | None = None
    lives: Int[Tensor, "trial 2"] | None = None
    stores: Float[Tensor, "trial entry number"] | None = None
    true_aims: Float[Tensor, "trial 4"] | None = None

    @classmethod
    def from_batch(
        cls, batch: TrialBatch, trials: Sequence[Trial], tasks: Sequence[str]
    ) -> Rollout:
        """Attach to a batch what the learner knows about its trials."""
        position = {task: i for i, task in enumerate(tasks)}
        goals = [
            trial.proposal.vector(target) if trial.proposal else trial.goal
            for trial, target in zip(trials, batch.targets.tolist(), strict=True)
        ]
        return cls(
            inputs=torch.from_numpy(batch.inputs),
            actions=torch.from_numpy(batch.actions),
            log_probs=torch.from_numpy(batch.log_probs),
            rewards=torch.from_numpy(batch.rewards),
            successes=torch.from_numpy(batch.successes),
            usable=torch.from_numpy(~batch.faults.any(axis=0)),
            task_ids=torch.tensor(
                [position[t.task] + len(tasks) * (t.proposal is not None) for t in trials]
            ),
            goals=pad_goals(goals),
            episodes=trials[0].episodes,
            recall=torch.tensor([trial.recall for trial in trials]),
            kinds=torch.tensor(
                [1 + PARTS.index(t.proposal.part) if t.proposal else 0 for t in trials]
            ),
            practised=torch.tensor([trial.practise for trial in trials]),
            shown=torch.tensor([trial.shown for trial in trials]),
            true_aims=torch.from_numpy(batch.aims),
            **_of_forks(batch, trials),
        )

    @staticmethod
    def join(parts: Sequence[Rollout]) -> Rollout:
        """The trials of all parts side by side, e.g. of groups acted by different weights."""
        columns, rows = parts[0].fields()
        joined = {name: torch.cat([getattr(p, name) for p in parts], dim=1) for name in columns}
        joined |= {name: torch.cat([getattr(p, name) for p in parts]) for name in rows}
        return dataclasses.replace(parts[0], **joined)

    def fields(self) -> tuple[list[str], list[str]]:
        """Names of the fields that there are: those whose trials are columns, and rows."""
        names = (*TIMED, *BY_EPISODE), ("usable", *BY_TRIAL)
        columns, rows = ([n for n in some if getattr(self, n) is not None] for some in names)
        return columns, rows

    @property
    def steps(self) -> int:
        """T, steps of each trial."""
        return self.rewards.shape[0]

    @property
    def horizon(self) -> int:
        """H, steps of each episode."""
        return self.steps // self.episodes

    def clock(self) -> Float[Tensor, "time 2"]:
        """Fraction of the episode and of the trial gone before each step, in [0, 1)."""
        t = torch.arange(self.steps, dtype=torch.float32)
        return torch.stack(((t % self.horizon) / self.horizon, t / self.steps), dim=-1)

    def without_faults(self) -> Rollout:
        """Only the usable trials. Masking the others would not do: 0 × inf is NaN."""
        return self.chosen(self.usable)

    def chosen(self, keep: Bool[Tensor, " trial"]) -> Rollout:
        """Only the trials of `keep`; itself where that is all of them, as a copy costs time."""
        if bool(keep.all()):
            return self
        columns, rows = self.fields()
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[:, keep] for name in columns},
            **{name: getattr(self, name)[keep] for name in rows},
        )

    def usable_obs(self) -> Float[Tensor, "n obs"]:
        """Observations of all usable trials that are not hidden, for the normaliser."""
        obs = self.inputs[:, self.usable, OBS].reshape(-1, OBS_DIM)
        return obs[(obs != 0).any(dim=1)]

    def kinds_of_task(self) -> Int[Tensor, " trial"]:
        """A number for each task, in FORK for each task and (first) hidden target.

        Rewards of one kind are alike in scale. A far target's progress is small beside the bonus
        for a near one; normalised together, the policy takes 5 times as long to pass the near one.
        """
        if self.targets is None:
            return self.task_ids
        return self.task_ids * (int(self.targets.max()) + 2) + self.targets[0] + 1

    def target_by_step(self) -> Int[Tensor, "time trial"]:
        """The target that counts at each step, -1 in another scene; of FORK trials alone."""
        assert self.targets is not None
        return self.targets.repeat_interleave(self.horizon, dim=0)

    def target_when_read(self) -> Int[Tensor, "time trial"]:
        """The same where the agent reads its belief, the last still step; -1 elsewhere.

        Practice with an aim does not count: the hand goes to the target there, which would teach
        that the target lies where the hand went. Practice that shows the target in the input does:
        a memory that holds what it is told as it holds what it found out acts on both alike. In
        RECALL the end of an attempt counts as well: its outcome is shown there, and what is known
        then is what the store takes in.
        """
        assert self.targets is not None
        read = torch.full((self.steps, self.targets.shape[1]), -1)
        taught = self.own if self.shown is None else self.own | self.shown
        read[self.when_read] = torch.where(taught, self.targets, -1)
        if self.lives is not None:
            read[self.horizon - 1 :: self.horizon] = read[self.when_read]
        return read

    def belief_counts(self) -> Float[Tensor, "time trial"] | None:
        """How much the belief counts at each step; None without hidden targets.

        It is H where it is taught, once an attempt, and 0 elsewhere: its mean over the steps of a
        trial is that over the attempts.
        """
        return (
            None if self.targets is None else self.horizon * (self.target_when_read() >= 0).float()
        )

    def taught(self) -> tuple[Shaped[Tensor, "time trial *aim"], Float[Tensor, "time trial"]]:
        """What a belief that is acted on should know at each step, and how much that counts there.

        Of targets: 1 where it is read (`target_when_read`), else 0. Of (part, place): 1 at every
        step, for each tells something by its reward, and H more where it is read, as much as all
        steps of an episode together. Practice with an aim does not count.
        """
        if self.targets is not None:
            read = self.target_when_read()
            return read.clamp(min=0), (read >= 0).float()
        assert self.true_aims is not None
        counts = self.own.float().repeat(self.steps, 1)
        counts[self.when_read] *= 1 + self.horizon
        return self.true_aims.expand(self.steps, -1, -1), counts

    @property
    def proposed(self) -> Bool[Tensor, " trial"]:
        """Trials of proposed tasks."""
        return torch.zeros_like(self.usable) if self.kinds is None else self.kinds > 0

    @property
    def own(self) -> Bool[Tensor, " trial"]:
        """Trials in which the agent was not shown the true target."""
        none = torch.zeros_like(self.usable)
        return ~(none if self.practised is None else self.practised)

    @property
    def when_read(self) -> slice:
        """Where the belief is read: the last still step of an attempt, else its first step."""
        return slice(0 if self.targets is None else STILL - 1, None, self.horizon)

    def by_episode(
        self, values: Shaped[Tensor, "time trial"]
    ) -> Shaped[Tensor, "episode step trial"]:
        """Split time into episodes."""
        return values.reshape(self.episodes, self.horizon, -1)

    def success_by_episode(self) -> Float[Tensor, "episode trial"]:
        """1 where the episode succeeded at any step (Meta-World's official criterion)."""
        return self.by_episode(self.successes.float()).amax(dim=1)

    def last_step_success(self) -> Float[Tensor, "episode trial"]:
        """1 where the episode's last step was a success."""
        return self.by_episode(self.successes.float())[:, -1]


def _of_forks(batch: TrialBatch, trials: Sequence[Trial]) -> dict[str, Tensor]:
    """Choices, targets (K, B) and lives of FORK trials; nothing where one is of another kind."""
    targets = [trial.fork.targets for trial in trials if trial.fork is not None]
    if len(targets) < len(trials):
        return {}
    ends = batch.choices[trials[0].horizon - 1 :: trials[0].horizon]
    found = {"choices": torch.from_numpy(ends).long(), "targets": torch.tensor(targets).T}
    return found | ({"lives": lives(trials)} if _in_lifetimes(trials[0]) else {})


def lives(trials: Sequence[Trial]) -> Int[Tensor, "trial 2"]:
    """Slot and lifetime of RECALL trials."""
    met = [trial.fork.meetings[0] for trial in trials if trial.fork is not None]
    return torch.tensor([(meeting.slot, meeting.lifetime) for meeting in met])


def _in_lifetimes(trial: Trial) -> bool:
    return trial.fork is not None and bool(trial.fork.meetings)


def pad_goals(goals: Sequence[Sequence[float]]) -> Float[Tensor, "trial goal"]:
    """Goals of 3 or 6 numbers as one float32 tensor."""
    padded = np.zeros((len(goals), GOAL_DIM), dtype=np.float32)
    for row, goal in enumerate(goals):
        padded[row, : len(goal)] = goal
    return torch.from_numpy(padded)


def step_discounts(
    steps: int, horizon: int, gamma: float, boundary: Boundary
) -> Float[Tensor, "time 1"]:
    """Discount applied to the value after each step.

    γ inside episodes and 0 at the trial's end. At the end of an inner episode it is γ with
    ``carry`` (the next episode of the trial is part of the same return, as in RL²) and 0 with
    ``cut`` (each episode is its own return, of finite horizon H).
    """
    discounts = torch.full((steps, 1), gamma)
    if boundary == "cut":
        discounts[horizon - 1 :: horizon] = 0.0
    discounts[-1] = 0.0
    return discounts


def gae(
    rewards: Float[Tensor, "time trial"],
    values: Float[Tensor, "time trial"],
    discounts: Float[Tensor, "time _"],
    lam: float,
) -> Float[Tensor, "time trial"]:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    δ_t = r_t + γ_t V_{t+1} - V_t and A_t = δ_t + γ_t λ A_{t+1}, with per-step discounts γ_t.
    """
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[0])
    next_value = torch.zeros_like(rewards[0])
    for t in range(len(rewards) - 1, -1, -1):
        delta = rewards[t] + discounts[t] * next_value - values[t]
        following = delta + discounts[t] * lam * following
        advantages[t], next_value = following, values[t]
    return advantages


def explained_variance(
    advantages: Float[Tensor, "time trial"],
    values: Float[Tensor, "time trial"],
    usable: Bool[Tensor, " trial"],
) -> float:
    """Share of the returns' variance that the critic foretold: 1 all of it, 0 or less none."""
    errors = advantages[:, usable]
    returns = errors + values[:, usable]
    return 1.0 - float(errors.var(correction=0) / returns.var(correction=0).clamp(min=1e-12))


def normalise_per_task(
    advantages: Float[Tensor, "time trial"],
    task_ids: Int[Tensor, " trial"],
    usable: Bool[Tensor, " trial"],
) -> Float[Tensor, "time trial"]:
    """Zero mean and unit deviation within each task's usable trials; 0 for the others.

    Rewards of different tasks differ in scale by an order of magnitude; without this the loud
    tasks alone would steer the policy.
    """
    normalised = torch.zeros_like(advantages)
    for task in task_ids.unique().tolist():
        columns = (task_ids == task) & usable
        if columns.any():
            part = advantages[:, columns]
            normalised[:, columns] = (part - part.mean()) / (part.std(correction=0) + 1e-6)
    return normalised


class Sequences:
    """A rollout cut into stretches of at most `length` steps for truncated BPTT.

    No step is dropped: a stretch that is shorter than L is padded with zeros. Stretches are
    numbered 0…N-1, stretch-major: stretch n is of trial ``n % B`` and of the steps
    ``bounds[n // B]``.

    Args:
        steps: T.
        trials: B.
        length: L, steps of BPTT.
        offset: where the second stretch begins, if not at L; taken modulo L.
    """

    def __init__(self, steps: int, trials: int, length: int, offset: int = 0) -> None:
        self.steps, self.trials, self.length = steps, trials, min(length, steps)
        first = offset % self.length or self.length
        cuts = (0, *range(first, steps, self.length), steps)
        self.bounds = tuple(itertools.pairwise(cuts))
        self.count = len(self.bounds) * trials

    def cut(self, values: Shaped[Tensor, "time trial *rest"]) -> Shaped[Tensor, "step n *rest"]:
        """(T, B, …) → (L, N, …), zero-padded."""
        others = (0, 0) * (values.dim() - 1)
        return torch.cat(
            [
                functional.pad(values[begin:end], (*others, 0, self.length - (end - begin)))
                for begin, end in self.bounds
            ],
            dim=1,
        )

    def trials_of(self, index: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Column of the rollout that each of these stretches is of."""
        return index % self.trials

    def minibatches(self, count: int, rng: np.random.Generator) -> list[Int[Tensor, " n"]]:
        """Indices of all stretches, shuffled and dealt into `count` nearly equal minibatches."""
        order = torch.from_numpy(rng.permutation(self.count))
        return list(torch.tensor_split(order, min(count, self.count)))
