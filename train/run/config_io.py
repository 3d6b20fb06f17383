"""Between dataclasses and JSON values, with every mistake named."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from train.run.verified_folder import from_json, read_file

_FILE_LIMIT = 2**20  # bytes


def flatten(config: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names and values of all fields of a (nested) dataclass."""
    pairs = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            pairs += flatten(value, f"{prefix}{f.name}.")
        else:
            pairs.append((prefix + f.name, value))
    return pairs


def flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names and values of nested JSON objects."""
    return [
        pair
        for name, value in values.items()
        for pair in (
            flattened(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else [(prefix + name, value)]
        )
    ]


def flag(name: str) -> str:
    """The command line's name of a field; those of parts of the configuration have no prefix."""
    return "--" + name.rpartition(".")[2].replace("_", "-")


def read_values(path: Path) -> dict[str, Any]:
    """The JSON values in a config.json. Raises CheckpointError where it is no such file."""
    return from_json(read_file(path, _FILE_LIMIT), path)


def build(cls: Any, values: Any, prefix: str = "") -> Any:
    """A (nested) dataclass from JSON values; ValueError names unknown and ill-typed fields."""
    if not isinstance(values, dict):
        raise ValueError(f"{prefix.rstrip('.') or 'config'} must be a JSON object")
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}
    problems = [f"unknown field {prefix}{name}" for name in values if name not in names]
    if problems:
        raise ValueError("; ".join(problems))
    # A field that is younger than the file keeps its default, so that old runs stay readable.
    return cls(**{n: _convert(hints[n], v, f"{prefix}{n}") for n, v in values.items()})


def _convert(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type that `hint` names; raises ValueError naming the field."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, name + ".")
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _convert(next(o for o in options if o is not type(None)), value, name)
    if origin is Literal:
        if value not in options:
            raise ValueError(f"{name} must be one of {', '.join(options)}, not {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} must be a list, not {json.dumps(value)}")
        return tuple(_convert(options[0], item, name) for item in value)
    accepted = {Path: str, float: (int, float)}.get(hint, hint)
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{name} must be {hint.__name__}, not {value!r}")
    try:
        return hint(value)
    except OverflowError as error:  # a whole number that no float can hold
        raise ValueError(f"{name} is too large for a number") from error
