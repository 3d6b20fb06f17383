"""Two steps of a user's core before anything is written: does it keep the contract of a core?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from memory.cores.core import Core
from memory.cores.graph import CoreError
from memory.cores.signals import SIGNALS
from memory.cores.steps import make_step

INPUTS, HIDDEN = 5, 4
TIME, ROWS = 2, 3
TOLERANCE = 1e-3
"""Largest difference between a step in NumPy and `unroll`, for outputs of about one."""


def try_out(name: str, kind: type[Core]) -> None:
    """Run a small core. Raises CoreError: it does not run, or breaks the contract of a core."""
    _check_signals(name, kind.signals)
    features = torch.randn(TIME, ROWS, INPUTS, generator=torch.Generator().manual_seed(0))
    for place in range(len(kind.signals)):
        features[..., -1 - place] = torch.tensor([[1.0], [0.0]])
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            core = kind(INPUTS, HIDDEN)
            state = core.initial_state(ROWS)
            output, after = core.unroll(features, state)
    except Exception as error:
        raise CoreError(f"{name} does not run ({type(error).__name__}: {error})") from error
    _check(f"{name}.unroll", output, after, (TIME, ROWS, HIDDEN), (ROWS, core.state_width))
    if kind.stepper != "graph":
        _try_step(name, core, features, output, after)


def _check_signals(name: str, signals: Any) -> None:
    if not isinstance(signals, tuple) or any(one not in SIGNALS for one in signals):
        known = ", ".join(map(repr, SIGNALS))
        raise CoreError(f"{name}.signals must be a tuple of names among {known}, not {signals!r}")


def _check(
    what: str, output: Any, after: Any, wide: tuple[int, ...], narrow: tuple[int, ...]
) -> None:
    for part, value, shape in (("outputs", output, wide), ("state", after, narrow)):
        if not isinstance(value, torch.Tensor):
            kind = type(value).__name__
            raise CoreError(f"{what} must give {part} as a tensor, not as a {kind}")
        if tuple(value.shape) != shape:
            raise CoreError(
                f"{what} must give {part} of shape {shape} for features of shape "
                f"{(*wide[:-1], INPUTS)} and hidden={HIDDEN}, not {tuple(value.shape)}"
            )


@torch.no_grad()
def _try_step(
    name: str, core: Core, features: torch.Tensor, wanted: torch.Tensor, end: torch.Tensor
) -> None:
    """The step that workers take, beside the outputs and the last state of `unroll`."""
    what = f"{name}.stepper {core.stepper!r}"
    state = core.initial_state(ROWS).numpy()
    outputs = []
    try:
        weights = {n: w.detach().float().numpy() for n, w in core.export().items()}
        step = make_step(core.stepper, weights)
        for row in features.numpy():
            output, state = step(row, state)
            outputs.append(np.asarray(output, np.float32))
        output = torch.from_numpy(np.stack(outputs))
        after = torch.from_numpy(np.asarray(state, np.float32))
    except Exception as error:
        raise CoreError(f"{what} does not run ({type(error).__name__}: {error})") from error
    _check(what, output, after, (TIME, ROWS, HIDDEN), (ROWS, core.state_width))
    pairs = ((output, wanted), (after, end))
    worst = float(torch.cat([(one - other).flatten() for one, other in pairs]).abs().max())
    if not worst <= TOLERANCE:
        raise CoreError(
            f"{what} and {name}.unroll differ by {worst:.2g}: agents would act by another memory "
            "than the one that learns"
        )
