"""Command lines, read by tyro; whole numbers may be written 1e6 or 1_000_000."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

_Kind = TypeVar("_Kind")
_REGISTRY = ConstructorRegistry()
UNSET = "unset"
"""How an option without a value is shown; its help says what happens then."""
LONGEST_NAME = 200  # bytes: file systems take 255, and a file is written under a longer name first


def whole_number(text: str) -> int:
    """The whole number that `text` writes out or as a power of ten; ValueError if it is none."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
    if not value.is_integer() or abs(value) > 2**53:
        raise ValueError(f"{text} is no whole number")
    return int(value)


def path(text: str) -> Path:
    """The path that `text` is; ValueError if no file can have such a name."""
    for name in Path(text).parts:
        if len(os.fsencode(name)) > LONGEST_NAME:
            raise ValueError(f"{name[:20]}… has over {LONGEST_NAME} bytes: choose a shorter name")
        if "\0" in name:
            raise ValueError("a path holds a zero byte: leave it out")
    return Path(text)


def spelt(name: str, choices: Sequence[str]) -> str:
    """The choice that `name` is but for capitals; itself where there is none."""
    return next((choice for choice in choices if choice.casefold() == name.casefold()), name)


def spelt_suite(name: str, suites: Sequence[str]) -> str:
    """`spelt` of a suite whose name may have knobs, as in fork-Reach-2-DELAY50."""
    small = name.casefold()
    known = [suite for suite in suites if f"{small}-".startswith(f"{suite.casefold()}-")]
    longest = max(known, key=len, default="")
    return longest + small[len(longest) :] if longest else name


_READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    int: ("INT", whole_number),
    float: ("FLOAT", float),
    str: ("STR", str),
    Path: ("PATH", path),
}


@_REGISTRY.primitive_rule
def _values(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Whole numbers and paths, which tyro would read otherwise."""
    kind = info.type
    if kind is not int and kind is not Path:
        return None
    metavar, build = _READERS[kind]
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: build(words[0]),
        is_instance=lambda value: isinstance(value, kind) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


@_REGISTRY.primitive_rule
def _values_or_unset(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """``INT | None`` is shown as INT, and its None as "unset"."""
    inner, *others = [part for part in get_args(info.type) if part is not type(None)] or [None]
    choices = get_args(inner) if get_origin(inner) is Literal else ()
    if others or type(None) not in get_args(info.type) or not (choices or inner in _READERS):
        return None
    metavar, build = _READERS[inner] if not choices else ("{" + ",".join(choices) + "}", str)
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: None if words[0] in (UNSET, "None") else build(words[0]),
        is_instance=lambda value: value is None or not choices or value in choices,
        str_from_instance=lambda value: [UNSET if value is None else str(value)],
        choices=(*choices, UNSET, "None") if choices else None,
    )


def shown_first(*names: str) -> Callable[[type[_Kind]], type[_Kind]]:
    """A dataclass whose fields `names` stand first in ``--help``, before those it inherits."""

    def ordered(kind: type[_Kind]) -> type[_Kind]:
        fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
        order = [*names, *(name for name in fields if name not in names)]
        setattr(kind, "__dataclass_fields__", {name: fields[name] for name in order})  # noqa: B010
        return kind

    return ordered


def read(kind: type[_Kind], argv: Sequence[str], program: str, **options: Any) -> _Kind:
    """Read `argv` as a `kind`; ends with exit code 2 and a message where it cannot be read.

    Args:
        kind: a dataclass.
        argv: arguments after the program's name.
        program: its name, e.g. ``eval.evaluate``.
        options: of `tyro.cli`.
    """
    with _REGISTRY:
        return tyro.cli(kind, args=list(argv), prog=f"python -m {program}", **options)


def read_known(kind: type[_Kind], argv: Sequence[str], program: str) -> tuple[_Kind, list[str]]:
    """`read`, and the options that `kind` does not have, which another reader checks."""
    with _REGISTRY:
        return tyro.cli(
            kind, args=list(argv), prog=f"python -m {program}", return_unknown_args=True
        )


def read_some(kind: type[_Kind], argv: Sequence[str]) -> _Kind:
    """Read the options of `kind` and leave all others, which another reader checks."""
    config = (tyro.conf.FlagCreatePairsOff,)
    with _REGISTRY:
        found, _ = tyro.cli(
            kind, args=list(argv), return_unknown_args=True, add_help=False, config=config
        )
    return found
