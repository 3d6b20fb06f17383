"""Train RL² on Meta-World: ``python -m train.rl2 --suite ML10``.

    python -m train.rl2 --suite ML1 --task reach-v3      one task, hidden goals
    python -m train.rl2 --resume runs/ML10-short-seed1   go on exactly where it stopped

Exit codes: 0 finished, 1 failed (the message says how to go on), 2 bad input (nothing written), 75
interrupted and resumable.
"""

from __future__ import annotations

import sys
import time
import warnings

import torch

from envs.gl import GLError, backend
from envs.pool import Policy, WorkerError, WorkerPool
from envs.render import render_trials
from envs.suites import Suite, make_suite
from train import checkpoint
from train.checkpoint import Checkpoint, CheckpointError, environment_difference
from train.collect import acting_policy, collect, success_metrics
from train.config import Config, parse, stop, write_config
from train.guard import DivergedError, Guard
from train.interrupt import INTERRUPTED, StopSignal
from train.log import RunLog
from train.state import TrainState, initialise, learner_device

SMOOTHING = 0.1  # of training success, which decides which checkpoint is best


def train(
    config: Config, suite: Suite, state: TrainState, stop_signal: StopSignal, *, resumed: bool
) -> bool:
    """Run until `total_steps`; True when finished, False when interrupted.

    One iteration: collect a batch of trials, update by PPO, renew the normaliser, log, save.

    Raises:
        WorkerError: a worker failed for good.
        DivergedError: updates had to be undone several times in a row.
        CheckpointError: what was learnt last could not be saved.
        OSError: the log could not be written.
    """
    torch.set_num_threads(config.threads)
    total = config.total_steps or 0
    log = RunLog(config.run_folder, total_steps=total, resume_step=state.steps if resumed else None)
    write_config(config)
    guard = Guard(state)
    with log, WorkerPool(config.workers) as pool:
        saved_at = state.steps if resumed else -1
        while state.steps < total and not stop_signal.requested:
            began = time.perf_counter()
            trials = suite.sample_trials(
                config.trials_for(len(suite.tasks)),
                episodes=config.episodes,
                horizon=config.horizon,
                iteration=state.iteration,
                seed=config.seed,
            )
            policy = acting_policy(state.agent)
            rollout = collect(pool, policy, trials, tasks=suite.tasks, lanes=config.lanes)
            collected = time.perf_counter()
            state.ppo.set_progress(state.steps / total)
            learnt = state.ppo.update(rollout, state.minibatch_rng(config.seed))
            state.agent.encoder.normaliser.update(rollout.usable_obs())
            learnt |= guard.check(learnt)
            state.iteration += 1
            state.steps += rollout.rewards.numel()
            metrics = success_metrics(rollout, suite.tasks, "train")
            state.note_success(metrics["train/success"], SMOOTHING)
            metrics |= {f"ppo/{name}": value for name, value in learnt.items()}
            learned = time.perf_counter()
            if _due(state.steps, rollout.rewards.numel(), config.evaluate_every) and suite.test:
                metrics |= quick_evaluation(pool, config, suite, state)
            if _due(state.steps, rollout.rewards.numel(), config.video_every):
                film(config, suite, policy, state.steps, log)
            log.write(
                state.steps,
                metrics,
                {
                    "steps_per_second": rollout.rewards.numel() / (time.perf_counter() - began),
                    "collect_seconds": collected - began,
                    "learn_seconds": learned - collected,
                    "evaluate_seconds": time.perf_counter() - learned,
                    "workers_replaced": pool.respawned,
                },
            )
            if _due(state.steps, rollout.rewards.numel(), config.checkpoint_every):
                saved_at = state.steps if save(config, state, log) else saved_at
        if state.steps > saved_at and not save(config, state, log):
            raise CheckpointError(
                f"the last {state.steps - max(saved_at, 0):,} steps are not saved"
            )
    return state.steps >= total


def quick_evaluation(
    pool: WorkerPool, config: Config, suite: Suite, state: TrainState
) -> dict[str, float]:
    """The cheap preset: 4 goals of every test task, 3 episodes of the full 500 steps."""
    trials = suite.evaluation_trials("test", goals=4, episodes=3, horizon=500, seed=config.seed)
    tasks = tuple(suite.test)
    rollout = collect(pool, acting_policy(state.agent), trials, tasks=tasks, lanes=config.lanes)
    return success_metrics(rollout, tasks, "test")


def film(config: Config, suite: Suite, policy: Policy, step: int, log: RunLog) -> None:
    """Show one trial of each of up to six tasks in TensorBoard, held-out ones where there are."""
    split = "test" if suite.test else "train"
    trials = suite.evaluation_trials(
        split, goals=1, episodes=config.episodes, horizon=config.horizon, seed=config.seed
    )[:6]
    try:
        frames = render_trials(policy, trials, lanes=config.lanes, size=160, every=10)
    except GLError as error:
        log.message(f"no video: {error}")
        return
    log.video(step, f"watch/{split}", frames)


