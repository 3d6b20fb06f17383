"""docs/reliability.md names tests: they exist, and none of the fault suite is left out."""

import ast
import re
from pathlib import Path

from tests.faults.runs import ROOT

NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "reliability.md").read_text())


def names_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_named_test_exists() -> None:
    assert len(NAMED) > 40
    for path, name in NAMED:
        assert name in names_in(ROOT / path), f"{path} has no {name}"


def test_every_fault_that_is_tested_in_a_run_is_named() -> None:
    """What is shown by whole runs belongs on the page; so a new such test is not forgotten."""
    for file in ("test_worker_faults", "test_nan", "test_stopping", "test_disk", "test_soak"):
        path = f"tests/faults/{file}.py"
        assert names_in(ROOT / path) <= {name for where, name in NAMED if where == path}
