"""Train on tasks one after another: ``python -m train.continual --suite CW10``.

    python -m train.continual --suite CL5x2 --arm short       five quick tasks, twice
    python -m train.continual --suite STREAM-FORK             scenes that need memory, twice
    python -m train.continual --suite custom --tasks reach-v3 push-v3 --phase-steps 500000
    python -m train.continual --resume runs/CL5x2-short-seed1 go on exactly where it stopped

The agent is told neither the task nor when it changes. Exit codes: 0 finished, 1 failed (the
message says how to go on), 2 bad input (nothing written), 75 interrupted and resumable.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence

from envs.metaworld.streams import Phase, Stream, evaluation_trials, only
from envs.metaworld.suites import Suite
from envs.pool.pool import WorkerPool
from envs.trials.trial import Trial
from train.algorithms.rollout import Rollout
from train.collect import collect
from train.loop import Iteration, crossed, iterate, noted, open_log, run_lines, save, save_last
from train.run.config import stop
from train.run.console import forgiving_console
from train.run.origin import Origin, command
from train.run.program import refuse, run_program, say, started
from train.run.retention_file import earlier_evaluations
from train.run.retention_log import Evaluation, Record
from train.run.run_files import RunError
from train.run.signals import StopSignal
from train.run.state import TrainState, initialise
from train.run.stream_config import StreamConfig

PROGRAM = "train.continual"


def train(
    config: StreamConfig,
    suite: Suite,
    stream: Stream,
    state: TrainState,
    stop_signal: StopSignal,
    *,
    resumed: bool,
    earlier: Sequence[Evaluation] = (),
) -> bool:
    """Run all phases; True when finished, False when interrupted.

    One iteration: collect trials of the phase's task, update, consolidate; at the phase's end tell
    the arms that use boundaries; evaluate all tasks where it is due; log, save. `earlier`
    evaluations are those of the run that is resumed.
    """
    ranks, record = state.ranks, Record.open(config, stream, state.parameters, earlier)
    log = open_log(config, state, stream.total_steps, stop_signal, resumed=resumed)
    with log, WorkerPool(ranks.workers(config.workers or 1)) as pool:
        saved_at = state.steps if resumed else -1
        if ranks.any(ranks.first and record.due(state.steps)):  # the first has the record
            log.message(evaluating(config, stream, state.steps))
            keep(record, evaluate(pool, config, suite, stream, state), state)
        while state.steps < stream.total_steps and not ranks.any(stop_signal.requested):
            began = time.perf_counter()
            phase = stream.phase_at(state.steps)
            if config.chosen_arm.tasks == "alone" and state.steps == phase.start:
                start_afresh(config, suite, state)
            done = iterate_phase(pool, config, suite, state, phase)
            learned, metrics = time.perf_counter(), done.metrics
            if ranks.any(ranks.first and record.due(state.steps)):
                log.message(evaluating(config, stream, state.steps))
                evaluation = evaluate(pool, config, suite, stream, state)
                keep(record, evaluation, state)
                metrics |= evaluation.metrics(suite.tasks)
                log.message(told(evaluation, stream))
            timing = {
                "steps_per_second": done.steps / (time.perf_counter() - began),
                "evaluate_seconds": time.perf_counter() - learned,
                "workers_replaced": pool.respawned,
            }
            log.write(state.steps, metrics, done.timing | timing)
            if crossed(state.steps, done.steps, config.checkpoint_every):
                saved_at = state.steps if save(config, state, log) else saved_at
        save_last(config, state, log, saved_at)
    return state.steps >= stream.total_steps


def iterate_phase(
    pool: WorkerPool,
    config: StreamConfig,
    suite: Suite,
    state: TrainState,
    phase: Phase,
) -> Iteration:
    """One iteration of a phase; the last one tells long-term memory that the phase has ended."""
    at_once = config.chosen_arm.tasks == "at once"
    done = iterate(
        pool,
        config,
        suite if at_once else only(suite, phase.task),
        state,
        tasks=suite.tasks,
        progress=scheduled(config, phase, state.steps),
    )
    done.metrics["stream/phase"] = phase.number + 1
    if not at_once:
        for name in ("success", "return"):
            done.metrics[f"train/{name}/{phase.task}"] = done.metrics[f"train/{name}"]
    if state.steps == phase.end and state.long_term is not None:
        state.long_term.end_phase(state.agent, done.rollout, state.boundary_rng(config.seed))
    return done


def evaluate(
    pool: WorkerPool, config: StreamConfig, suite: Suite, stream: Stream, state: TrainState
) -> Evaluation:
    """All tasks on unseen goals: the same trials at each moment and, for one seed, of all arms."""
    trials = evaluation_trials(
        stream,
        suite,
        goals=config.eval_goals,
        episodes=config.eval_episodes,
        horizon=config.horizon,
        seed=config.seed,
    )
    policy = state.learner.policy()

    def run(some: Sequence[Trial]) -> Rollout:
        shared = {"lanes": config.lanes, "ranks": state.ranks}
        return collect(pool, policy, some, tasks=suite.tasks, **shared)

    told = None
    if config.can_be_told:  # the skill alone, in one attempt each
        told = run([told_once(trial, shown=config.shows_targets) for trial in trials])
    return Evaluation.of(state.steps, stream, run(trials), config.eval_goals, told)


def told_once(trial: Trial, *, shown: bool) -> Trial:
    """A FORK trial of one attempt that shows the true target, in the input if `shown`."""
    assert trial.fork is not None
    fork = dataclasses.replace(trial.fork, targets=trial.fork.targets[:1])
    return dataclasses.replace(trial, practise=True, shown=shown, episodes=1, fork=fork)


def keep(record: Record, evaluation: Evaluation, state: TrainState) -> None:
    """Write an evaluation down; of several learners the first alone does."""
    if state.ranks.first:
        record.add(evaluation, stored(state))


def stored(state: TrainState) -> int:
    """Numbers that long-term memory holds, slow policies included."""
    kept = {} if state.long_term is None else state.long_term.tensors()
    return sum(tensor.numel() for tensor in kept.values())


def start_afresh(config: StreamConfig, suite: Suite, state: TrainState) -> None:
    """Forget everything but the counters: the next task is learnt alone, from initial weights."""
    fresh = initialise(config, suite)
    state.learner, state.rollback = fresh.learner, fresh.rollback
    state.long_term = fresh.long_term
    state.join(state.ranks)


def scheduled(config: StreamConfig, phase: Phase, steps: int) -> float:
    """How much of the learning-rate schedule is gone."""
    return (steps - phase.start) / (phase.end - phase.start) if config.schedule == "phase" else 0.0


def evaluating(config: StreamConfig, stream: Stream, steps: int) -> str:
    """One line while an evaluation keeps the progress display still."""
    trials = len(stream.tasks) * config.eval_goals
    return f"evaluating all {len(stream.tasks)} tasks at {steps:,}: {trials} trials"


def told(evaluation: Evaluation, stream: Stream) -> str:
    """One line about an evaluation."""
    rates = evaluation.success[..., -1].mean(axis=1)
    tasks = "  ".join(f"{t} {rate:.2f}" for t, rate in zip(stream.tasks, rates, strict=True))
    place = f"phase {evaluation.phase} of {len(stream.phases)}, {evaluation.when}"
    return f"evaluated at {evaluation.step:,} ({place}): {tasks}  mean {rates.mean():.2f}"


def run(config: StreamConfig, origin: Origin, stop_signal: StopSignal) -> bool:
    """Check what the command line cannot know, and train; True when finished."""
    refuse(config, origin, PROGRAM)
    stream = config.stream()
    if problems := config.validate(len(stream.tasks)):
        stop(problems)
    suite = config.make_suite()
    notes = config.rounding(len(stream.tasks))
    config = config.resolved(len(stream.tasks))
    try:
        earlier = earlier_evaluations(origin, config)
    except RunError as error:
        stop([str(error)], "what it held cannot be measured again: restore it, or start a new run")
    with started(config, suite, origin, PROGRAM) as state:
        say("\n".join([banner(config, suite, stream, state), *noted(notes)]), origin)
        resumed = origin.saved is not None
        if not train(config, suite, stream, state, stop_signal, resumed=resumed, earlier=earlier):
            return False
    say(
        f"finished: {state.steps:,} steps in {config.run_folder}\n"
        f"metrics: {command('eval.continual', config.run_folder)}\n"
        f"compare: {command('eval.report', config.run_folder, 'OTHER-RUNS', '--out', 'report')}",
        origin,
    )
    return True


@forgiving_console()
def main(argv: list[str] | None = None) -> int:
    """Train as the command line says. Returns the exit code."""
    return run_program(argv, StreamConfig, PROGRAM, run)


def banner(config: StreamConfig, suite: Suite, stream: Stream, state: TrainState) -> str:
    """What is about to be trained, and on what."""
    cycles = "cycle" if stream.cycles == 1 else "cycles"
    return "\n".join(
        [
            f"Strata stream   {stream.name}: {len(stream.phases)} phases of "
            f"{stream.phase_steps:,} steps, {len(stream.tasks)} tasks × {stream.cycles} {cycles}, "
            f"seed {config.seed}",
            f"  evaluation all tasks on {config.eval_goals} unseen goals × {config.eval_episodes} "
            f"episodes, {len(stream.evaluation_steps())} times",
            *run_lines(config, suite, state),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
