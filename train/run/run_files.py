"""Files of run folders as checked values: whoever made them, they are read within bounds.

A file is plain and of bounded size, its JSON has no lone surrogates and no numbers that a float
cannot hold, and every field is checked where it is taken. Whatever is wrong becomes a `RunError`
that names file and field.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from train.run.printable import printable
from train.run.verified_folder import CheckpointError, from_json, read_file

CONFIG_LIMIT = 2**20  # bytes
LOG_LIMIT = 2**28
RESULT_LIMIT = 2**26
LARGEST = 1e30  # of a number: sums and squares of such stay finite
MOST_STEPS = 2**53  # whole numbers up to it are exact as floats


class RunError(ValueError):
    """A folder is no run that can be reported; the message says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class NotStartedError(RunError):
    """A run folder that is sound but has logged nothing yet."""


@dataclass(frozen=True)
class Field:
    """A JSON value and where it stands."""

    value: Any
    path: Path
    name: str = ""

    def wrong(self, wanted: str) -> RunError:
        """The error that this value is not what it has to be."""
        shown = json.dumps(self.value)
        shown = shown if len(shown) <= 60 else shown[:60] + "…"
        return RunError(
            f"{self.path}: {self.name or 'it'} must be {wanted}, not {shown}: restore a copy or "
            "leave the run out"
        )

    def __getitem__(self, name: str) -> Field:
        """A member of an object. Raises RunError where there is none."""
        if not isinstance(self.value, dict):
            raise self.wrong("a JSON object")
        if name not in self.value:
            raise RunError(f"{self.path}: {self._below(name)} is missing: restore a copy")
        return Field(self.value[name], self.path, self._below(name))

    def members(self) -> list[tuple[str, Field]]:
        """Names and values of an object."""
        if not isinstance(self.value, dict):
            raise self.wrong("a JSON object")
        return [(n, Field(v, self.path, self._below(n))) for n, v in self.value.items()]

    def elements(self) -> list[Field]:
        """Values of a list."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Field(v, self.path, self._below(str(n))) for n, v in enumerate(self.value)]

    def whole(self, least: int = 0, most: int = MOST_STEPS) -> int:
        """A whole number within bounds."""
        if type(self.value) is not int or not least <= self.value <= most:
            raise self.wrong(f"a whole number from {least} to {most}")
        return self.value

    def number(self, least: float = -LARGEST, most: float = LARGEST) -> float:
        """A finite number within bounds."""
        if type(self.value) not in (int, float) or not least <= self.value <= most:
            raise self.wrong(f"a number from {least:g} to {most:g}")
        return float(self.value)

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            raise self.wrong("a text")
        return self.value

    def array(self, *shape: int, least: float = -LARGEST, most: float = LARGEST) -> np.ndarray:
        """Nested lists of numbers as float64 of this shape; -1 stands for any length but 0."""
        try:
            values = np.array(self.value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            values = np.zeros(())
        fits = len(values.shape) == len(shape) and all(
            have == want or (want == -1 and have)
            for have, want in zip(values.shape, shape, strict=True)
        )
        if not fits or not ((values >= least) & (values <= most)).all():
            sizes = " × ".join("n" if size == -1 else str(size) for size in shape)
            raise self.wrong(f"{sizes} numbers from {least:g} to {most:g}")
        return values

    def _below(self, name: str) -> str:
        return f"{self.name}.{name}" if self.name else name


def read_object(path: Path, limit: int) -> Field:
    """The JSON object that a file holds."""
    return _parsed(_read(path, limit), path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, each with its "step"; a torn last line is left out.

    Every other value is a finite number or None.
    """
    *lines, _torn = _read(path, LOG_LIMIT).split(b"\n")
    return [_checked_line(_parsed(line, path, f"line {n}")) for n, line in enumerate(lines, 1)]


def _checked_line(line: Field) -> dict[str, Any]:
    line["step"].whole()
    for _, field in line.members():
        if field.value is not None:
            field.number()
    return line.value


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_file(path, limit)
    except (CheckpointError, ValueError) as error:  # ValueError: a null byte in its name
        raise RunError(str(error)) from error


def _parsed(data: bytes, path: Path, name: str = "") -> Field:
    try:
        value = from_json(data, path)
        json.dumps(value, ensure_ascii=False).encode()
    except (CheckpointError, RecursionError, UnicodeEncodeError) as error:
        place = f" {name}" if name else ""
        raise RunError(
            f"{path}{place} is damaged, it is no JSON object of plain text: restore a copy or "
            "leave the run out"
        ) from error
    return Field(value, path, name)
