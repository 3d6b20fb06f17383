"""A run that several learners share: the first has its folder, the others are told everything.

Only the first learner reads and writes files, so the others need none of them on their machines.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import safetensors.torch

from train.learners.place import Place
from train.learners.ranks import ALONE, RankError
from train.run.checkpoint import Checkpoint
from train.run.config import Config
from train.run.origin import Origin, command, import_typed_core
from train.run.signals import StopSignal
from train.run.state import TrainState

ConfigT = TypeVar("ConfigT", bound=Config)


@contextmanager
def shared(
    config: Config, state: TrainState, program: str, farewell: Callable[[], str]
) -> Iterator[None]:
    """While the body runs, `state` is learnt by all the learners that `config` asks for.

    Args:
        config: resolved.
        state: of the first learner; the others begin with it.
        program: what others are started with, e.g. ``train.rl2``.
        farewell: says how to resume.

    Raises:
        RankError: a learner is gone.
    """
    if config.learners == 1:
        yield
        return
    from train.learners.meeting import meeting  # torch.distributed, only here

    with meeting(config.learners, program, _own_parts(config), farewell) as ranks:
        ranks.pass_on(_told(config, state))
        state.join(ranks)
        try:
            yield
        finally:
            state.join(ALONE)


def follow(
    place: Place,
    argv: Sequence[str],
    kind: type[ConfigT],
    program: str,
    run: Callable[[ConfigT, Origin, StopSignal], bool],
    stop_signal: StopSignal,
) -> bool:
    """Be one of the other learners: learn what the first one says until it stops.

    Args:
        place: of this learner.
        argv: arguments, of which only the names of the user's own parts count.
        kind: the program's configuration.
        program: its name.
        run: trains.
        stop_signal: asks all learners to stop.

    Returns:
        Whether the run is finished. Where a learner is gone, the process ends.
    """
    from train.learners.meeting import joined

    folder = Path("RUN")  # until it is told

    def farewell() -> str:
        return f"resume: {command(program, '--resume', folder)}"

    try:
        with joined(place, farewell) as ranks:
            config, saved = _heard(ranks.pass_on(), kind)
            folder = config.run_folder
            import_typed_core(argv, config.agent.core)
            return run(config, Origin(saved, ranks=ranks), stop_signal)
    except RankError as error:
        end(error, farewell())


def _own_parts(config: Config) -> list[str]:
    """Options that name the user's own arm, algorithm and core, which a child must import."""
    named = {"--arm": config.arm, "--algorithm": config.algorithm, "--core": config.agent.core}
    return [word for flag, name in named.items() if ":" in name for word in (flag, name)]


def _told(config: Config, state: TrainState) -> bytes:
    """Configuration and state as bytes: JSON, a line end, and tensors as in a checkpoint's file."""
    groups = state.tensors()
    facts = {"config": config.to_json(), "run": str(config.run_folder), "state": state.counters()}
    facts["groups"] = list(groups)  # an optimiser that has done nothing is an empty one
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().clone().contiguous()
        for group, found in groups.items()
        for name, tensor in found.items()
    }
    return json.dumps(facts).encode() + b"\n" + safetensors.torch.save(tensors)


def _heard(data: bytes, kind: type[ConfigT]) -> tuple[ConfigT, Checkpoint]:
    """Inverse of `_told`, as a checkpoint that was never on a disk."""
    first, _, rest = data.partition(b"\n")
    facts = json.loads(first)
    config = dataclasses.replace(kind.from_json(facts["config"]), run=Path(facts["run"]))
    tensors: dict[str, dict] = {group: {} for group in facts["groups"]}
    for key, tensor in safetensors.torch.load(rest).items():
        group, _, name = key.partition("/")
        tensors[group][name] = tensor
    state = facts["state"]
    told = Checkpoint(Path("learner 0"), state["steps"], tensors, state, facts["config"], {})
    return config, told


def end(error: RankError, farewell: str) -> NoReturn:
    """End the process at once, telling the user if it falls to this learner.

    Messages that wait for a learner that hangs would hold the interpreter back for ever.
    """
    from train.learners.watch import leave

    leave(error, farewell)
