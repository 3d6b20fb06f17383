"""The cores by name: Strata's own, and users' classes as ``my_module:MyCore``.

Only `import_core` imports a user's module, and programs call it only for a ``--core`` on their
command line. The name in a checkpoint is data: it can never make a program import a module.
"""

from __future__ import annotations

import importlib

from memory.cores.attention import Attention
from memory.cores.core import Core
from memory.cores.event import Event
from memory.cores.graph import CoreError, missing_packages
from memory.cores.gru import GRU
from memory.cores.hmt import HMT
from memory.cores.hrnn import HRNN
from memory.cores.lstm import LSTM
from memory.cores.none import Memoryless
from memory.cores.trial_run import try_out

CORES: dict[str, type[Core]] = {
    "gru": GRU,
    "lstm": LSTM,
    "event": Event,
    "attention": Attention,
    "hmt": HMT,
    "hrnn": HRNN,
    "none": Memoryless,
}
_imported: dict[str, type[Core]] = {}


def find_core(name: str) -> type[Core]:
    """The class of a core. Raises CoreError where there is none, or none that was imported."""
    found = CORES.get(name) or _imported.get(name)
    if found is not None:
        return found
    if ":" in name:
        raise CoreError(
            f"the core {name} is code outside Strata: add --core {name} to allow its import"
        )
    names = ", ".join(CORES)
    raise CoreError(f"there is no core {name!r}: choose {names}, or your own as my_module:MyCore")


def import_core(name: str) -> None:
    """Import the user's own core ``module:Class``, so that `find_core` knows it.

    Call it only with a name that the user gave for this run; a built-in name needs no import.

    Raises:
        CoreError: the module or the class cannot be imported, or breaks the contract of a core.
    """
    if ":" not in name:
        find_core(name)  # one of Strata's own, or a mistake
        return
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise CoreError(
            f"cannot import {attribute!r} from {module!r} ({error}): run in the folder that holds "
            f"{module.replace('.', '/')}.py"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Core)):
        raise CoreError(f"{name} is not a subclass of memory.cores.core.Core")
    try_out(name, found)
    _imported[name] = found


def core_problems(name: str) -> list[str]:
    """What keeps agents from being made with this core, one sentence each."""
    try:
        core = find_core(name)
    except CoreError as error:
        return [str(error)]
    missing = missing_packages() if core.stepper == "graph" else []
    if missing:
        return [
            f"--core {name} has no step in NumPy, so workers run it by {', '.join(missing)}: "
            "pip install -e '.[onnx]'"
        ]
    return []
