"""What all training loops do alike: one iteration, and saving."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from envs.metaworld.suites import Suite
from envs.pool.pool import Policy, WorkerPool
from envs.trials.trial import Trial
from train.algorithms.learner import learner_device
from train.algorithms.rollout import Rollout
from train.collect import (
    collect,
    practising,
    success_metrics,
    trial_metrics,
)
from train.run import checkpoint
from train.run.checkpoint import CheckpointError
from train.run.config import Config
from train.run.log import AnyLog, RunLog, Silence
from train.run.printable import printable
from train.run.signals import StopSignal
from train.run.state import TrainState


@dataclass(frozen=True)
class Iteration:
    """One iteration done.

    Attributes:
        rollout: its trials.
        metrics: deterministic numbers, under ``train/``, `Config.logged_as` and what memory logs.
        timing: ``collect_seconds`` and ``learn_seconds``.
    """

    rollout: Rollout
    metrics: dict[str, float]
    timing: dict[str, float]

    @property
    def steps(self) -> int:
        """Environment steps taken."""
        return self.rollout.rewards.numel()


def iterate(
    pool: WorkerPool,
    config: Config,
    suite: Suite,
    state: TrainState,
    *,
    tasks: tuple[str, ...],
    progress: float,
) -> Iteration:
    """Collect a batch of trials, update, renew the normaliser, consolidate.

    An update that leaves a number that is not finite is undone, and not consolidated. Learners that
    share the run must agree on all that was learnt.

    Args:
        pool: runs the trials.
        config: of the run.
        suite: what trials are drawn from.
        state: learner, long-term memory and counters, changed in place.
        tasks: all tasks that critic and belief have outputs for, in their order.
        progress: fraction of the learning-rate schedule gone.
    """
    began = time.perf_counter()
    trials = drawn(config, suite, state, len(tasks))

    def run(policy: Policy, few: Sequence[Trial]) -> Rollout:
        how = {"lanes": config.lanes, "stores": state.stores(few), "ranks": state.ranks}
        return collect(pool, policy, few, tasks=tasks, **how)

    rollout = state.learner.collect(run, trials)
    collected = time.perf_counter()
    state.learner.set_progress(progress)
    state.rollback.keep()
    learnt = state.learner.update(rollout, state.minibatch_rng(config.seed), state.long_term)
    state.learner.observe(rollout)
    learnt |= state.rollback.check(learnt)
    kept = {} if learnt["rolled_back"] else state.consolidate(rollout, config.seed)
    metrics = success_metrics(rollout.chosen(rollout.own), tasks, "train")
    metrics |= trial_metrics(rollout, trials)
    metrics["train/physics_faults"] = float((~rollout.usable).sum())  # in practice, too
    if config.balance:
        state.note_success_by_task({task: metrics.get(f"train/success/{task}") for task in tasks})
    metrics |= {f"{config.logged_as}/{name}": value for name, value in learnt.items()} | kept
    state.iteration += 1
    state.steps += rollout.rewards.numel()
    state.ranks.check_equal(state.tensors())
    learned = time.perf_counter()
    timing = {"collect_seconds": collected - began, "learn_seconds": learned - collected}
    return Iteration(rollout, metrics, timing | state.ranks.timing())


def drawn(config: Config, suite: Suite, state: TrainState, tasks: int) -> list[Trial]:
    """The trials of the next iteration, the same whoever runs them."""
    trials = suite.sample_trials(
        config.trials_for(tasks),
        episodes=config.episodes,
        horizon=config.horizon,
        iteration=state.iteration,
        seed=config.seed,
        proposals=config.proposal_share,
        vary=config.vary,
        success=state.success_by_task if config.balance else None,
    )
    trials = state.with_recall(trials, config)
    if not config.practises:
        return trials
    return practising(trials, config.practise, shown=config.shows_targets)


def open_log(
    config: Config, state: TrainState, total: int, stop: StopSignal, *, resumed: bool
) -> AnyLog:
    """The log of a run of `total` steps, which goes on from `state` if it is resumed.

    Of several learners the first alone writes one. Raises OSError where it cannot be written.
    """
    if not state.ranks.first:
        return Silence()
    at = state.steps if resumed else None
    return RunLog(config.run_folder, total_steps=total, resume_step=at, stop=stop)


def save(config: Config, state: TrainState, log: AnyLog) -> bool:
    """Checkpoint; whether it was written. A failure is reported and the last good one is kept.

    Of several learners the first alone saves.
    """
    if not state.ranks.first:
        return True
    best = state.best
    state.best = max(best, -1.0 if state.success is None else state.success)
    try:
        log.sync()
        path = state.save(config)
        if state.best > best:
            checkpoint.mark_best(path.parent, state.steps, state.best)
    except (CheckpointError, OSError) as error:
        state.best = best
        warnings.warn(f"NOT SAVED: {error}", stacklevel=2)
        return False
    return True


def save_last(config: Config, state: TrainState, log: AnyLog, saved_at: int) -> None:
    """Checkpoint at the end of a session; raises CheckpointError if that cannot be done."""
    if state.steps > saved_at and not save(config, state, log):
        raise CheckpointError(f"the last {state.steps - max(saved_at, 0):,} steps are not saved")


def run_lines(config: Config, suite: Suite, state: TrainState) -> list[str]:
    """The lines of a program's first message that say who learns, how much at once, and where."""
    trials = config.trials_for(len(suite.tasks))
    steps = config.iteration_steps(len(suite.tasks))
    shared = f" a machine, {config.learners} learners" if config.learners > 1 else ""
    source = config.init_from
    begun = [] if source is None else [f"  weights    begun as {printable(source)}"]
    return [
        f"  agent      {config.label}, {state.parameters:,} parameters, learner on "
        f"{learner_device(config.device)}, {config.threads} thread(s)",
        *begun,
        f"  iteration  {trials} trials × {config.episodes} episodes × {config.horizon} steps = "
        f"{steps:,} steps, {config.workers} workers{shared}",
        f"  run        {config.run_folder} from step {state.steps:,} to {config.total_steps:,}",
    ]


def noted(notes: Sequence[str]) -> list[str]:
    """Sentences as lines of that message."""
    return [f"  note       {note}" for note in notes]


def crossed(steps: int, per_iteration: int, every: int) -> bool:
    """Whether a multiple of `every` was crossed by the last iteration; never where it is 0."""
    return bool(every) and steps // every != (steps - per_iteration) // every
