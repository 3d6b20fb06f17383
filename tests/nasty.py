"""Values that no file should hold, and how to put them anywhere into JSON."""

import json
from typing import Any

from hypothesis import strategies as st

NASTY = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 10**30, 10**400, 1e300, -1e18, "", "\x1b[31m", "\ud800", [], {}, [[]],
         "<script>", "2400", [1, 2], {"a": 1}, float("nan"), json.loads("[" * 90 + "]" * 90)]
    ),
    st.integers(), st.floats(), st.text(max_size=5),
)  # fmt: skip


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Every place in a JSON value, but only the first three of a list."""
    found = [path]
    pairs = value.items() if isinstance(value, dict) else enumerate(value[:3])
    for key, item in pairs:
        found += places(item, (*path, key)) if isinstance(item, dict | list) else [(*path, key)]
    return found


def changed(value: Any, path: tuple, new: Any, remove: bool) -> Any:
    if not path:
        return new
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    if remove:
        del parent[path[-1]]
    else:
        parent[path[-1]] = new
    return value
