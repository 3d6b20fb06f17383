"""Other people's statistics, imported by those who compare with them: that takes seconds."""

from types import ModuleType
from unittest import mock


def rliable() -> tuple[ModuleType, ModuleType]:
    """Its modules `library` and `metrics`.

    arch 7, which rliable 1.2 needs, does not import with pandas 3: its one decorator is no matter.
    """
    plain = {"return_value": lambda function: function}
    with mock.patch("pandas.util._decorators.deprecate_kwarg", **plain):
        from rliable import library, metrics
    return library, metrics
