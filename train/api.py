"""Training from Python: what the programs do, with values and typed errors.

    from train.api import Config, train

    done = train(Config(suite="ML1", task="reach-v3", total_steps=200_000))
    done.finished, done.steps, done.metrics[-1]["train/success"]

A `StreamConfig` trains on tasks one after another. Nothing here ends the process.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train import continual, rl2
from train.run.config import Config
from train.run.console import forgiving_console
from train.run.input_error import InputError
from train.run.log import METRICS, read_metrics
from train.run.origin import Origin, found
from train.run.signals import StopSignal
from train.run.stream_config import StreamConfig

__all__ = ["Config", "InputError", "StreamConfig", "Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """What came of training.

    Attributes:
        folder: the run folder; `eval.api.evaluate` takes it.
        finished: whether the run came to its end; Ctrl-C stops it before, saved.
        metrics: the lines of metrics.jsonl, each with ``step`` (docs/metrics.md).
    """

    folder: Path
    finished: bool
    metrics: list[dict[str, Any]]

    @property
    def steps(self) -> int:
        """Environment steps trained."""
        return self.metrics[-1]["step"] if self.metrics else 0


def train(config: Config, *, resume: bool = False) -> Trained:
    """Train as `config` says, into its run folder.

    Ctrl-C and SIGTERM let the iteration finish and save, where this is the main thread.

    Args:
        config: a `Config`, or a `StreamConfig` for a stream of tasks.
        resume: go on with the run in the folder, if it holds one of this configuration.

    Raises:
        InputError: the configuration is wrong, or the folder holds another run; it lists every
            problem, and nothing was written.
        WorkerError: a worker failed for good.
        DivergedError: updates had to be undone several times in a row.
        CheckpointError: what was learnt last could not be saved.
        OSError: the log could not be written.
    """
    with forgiving_console():  # a pipe whose reader is gone must not end a run
        return _trained(config, resume)


def _trained(config: Config, resume: bool) -> Trained:
    if problems := config.validate():
        raise InputError(problems)
    origin = found(config, type(config)) if resume else Origin()
    run = continual.run if isinstance(config, StreamConfig) else rl2.run
    stop_signal = StopSignal()
    if threading.current_thread() is threading.main_thread():
        with stop_signal:
            finished = run(config, origin, stop_signal)  # type: ignore[arg-type]
    else:
        finished = run(config, origin, stop_signal)  # type: ignore[arg-type]
    folder = config.run_folder
    rows = read_metrics(folder) if (folder / METRICS).exists() else []
    return Trained(folder, finished, rows)
