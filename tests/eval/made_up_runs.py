"""Run folders of made-up numbers: what reads runs is tested without training any."""

import json
from pathlib import Path

import numpy as np

from train.algorithms.ppo_config import PPOConfig
from train.run.config import Config, write_config
from train.run.retention_log import Evaluation, Record
from train.run.stream_config import StreamConfig

TASKS = ("reach-v3", "drawer-close-v3", "door-close-v3")
GOALS, EPISODES, PHASE = 4, 3, 4 * 20_000


def stream_config(
    folder: Path,
    arm: str,
    seed: int,
    cycles: int = 2,
    tasks: tuple[str, ...] = TASKS,
    eval_goals: int = GOALS,
    **ppo: float,
) -> StreamConfig:
    config = StreamConfig(
        suite="custom", tasks=tasks, cycles=cycles, phase_steps=PHASE, arm=arm, seed=seed,
        trials=len(tasks) * 8, horizon=20_000 // (len(tasks) * 16), eval_goals=eval_goals,
        run=folder, ppo=PPOConfig(**ppo),
    )  # fmt: skip
    return config.resolved(len(tasks))


def write_stream_run(
    folder: Path,
    arm: str = "short",
    seed: int = 1,
    *,
    keeps: float = 0.3,
    cycles: int = 2,
    complete: bool = True,
    tasks: tuple[str, ...] = TASKS,
    eval_goals: int = GOALS,
    **ppo: float,
) -> StreamConfig:
    """A run whose success on a task is 1 after its phase and `keeps` of that later on."""
    config = stream_config(folder, arm, seed, cycles, tasks, eval_goals, **ppo)
    stream, rng = config.stream(), np.random.default_rng([seed, sum(map(ord, arm))])
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config)
    level = np.zeros(len(tasks))
    record = Record.open(config, stream, 1000)
    log, timing = [], []
    iterations = stream.phase_steps // stream.per_iteration
    for step in range(0, stream.total_steps + 1, stream.per_iteration):
        if step:
            phase = stream.phase_at(step - 1)
            done = (step - phase.start) / stream.phase_steps
            task = tasks.index(phase.task)
            level *= keeps ** (1 / iterations)
            level[task] = max(level[task], done)
            success = float(np.clip(level[task] + rng.normal(0, 0.05), 0, 1))
            line = {"step": step, "train/success": success, "stream/phase": phase.number + 1}
            log.append({**line, f"train/success/{phase.task}": success})
            timing.append(
                {"step": step, "collect_seconds": 2, "learn_seconds": 1, "evaluate_seconds": 0}
            )
        if record.due(step) and (complete or step < stream.total_steps):
            growth = np.linspace(0.6, 1.0, EPISODES)
            chance = level[:, None, None] * growth
            flags = rng.random((len(tasks), eval_goals, EPISODES)) < chance
            steps = np.where(flags, 100.0, config.horizon)
            returns, share = np.zeros(flags.shape), flags / 2
            empty = Evaluation(step, "end", 0, flags, flags, returns, 0, steps, share)
            phase = stream.phase_at(max(step - 1, 0))
            when = "untrained" if not step else "end" if step == phase.end else "middle"
            values = {**vars(empty), "when": when, "phase": phase.number + 1 if step else 0}
            record.add(Evaluation(**values))
    for name, rows in (("metrics", log), ("timing", timing)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return config


def write_training_run(folder: Path, seed: int = 1, *, arm: str = "short") -> Config:
    """A run of `train.rl2` on three tasks."""
    config = Config(
        suite="custom", tasks=TASKS, arm=arm, seed=seed, run=folder, total_steps=1_000_000
    ).resolved(3)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(1, 51):
        success = np.clip(number / 50 * np.array([0.9, 0.7, 0.2]) + rng.normal(0, 0.05, 3), 0, 1)
        row = {f"train/success/{task}": float(p) for task, p in zip(TASKS, success, strict=True)}
        rows.append({"step": number * 20_000, "train/success": float(success.mean()), **row})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "timing.jsonl").write_text("")
    return config


def write_evaluation(
    folder: Path, step: int, success: float, *, split: str = "test", policies: tuple[str, ...] = ()
) -> Path:
    """A result of `eval.evaluate` of which the first task is 10 points below the others."""

    def row(rate: float) -> dict[str, list]:
        curve, gain = [[rate / 2, 0, 1], [rate, 0, 1]], [rate / 2, None, None]
        return {
            "success": curve,
            "last_step_success": curve,
            "steps_to_success": [[500 - 100 * rate, 1, 500], [500 - 200 * rate, 1, 500]],
            "share_in_success": curve,
            "gain": gain,
            "steps_gain": [-100 * rate, None, None],
        }

    rates = [success - 0.1, success, success]
    tasks = {task: row(rate) for task, rate in zip(TASKS, rates, strict=True)}
    summary = {"tasks": tasks, "mean": row(float(np.mean(rates)))}
    values = {
        "kind": "strata evaluation",
        "checkpoint": {"step": step},
        "settings": {"split": split, "goals": 40, "episodes": 2, "level": 1},
        "policies": {name: {"summary": summary} for name in ("stochastic", *policies)},
    }
    path = folder / "results" / f"eval-{split}-{step}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values))
    return path
