"""Parts by name: Strata's own, and users' as ``my_module:NAME``.

Only `import_typed` imports a user's module, and only for a name on the command line. The name in a
checkpoint is data: it can never make a program import a module.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """What a flag of the command line may name.

    Args:
        flag: with its dashes, e.g. ``--arm``.
        own: Strata's parts by name.
        fits: whether an object can be a part.
        must_be: in words what `fits` asks for.
    """

    def __init__(
        self, flag: str, own: Mapping[str, Part], *, fits: Callable[[object], bool], must_be: str
    ) -> None:
        self.flag, self.own, self._fits, self._must_be = flag, dict(own), fits, must_be
        self._imported: dict[str, Part] = {}

    def find(self, name: str) -> Part:
        """The part of that name. Raises ValueError where there is none, or none was imported."""
        found = self.own.get(name, self._imported.get(name))
        if found is not None:
            return found
        if ":" in name:
            raise ValueError(
                f"{name} is code outside Strata: say {self.flag} {name} to allow its import"
            )
        raise ValueError(
            f"there is no {self.flag} {name}: choose {', '.join(self.own)}, or your own as "
            "my_module:NAME"
        )

    def problems(self, name: str) -> list[str]:
        """What is wrong with `name`, one sentence or none."""
        try:
            self.find(name)
        except ValueError as error:
            return [str(error)]
        return []

    def import_typed(self, argv: Sequence[str]) -> list[str]:
        """Import what a command line names as ``module:NAME`` by this flag.

        Returns:
            What went wrong, one sentence each.
        """
        typed = [value for word, value in itertools.pairwise(argv) if word == self.flag]
        typed += [value for flag, _, value in (w.partition("=") for w in argv) if flag == self.flag]
        return [problem for name in typed if ":" in name and (problem := self._import(name))]

    def _import(self, name: str) -> str | None:
        module, _, attribute = name.partition(":")
        try:
            found: Any = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            return (
                f"{self.flag} {name}: cannot import {attribute} from {module} "
                f"({type(error).__name__}: {error}): run in the folder that holds "
                f"{module.replace('.', '/')}.py"
            )
        if not self._fits(found):
            return f"{self.flag} {name}: it must be {self._must_be}"
        self._imported[name] = found
        return None
