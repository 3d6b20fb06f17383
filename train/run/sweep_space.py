"""What a sweep varies: parameters as they are written on a command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from train.run.input_error import InputError

if TYPE_CHECKING:
    import optuna

Kind = Literal["log", "linear", "int", "choice"]
FORMS = "name:log:LOW:HIGH, name:linear:LOW:HIGH, name:int:LOW:HIGH or name:choice:A,B,C"


@dataclass(frozen=True)
class Parameter:
    """One option that a sweep varies.

    Attributes:
        name: of the option, without dashes in front, e.g. ``learning-rate``.
        kind: how values are drawn.
        values: two bounds, or the choices, as they were written.
    """

    name: str
    kind: Kind
    values: tuple[str, ...]

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return f"--{self.name}"

    def draw(self, trial: optuna.Trial) -> str:
        """A value for one run, as it is written on the command line."""
        if self.kind == "choice":
            return str(trial.suggest_categorical(self.name, self.values))
        if self.kind == "int":
            low, high = map(int, self.values)
            return str(trial.suggest_int(self.name, low, high))
        low, high = map(float, self.values)
        return repr(trial.suggest_float(self.name, low, high, log=self.kind == "log"))


def parameter(text: str) -> Parameter:
    """Read ``name:kind:values``. Raises InputError, which says how to write it."""
    name, _, rest = text.removeprefix("--").partition(":")
    kind, _, values = rest.partition(":")
    if kind not in ("log", "linear", "int", "choice") or not name:
        raise InputError([f"--param {text}: write {FORMS}"])
    found = tuple(values.split("," if kind == "choice" else ":"))
    if kind == "choice":
        if not all(found) or len(set(found)) < len(found):
            raise InputError([f"--param {text}: name each choice once, as in {name}:choice:A,B"])
        return Parameter(name, kind, found)
    try:
        low, high = map(int if kind == "int" else float, found)
    except ValueError:
        raise InputError([f"--param {text}: write two numbers, {name}:{kind}:LOW:HIGH"]) from None
    if not low < high or (kind == "log" and not low > 0):
        least = "above 0 and " if kind == "log" else ""
        raise InputError([f"--param {text}: LOW must be {least}below HIGH"])
    return Parameter(name, kind, found)