def save(config: Config, state: TrainState, log: RunLog) -> bool:
    """Checkpoint; whether it was written. A failure is reported and the last good one is kept."""
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


def _due(steps: int, per_iteration: int, every: int) -> bool:
    """Whether `every` was crossed by the last iteration."""
    return bool(every) and steps // every != (steps - per_iteration) // every


def main(argv: list[str] | None = None) -> int:
    """Parse, check everything, train. Returns the exit code."""
    with StopSignal() as stop_signal:
        config = None
        try:
            config, resume = parse(sys.argv[1:] if argv is None else argv)
            return run(config, resume, stop_signal)
        except KeyboardInterrupt:
            return _interrupted(config)


def run(config: Config, resume: Checkpoint | None, stop_signal: StopSignal) -> int:
    """Check everything that the command line cannot know, and train. Returns the exit code."""
    problems = config.validate() + checkpoint.check_run_folder(config.run_folder)
    problems += _machine_problems(config)
    if not resume and _holds_a_run(config):
        problems.append(
            f"{config.run_folder} already holds a run: continue it with "
            f"--resume {config.run_folder}, or choose another folder with --run"
        )
    if problems:
        stop(problems)
    suite = make_suite(
        config.suite,
        task=config.task,
        tasks=config.tasks,
        test_tasks=config.test_tasks,
        seed=config.seed,
        train_goals=config.train_goals,
    )
    if problems := config.validate(len(suite.tasks)):
        stop(problems)
    config = config.resolved(len(suite.tasks))
    state = initialise(config, suite)
    if resume:
        try:
            state.restore(resume)
        except CheckpointError as error:
            stop([str(error)])
        for change in environment_difference(resume.manifest):
            warnings.warn(f"resuming will not be bit-exact: {change}", stacklevel=1)
    _banner(config, suite, state)
    try:
        finished = train(config, suite, state, stop_signal, resumed=resume is not None)
    except (WorkerError, DivergedError, CheckpointError, OSError) as error:
        print(f"error: {error}\n{_how_to_go_on(config)}", file=sys.stderr)
        return 1
    if not finished:
        return _interrupted(config)
    print(
        f"finished: {state.steps:,} steps in {config.run_folder}\n"
        f"evaluate: python -m eval.evaluate {config.run_folder} --split test\n"
        f"watch:    python -m eval.watch {config.run_folder}"
    )
    return 0


def _interrupted(config: Config | None) -> int:
    print(f"interrupted; {_how_to_go_on(config)}")
    return INTERRUPTED


def _how_to_go_on(config: Config | None) -> str:
    if config is None or not _holds_a_run(config):
        return "nothing was saved yet: run the same command again"
    return f"resume: python -m train.rl2 --resume {config.run_folder}"


def _holds_a_run(config: Config) -> bool:
    """Whether there is a checkpoint, good or bad, in the run folder."""
    folder = config.run_folder / "checkpoints"
    return any([*folder.glob("[0-9]*"), *folder.glob(".old-*")])


def _machine_problems(config: Config) -> list[str]:
    """What this machine cannot do of what is asked for."""
    problems = []
    if config.device == "cuda" and not torch.cuda.is_available():
        problems.append("--device cuda: torch sees no CUDA GPU here; use --device auto or cpu")
    if config.video_every > 0:
        try:
            backend()
        except GLError as error:
            problems.append(f"--video-every: {error}")
    return problems


def _banner(config: Config, suite: Suite, state: TrainState) -> None:
    parameters = sum(p.numel() for p in state.agent.parameters())
    trials = config.trials_for(len(suite.tasks))
    print(
        f"Strata RL²   {suite.name}: {len(suite.tasks)} training tasks, "
        f"{len(suite.test)} test tasks, {config.train_goals} training goals each, "
        f"seed {config.seed}\n"
        f"  agent      {config.arm}, {parameters:,} parameters, learner on "
        f"{learner_device(config)}, {config.threads} thread(s)\n"
        f"  iteration  {trials} trials × {config.episodes} episodes × {config.horizon} steps = "
        f"{trials * config.episodes * config.horizon:,} steps, {config.workers} workers\n"
        f"  run        {config.run_folder} from step {state.steps:,} to {config.total_steps:,}",
        flush=True,
    )
    if suite.overlap:
        print(
            f"  note       {', '.join(suite.overlap)} is in both the train and the test tasks of "
            f"{suite.name} (Meta-World's own lists): held-out success includes it",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
