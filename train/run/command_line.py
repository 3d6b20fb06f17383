"""Command lines, read by tyro; whole numbers may be written 1e6 or 1_000_000."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

_Kind = TypeVar("_Kind")
_REGISTRY = ConstructorRegistry()


def whole_number(text: str) -> int:
    """The whole number that `text` writes out or as a power of ten; ValueError if it is none."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
    if not value.is_integer() or abs(value) > 2**53:
        raise ValueError(f"{text} is no whole number")
    return int(value)


def spelt(name: str, choices: Sequence[str]) -> str:
    """The choice that `name` is but for capitals; itself where there is none."""
    return next((choice for choice in choices if choice.casefold() == name.casefold()), name)


def spelt_suite(name: str, suites: Sequence[str]) -> str:
    """`spelt` of a suite whose name may have knobs, as in fork-Reach-2-DELAY50."""
    small = name.casefold()
    known = [suite for suite in suites if f"{small}-".startswith(f"{suite.casefold()}-")]
    longest = max(known, key=len, default="")
    return longest + small[len(longest) :] if longest else name


@_REGISTRY.primitive_rule
def _whole_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


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
