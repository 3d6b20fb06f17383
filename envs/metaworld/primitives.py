"""The primitives that task code gets, compared with their originals on this machine.

`best` has the functions of `exact_scalars`, or those of `_compiled.c` where a compiler was at hand
when Strata was installed and all of them give the same bits here. ``STRATA_COMPILED=0`` leaves the
compiled ones out.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from metaworld.utils import reward_utils
from numpy import ndarray
from scipy.spatial.transform import Rotation as SciPyRotation

from envs.metaworld import exact_scalars
from envs.metaworld.exact_scalars import AT_MARGIN, LONG_TAIL, PYTHON

Function = Callable[..., Any]
Sample = tuple[str, Function, Function, tuple[Any, ...]]
"""Name, ours, original and arguments."""
_from_matrix = SciPyRotation.from_matrix


def _install(module: Any, long_tail: float = LONG_TAIL) -> None:
    """Tell the compiled functions their constants, and who takes the arguments they do not know."""
    module.install(value_at_margin=AT_MARGIN, long_tail=long_tail, **PYTHON)


def _usable() -> list[str]:
    """Names of the compiled functions that can be used on this CPU.

    Where BLAS fuses products into sums, official code's norm is not one in scalars.
    """
    scalar = exact_scalars.norm is exact_scalars.scalar_norm
    return [name for name in PYTHON if scalar or name not in ("norm", "caged")]


def _unlike_python(module: Any) -> tuple[str, ...]:
    """Names of the compiled functions that give other bits than those of `exact_scalars`."""
    usable = _usable()
    return _unequal(
        (name, getattr(module, name), PYTHON[name], arguments)
        for name, arguments in _cases()
        if name in usable
    )


def _why_not(module: Any) -> str:
    """Why the compiled functions are not to be used here; empty if they are."""
    source = Path(__file__).with_name("_compiled.c")
    made_of = getattr(module, "SOURCE", "")
    if source.exists() and hashlib.sha256(source.read_bytes()).hexdigest() != made_of:
        return "was compiled from another source: type pip install -e . again"
    _install(module)
    differ = _unlike_python(module)
    return f"differs from Python here in {', '.join(differ)}" if differ else ""


def _load() -> Any:
    """The compiled functions; None where they were not compiled, or are not to be used."""
    if os.environ.get("STRATA_COMPILED") == "0":
        return None
    try:
        module = importlib.import_module("envs.metaworld._compiled")
    except ImportError:
        return None
    if why := _why_not(module):
        warnings.warn(f"{module.__file__} {why}; stepping in Python", RuntimeWarning, stacklevel=2)
        return None
    return module


def _squares(rng: np.random.Generator) -> Iterator[float]:
    """Distances at which a long tail of margin 1 tells ``x ** 2`` from ``x * x``: few do."""
    for d in rng.uniform(0.1, 3.0, 30_000).tolist():
        x = d * LONG_TAIL
        if 1.0 / (x**2 + 1.0) != 1.0 / (x * x + 1.0):
            yield d


def _cases() -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(name in `PYTHON`, arguments), random but the same each time."""
    rng = np.random.default_rng(20)
    for d in _squares(rng):
        yield "tolerance", (d, (0.0, 0.0), 1.0, "long_tail")
    for _ in range(300):
        scale = 10.0 ** rng.uniform(-4, 1)
        for size in (2, 3, 4):
            yield "norm", (rng.normal(size=size) * scale,)
        for sigmoid in ("long_tail", "gaussian"):
            x, margin = (rng.normal(size=2) * (scale, 1.0)).tolist()
            yield "tolerance", (x, (0, 0.05), abs(margin), sigmoid)
        a, b = rng.random(2).tolist()
        for pair in ((a, b), (np.float64(a), b), (a, np.float32(b))):
            yield "hamacher_product", pair
        places = rng.normal(size=(7, 3)) * 0.1
        yield "middle", tuple(places[:2])
        yield "caged", (*places[:4], 0.015, 0.05, *places[4:], 0.0005)
        yield "matrix_to_quat", (SciPyRotation.from_quat(rng.normal(size=4)).as_matrix(),)


