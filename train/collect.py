"""Collecting one iteration of trials, and what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from agents.acting.numpy_actor import STORE
from agents.input_layout import INPUT_DIM
from agents.rl2 import RL2Agent, actor_weights
from envs.pool.pool import Policy, WorkerPool
from envs.pool.shared_rollout import PER_TRIAL, TrialBatch
from envs.trials.practice import PARTS
from envs.trials.success import share_in_success, steps_to_success
from envs.trials.trial import Trial
from train.algorithms.rollout import Rollout
from train.learners.ranks import ALONE, Ranks


def acting_policy(agent: RL2Agent, *, deterministic: bool = False, attempts: int = 0) -> Policy:
    """The agent's present weights as the workers take them."""
    weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
    aims = agent.input_width - INPUT_DIM
    return Policy("agent", agent.memory.stepper, weights, deterministic, attempts, aims=aims)


def collect(
    pool: WorkerPool,
    policy: Policy,
    trials: Sequence[Trial],
    *,
    tasks: Sequence[str],
    lanes: int,
    stores: Tensor | None = None,
    ranks: Ranks = ALONE,
) -> Rollout:
    """Run `trials` in the workers of all learners and return them as one rollout on the CPU.

    Args:
        pool: runs them.
        policy: acts in them.
        trials: B.
        tasks: all tasks, by whose order the learner knows each.
        lanes: see `WorkerPool.run`.
        stores: what each may recall of its lifetime (B, entry, number); None: nothing.
        ranks: the learners, each of which runs its share.

    Raises:
        envs.pool.pool.WorkerError: a worker failed for good.
        train.learners.ranks.RankError: a learner is gone.
    """
    part = ranks.share(len(trials))
    own = None if stores is None else {STORE: stores.numpy()}
    batch = pool.run(trials, policy, lanes=lanes, stores=own, part=part)
    rollout = Rollout.from_batch(_gathered(batch, len(trials), ranks), trials, tasks)
    return rollout if stores is None else replace(rollout, stores=stores)


def _gathered(batch: TrialBatch, trials: int, ranks: Ranks) -> TrialBatch:
    """The parts of all learners side by side; they travel as one row of bytes a trial."""
    if ranks.count == 1:
        return batch
    axes = {name: 0 if name in PER_TRIAL else 1 for name in vars(batch)}
    parts = {n: np.ascontiguousarray(np.moveaxis(getattr(batch, n), axes[n], 0)) for n in axes}
    rows = [part.view(np.uint8).reshape(len(part), -1) for part in parts.values()]
    whole = ranks.gather(torch.from_numpy(np.concatenate(rows, axis=1)), trials).numpy()
    columns = np.split(whole, np.cumsum([row.shape[1] for row in rows])[:-1], axis=1)
    found = {
        name: np.ascontiguousarray(data).view(part.dtype).reshape(trials, *part.shape[1:])
        for (name, part), data in zip(parts.items(), columns, strict=True)
    }
    return TrialBatch(**{n: np.ascontiguousarray(np.moveaxis(found[n], 0, axes[n])) for n in axes})


def success_metrics(rollout: Rollout, tasks: Sequence[str], split: str) -> dict[str, float]:
    """Success and return of a rollout, flat and slash-separated, as means over tasks.

    ``<split>/success`` is any-step success in the last episode of the trial, Meta-World's own
    criterion; ``last_step_success`` asks for success at the episode's last step. Faulted trials
    are left out and counted. ``steps_to_success`` (the horizon where there is none) and
    ``share_in_success`` see what any-step success does not once it is near 1; their ``_gain`` is
    the last minus the first episode of the trial.
    """
    any_step = _per_task(rollout, rollout.success_by_episode(), tasks)
    last_step = _per_task(rollout, rollout.last_step_success(), tasks)
    returns = _per_task(rollout, rollout.by_episode(rollout.rewards).sum(dim=1), tasks)
    metrics = {
        f"{split}/success": _mean([curve[-1] for curve in any_step.values()]),
        f"{split}/last_step_success": _mean([curve[-1] for curve in last_step.values()]),
        f"{split}/return": _mean([curve[-1] for curve in returns.values()]),
        f"{split}/physics_faults": float((~rollout.usable).sum()),
    }
    for episode in range(rollout.episodes):
        curve = [values[episode] for values in any_step.values()]
        metrics[f"{split}/success_by_episode/{episode + 1}"] = _mean(curve)
    metrics |= _speed_metrics(rollout, tasks, split)
    if len(any_step) > 1:
        metrics |= {f"{split}/success/{task}": curve[-1] for task, curve in any_step.items()}
        metrics |= {f"{split}/return/{task}": curve[-1] for task, curve in returns.items()}
    return metrics


