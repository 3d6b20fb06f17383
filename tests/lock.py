"""What is installed here of what is needed: ``python -m tests.lock > requirements.lock``.

The requirements of pyproject.toml and of its dev extra, and all that they require in turn, with the
versions that are installed. Run it where the README's test command has just installed them.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

HEADER = """\
# Exact versions on which the tests passed: pip install -r requirements.lock
# Renewed by `make lock`; see CONTRIBUTING.md."""


def closure(requirements: list[str]) -> dict[str, str]:
    """Normalised name -> installed version, of `requirements` and all that they require.

    Raises:
        PackageNotFoundError: one of them is not installed.
    """
    pins: dict[str, str] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        extras = {"extra": ",".join(requirement.extras)}
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in pins:
            continue
        found = metadata.distribution(requirement.name)
        if not requirement.specifier.contains(found.version, prereleases=True):
            print(f"{name} {found.version} is installed, {requirement} needed", file=sys.stderr)
        # A local build such as torch's +cpu is not what the index has under this version.
        pins[name] = found.version.split("+")[0]
        for text in found.requires or ():
            inner = Requirement(text)
            if inner.marker is None or inner.marker.evaluate(extras):
                waiting.append(Requirement(text.split(";")[0]))
    return pins


def main() -> None:
    """Print the lock file."""
    path = Path(__file__).resolve().parents[1] / "pyproject.toml"
    project = tomllib.loads(path.read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    print(HEADER)
    for name, version in sorted(closure(needed).items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
