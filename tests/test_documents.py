"""The documents: short lines, links that lead somewhere, programs that exist, a built site."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
LONG_BY_NATURE = ("|", "![", "    ", "- [")  # tables, pictures, commands, tables of contents


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> list[str]:
    """Lines outside blocks of code."""
    return re.sub(r"(?ms)^```.*?^```$", "", page.read_text()).splitlines()


def test_readme_is_read_in_three_minutes() -> None:
    assert len(README.read_text().split()) <= 700


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_lines_are_short(page: Path) -> None:
    long = [n for n in prose(page) if len(n) > 100 and not n.startswith(LONG_BY_NATURE)]
    assert not long


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_tables_and_lists_are_read_as_such(page: Path) -> None:
    """The site wants tables at the margin; a wrapped line that begins "2. " begins a list."""
    lines = prose(page)
    assert [line for line in lines if re.match(r" +\|", line)] == []
    numbers = [(n, int(found[1])) for n, line in enumerate(lines)
               if (found := re.match(r" *(\d+)\. ", line))]  # fmt: skip
    began = {0: -1} | {number: n for n, number in numbers}
    strays = [lines[n] for n, number in numbers if number != 1 and began.get(number - 1, n) >= n]
    assert strays == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", "\n".join(prose(page)))
    assert [to for to in links if "://" not in to and not (page.parent / to).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_programs_that_are_named_exist(page: Path) -> None:
    programs = re.findall(r"python -m ((?:train|eval)\.\w+)", page.read_text())
    assert [name for name in programs if importlib.util.find_spec(name) is None] == []


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "concepts" / "index.html").is_file()