def _speed_metrics(rollout: Rollout, tasks: Sequence[str], split: str) -> dict[str, float]:
    """Steps to first success and share of steps in success, as means over tasks."""
    successes, metrics = rollout.by_episode(rollout.successes).numpy(), {}
    for name, values in (
        ("steps_to_success", steps_to_success(successes)),
        ("share_in_success", share_in_success(successes)),
    ):
        of_tasks = list(_per_task(rollout, torch.from_numpy(values), tasks).values())
        curve = [_mean([task[e] for task in of_tasks]) for e in range(rollout.episodes)]
        metrics[f"{split}/{name}"] = curve[-1]
        metrics[f"{split}/{name}_gain"] = curve[-1] - curve[0]
        metrics |= {f"{split}/{name}_by_episode/{e + 1}": value for e, value in enumerate(curve)}
    return metrics


def practising(trials: Sequence[Trial], share: float, *, shown: bool = False) -> list[Trial]:
    """The same trials, a share of which shows the true target; a function of their seeds.

    In RECALL whole lifetimes do, so that the others find out everything by themselves.

    Args:
        trials: of one iteration.
        share: of them.
        shown: in the input (`Trial.shown`), not as an aim.
    """

    def draw(trial: Trial) -> float:
        seed = trial.seed
        if trial.fork is not None and trial.fork.meetings:
            seed = trial.fork.meetings[0].lifetime
        return float(np.random.default_rng([seed, 17]).random())

    practise = [draw(trial) < share for trial in trials]
    return [
        replace(trial, practise=one, shown=one and shown)
        for trial, one in zip(trials, practise, strict=True)
    ]


def practice_metrics(rollout: Rollout) -> dict[str, float]:
    """``told/success``: of attempts that were shown the true target; ``committed/e`` of others.

    Of episodes in suites of tasks, without proposed ones, with ``told/last_step_success``.
    """
    told, metrics = rollout.chosen(~rollout.own & rollout.usable & ~rollout.proposed), {}
    if len(told.task_ids):
        metrics["told/success"] = float(told.success_by_episode().mean())
        if rollout.choices is None:
            metrics["told/last_step_success"] = float(told.last_step_success().mean())
    own = rollout.chosen(rollout.own & rollout.usable)
    if own.choices is not None and len(own.task_ids):
        shares = (own.choices >= 0).float().mean(dim=1).tolist()
        metrics |= {f"committed/{e + 1}": share for e, share in enumerate(shares)}
    return metrics


def trial_metrics(rollout: Rollout, trials: Sequence[Trial]) -> dict[str, float]:
    """What there is to say of special trials: proposed ones, FORK's and RECALL's."""
    found = proposal_metrics(rollout, trials) | practice_metrics(rollout)
    return found | exposure_metrics(rollout, trials)


def exposure_metrics(rollout: Rollout, trials: Sequence[Trial]) -> dict[str, float]:
    """``exposure/r``: first attempts of RECALL that are right at the r-th meeting of a context.

    Trials that practise are left out; nothing on other suites.
    """
    if rollout.choices is None or rollout.targets is None or rollout.lives is None:
        return {}
    found: dict[int, list[bool]] = {}
    right = (rollout.choices == rollout.targets).T.tolist()
    for outcome, usable, trial in zip(right, rollout.usable.tolist(), trials, strict=True):
        if usable and not trial.practise and trial.fork is not None:
            for attempt in trial.fork.firsts:
                exposure = trial.fork.meetings[attempt].exposure
                found.setdefault(exposure, []).append(outcome[attempt])
    return {f"exposure/{r}": _mean(hits) for r, hits in sorted(found.items())}


def proposal_metrics(rollout: Rollout, trials: Sequence[Trial]) -> dict[str, float]:
    """Any-step success in proposed tasks, by part and episode; nothing where there are none."""
    success, metrics = rollout.success_by_episode(), {}
    for part in PARTS:
        wanted = [trial.proposal is not None and trial.proposal.part == part for trial in trials]
        columns = torch.tensor(wanted) & rollout.usable & rollout.own
        if columns.any():
            curve = success[:, columns].mean(dim=1).tolist()
            metrics |= {f"proposed/{part}/{e + 1}": rate for e, rate in enumerate(curve)}
    return metrics


def _per_task(rollout: Rollout, values: Tensor, tasks: Sequence[str]) -> dict[str, list[float]]:
    """Mean over each task's usable trials, per episode; tasks without one are left out."""
    curves = {}
    for number, task in enumerate(tasks):
        columns = (rollout.task_ids == number) & rollout.usable
        if columns.any():
            curves[task] = values[:, columns].mean(dim=1).tolist()
    return curves


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