def _samples() -> Iterator[Sample]:
    """(name, ours, original, arguments) of all functions that have an original."""
    pairs: dict[str, tuple[Function, Function]] = {
        "norm": (best.norm, np.linalg.norm),
        "tolerance": (best.tolerance, reward_utils.tolerance),
        "hamacher_product": (best.hamacher_product, reward_utils.hamacher_product),
        "matrix_to_quat": (lambda m: Rotation(m).as_quat(), lambda m: _from_matrix(m).as_quat()),
    }
    for name, arguments in _cases():
        if name in pairs:
            yield name, *pairs[name], arguments
    rng = np.random.default_rng(21)
    for _ in range(300):
        a, b = (np.float64(x) for x in rng.normal(size=2) * 10.0 ** rng.uniform(-4, 1))
        ab = float(a), float(b)
        yield "plane_norm", exact_scalars.plane_norm, lambda *ab: np.linalg.norm(np.array(ab)), ab
        yield "clip", exact_scalars.clip, np.clip, (a, -1, 1)
        yield "abs", exact_scalars.absolute, np.abs, (a,)
        yield "hstack", exact_scalars.hstack, np.hstack, ((a, b),)


def _choose(module: Any) -> types.SimpleNamespace:
    """All functions of `PYTHON`, by their names: compiled where they are and can be used."""
    names = [] if module is None else _usable()
    return types.SimpleNamespace(**PYTHON | {name: getattr(module, name) for name in names})


def _unequal(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Names of the functions that are not equal to the last bit, in alphabetical order."""
    return tuple(
        sorted(
            {
                name
                for name, ours, original, arguments in samples
                if np.asarray(ours(*arguments)).tobytes()
                != np.asarray(original(*arguments)).tobytes()
            }
        )
    )


compiled: Any = _load()
"""The module `_compiled`, if it is used: `advance` takes its step from there."""
best = _choose(compiled)
"""The functions of `PYTHON` that are used here."""


@functools.cache
def differences() -> tuple[str, ...]:
    """Names of the primitives that are not bit-equal to their originals here; () is expected."""
    return _unequal(_samples())


class Rotation:
    """The one use that tasks make of SciPy's `Rotation`: `from_matrix(m).as_quat()`."""

    __slots__ = ("_matrix",)

    def __init__(self, matrix: ndarray) -> None:
        self._matrix = matrix

    from_matrix: Callable[[Any], Rotation]

    def as_quat(self) -> ndarray:
        """The quaternion (x, y, z, w), (4,) float64."""
        quat = best.matrix_to_quat(self._matrix)
        return SciPyRotation.from_matrix(self._matrix).as_quat() if quat is None else quat


# The class itself, not a method that calls it: one call less.
Rotation.from_matrix = Rotation


def _copy(module: types.ModuleType, **replaced: Any) -> types.ModuleType:
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update(vars(module), **replaced)
    return copy


@functools.cache
def substitutes() -> dict[str, Any]:
    """What task code finds under `np`, `reward_utils`, `Rotation` and `tolerance`; two more.

    The others are `norm` and `caged`. A primitive that is not bit-equal on this machine is left
    out: its original stays in place, and None in the place of `caged`.
    """
    differ = differences()

    def equal(**ours: Any) -> dict[str, Any]:
        return {name: value for name, value in ours.items() if name not in differ}

    arrays = {
        "clip": exact_scalars.clip,
        "abs": exact_scalars.absolute,
        "hstack": exact_scalars.hstack,
    }
    linalg = _copy(np.linalg, **equal(norm=best.norm))
    functions = {"tolerance": best.tolerance, "hamacher_product": best.hamacher_product}
    rewards = _copy(reward_utils, **equal(**functions))
    parts_of_caged = {"norm", "tolerance", "hamacher_product", "plane_norm"}
    return {
        "norm": linalg.norm,
        "np": _copy(np, linalg=linalg, **equal(**arrays)),
        "reward_utils": rewards,
        "tolerance": rewards.tolerance,
        "Rotation": Rotation if "matrix_to_quat" not in differ else SciPyRotation,
        "caged": None if parts_of_caged & set(differ) else best.caged,
    }
