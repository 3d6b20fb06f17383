"""What all training programs do alike: one iteration, saving, and what the machine can do."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import torch

from envs.gl import GLError, backend
from envs.pool import Policy, WorkerPool
from envs.suites import Suite
from train import checkpoint
from train.checkpoint import CheckpointError
from train.collect import acting_policy, collect, success_metrics
from train.config import Config
from train.log import RunLog
from train.rollout import Rollout
from train.state import TrainState


@dataclass(frozen=True)
class Iteration:
    """One iteration done.

    Attributes:
        rollout: its trials.
        policy: what acted in them.
        metrics: deterministic numbers, under ``train/``, ``ppo/`` and what memory logs.
        timing: ``collect_seconds`` and ``learn_seconds``.
    """

    rollout: Rollout
    policy: Policy
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
    """Collect a batch of trials, update by PPO, renew the normaliser, consolidate.

    Args:
        pool: runs the trials.
        config: of the run.
        suite: what trials are drawn from.
        state: the learner, changed in place.
        tasks: all tasks that critic and belief have outputs for, in their order.
        progress: fraction of the learning-rate schedule gone.
    """
    began = time.perf_counter()
    trials = suite.sample_trials(
        config.trials_for(len(tasks)),
        episodes=config.episodes,
        horizon=config.horizon,
        iteration=state.iteration,
        seed=config.seed,
    )
    trials = state.guarded(trials, config)
    policy = acting_policy(state.agent)
    rollout = collect(pool, policy, trials, tasks=tasks, lanes=config.lanes)
    collected = time.perf_counter()
    state.ppo.set_progress(progress)
    learnt = state.ppo.update(rollout, state.minibatch_rng(config.seed), state.long_term)
    state.agent.encoder.normaliser.update(rollout.usable_obs())
    kept = state.consolidate(rollout, config.seed)
    metrics = success_metrics(rollout, tasks, "train")
    metrics |= {f"ppo/{name}": value for name, value in learnt.items()} | kept
    state.iteration += 1
    state.steps += rollout.rewards.numel()
    learned = time.perf_counter()
    timing = {"collect_seconds": collected - began, "learn_seconds": learned - collected}
    return Iteration(rollout, policy, metrics, timing)


def save(config: Config, state: TrainState, log: RunLog) -> None:
    """Checkpoint; a failed save is reported and training goes on from the last good one."""
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


def crossed(steps: int, per_iteration: int, every: int) -> bool:
    """Whether a multiple of `every` was crossed by the last iteration; never where it is 0."""
    return bool(every) and steps // every != (steps - per_iteration) // every


def run_problems(config: Config, *, resumed: bool, program: str) -> list[str]:
    """What keeps this run from starting here: its folder, and what the machine cannot do."""
    problems = checkpoint.check_run_folder(config.run_folder)
    if config.device == "cuda" and not torch.cuda.is_available():
        problems.append("--device cuda: torch sees no CUDA GPU here; use --device auto or cpu")
    if config.video_every > 0:
        try:
            backend()
        except GLError as error:
            problems.append(f"--video-every: {error}")
    if not resumed and (config.run_folder / "checkpoints").exists():
        problems.append(
            f"{config.run_folder} already holds a run: continue it with python -m {program} "
            f"--resume {config.run_folder}, or choose another folder with --run"
        )
    return problems
