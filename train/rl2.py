"""Train RL² on Meta-World: ``python -m train.rl2 --suite ML10``.

    python -m train.rl2 --suite ML1 --task reach-v3      one task, hidden goals
    python -m train.rl2 --resume runs/ML10-short-seed1   go on exactly where it stopped

Exit codes: 0 finished, 1 failed (the message says how to go on), 2 bad input (nothing written), 75
interrupted and resumable.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from envs.metaworld.suites import Suite
from envs.pool.pool import Policy, WorkerPool
from envs.trials.trial import Trial
from envs.viewing.gl import GLError
from envs.viewing.render import render_trials
from train.algorithms.rollout import Rollout
from train.collect import collect, success_metrics
from train.loop import crossed, iterate, noted, open_log, run_lines, save, save_last
from train.run.config import Config, stop
from train.run.console import forgiving_console
from train.run.log import AnyLog
from train.run.origin import Origin, command
from train.run.program import refuse, run_program, say, started
from train.run.signals import StopSignal
from train.run.state import TrainState

PROGRAM = "train.rl2"
SMOOTHING = 0.1  # of training success, which decides which checkpoint is best


def train(
    config: Config, suite: Suite, state: TrainState, stop_signal: StopSignal, *, resumed: bool
) -> bool:
    """Run until `total_steps`; True when finished, False when interrupted.

    One iteration: collect trials, update, renew the normaliser, consolidate, log, save.

    Raises:
        WorkerError: a worker failed for good.
        DivergedError: updates had to be undone several times in a row.
        CheckpointError: what was learnt last could not be saved.
        OSError: the log could not be written.
        RankError: a learner that shares the run is gone.
    """
    total, ranks = config.total_steps or 0, state.ranks
    whole = config.trained_steps(len(suite.tasks))
    log = open_log(config, state, whole, stop_signal, resumed=resumed)
    with log, WorkerPool(ranks.workers(config.workers or 1)) as pool:
        saved_at = state.steps if resumed else -1
        while state.steps < total and not ranks.any(stop_signal.requested):
            began = time.perf_counter()
            done = iterate(
                pool,
                config,
                suite,
                state,
                tasks=suite.tasks,
                progress=state.steps / total,
            )
            metrics = done.metrics
            state.note_success(metrics["train/success"], SMOOTHING)
            learned = time.perf_counter()
            if crossed(state.steps, done.steps, config.evaluate_every) and can_be_tested(suite):
                metrics |= quick_evaluation(pool, config, suite, state)
            if crossed(state.steps, done.steps, config.video_every) and ranks.first:
                film(config, suite, state.learner.policy(), state.steps, log)
            timing = {
                "steps_per_second": done.steps / (time.perf_counter() - began),
                "evaluate_seconds": time.perf_counter() - learned,
                "workers_replaced": pool.respawned,
            }
            log.write(state.steps, metrics, done.timing | timing)
            if crossed(state.steps, done.steps, config.checkpoint_every):
                saved_at = state.steps if save(config, state, log) else saved_at
        save_last(config, state, log, saved_at)
    return state.steps >= total


def can_be_tested(suite: Suite) -> bool:
    """Whether single trials of a test split say something: those of a lifetime do not."""
    return bool(suite.test) and suite.lifetimes is None


def quick_evaluation(
    pool: WorkerPool, config: Config, suite: Suite, state: TrainState
) -> dict[str, float]:
    """The cheap preset, of every test task."""
    trials = suite.evaluation_trials("test", **quick_shape(config, suite), seed=config.seed)
    tasks = tuple(suite.test)

    def run(policy: Policy, few: Sequence[Trial]) -> Rollout:
        return collect(pool, policy, few, tasks=tasks, lanes=config.lanes, ranks=state.ranks)

    return success_metrics(state.learner.collect(run, trials), tasks, "test")


def quick_shape(config: Config, suite: Suite) -> dict[str, int]:
    """4 goals and 3 episodes of the full 500 steps; of FORK 40 trials as in training.

    An agent that adapts by gradients takes as many episodes as in training.
    """
    if suite.fork is None:
        episodes = config.episodes if config.adapts else 3
        return {"goals": 4, "episodes": episodes, "horizon": 500}
    return {"goals": 40, "episodes": config.episodes, "horizon": config.horizon}


def film(config: Config, suite: Suite, policy: Policy, step: int, log: AnyLog) -> None:
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


def run(config: Config, origin: Origin, stop_signal: StopSignal, *, program: str = PROGRAM) -> bool:
    """Check what the command line cannot know, and train; True when finished."""
    refuse(config, origin, program)
    suite = config.make_suite()
    if problems := config.validate(len(suite.tasks)):
        stop(problems)
    notes = config.rounding(len(suite.tasks))
    config = config.resolved(len(suite.tasks))
    with started(config, suite, origin, program) as state:
        say("\n".join([banner(config, suite, state), *noted(notes)]), origin)
        resumed = origin.saved is not None
        if not train(config, suite, state, stop_signal, resumed=resumed):
            return False
    say(last_words(config, suite, state.steps), origin)
    return True


def last_words(config: Config, suite: Suite, steps: int) -> str:
    """What was done, and the commands that look at it."""
    split = "test" if suite.test else "train"
    return (
        f"finished: {steps:,} steps in {config.run_folder}\n"
        f"evaluate: {command('eval.evaluate', config.run_folder, '--split', split)}\n"
        f"watch:    {command('eval.watch', config.run_folder)}"
    )


@forgiving_console()
def main(argv: list[str] | None = None) -> int:
    """Train as the command line says. Returns the exit code."""
    return run_program(argv, Config, PROGRAM, run)


def banner(config: Config, suite: Suite, state: TrainState) -> str:
    """What is about to be trained, and on what."""
    tasks = (
        f"{suite.name}: {len(suite.tasks)} training tasks, {len(suite.test)} test tasks, "
        f"{config.train_goals} training goals each"
    )
    lines = [
        f"Strata {config.learner}   {tasks}, seed {config.seed}",
        *run_lines(config, suite, state),
    ]
    if suite.overlap:
        lines.append(
            f"  note       {', '.join(suite.overlap)} is in both the train and the test tasks of "
            f"{suite.name} (Meta-World's own lists): held-out success includes it"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
