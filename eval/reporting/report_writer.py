"""A report as a page: headings, text, tables and figures, written as HTML and as Markdown.

Whatever stands in a text or a cell is shown as it is: it cannot become markup of either page.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from train.run.printable import markdown, printable
from train.run.verified_folder import replace_file

_NUMBER = re.compile(r"[−+-]?[\d,.:]+%?( .*)?|–|\?")


@dataclass(frozen=True)
class Table:
    """Columns by name; all of one length."""

    columns: dict[str, Sequence[str]]

    def names(self) -> list[str]:
        """Headings, without control characters."""
        return [printable(name) for name in self.columns]

    def rows(self) -> list[tuple[str, ...]]:
        """Cells row by row, without control characters."""
        columns = [[printable(cell) for cell in cells] for cells in self.columns.values()]
        return list(zip(*columns, strict=True))

    def right(self) -> list[bool]:
        """Whether each column is of numbers, which are aligned at the right."""
        return [
            bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)
            for cells in self.columns.values()
        ]


@dataclass(frozen=True)
class Picture:
    """A figure with its file name (without ending) and caption."""

    name: str
    caption: str
    figure: Figure

    def png(self) -> bytes:
        """The picture; the figure is closed."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
        plt.close(self.figure)
        return buffer.getvalue()


@dataclass(frozen=True)
class Lines:
    """A list of sentences."""

    lines: Sequence[str]


Part = str | Table | Picture | Lines


@dataclass
class Page:
    """A title and what follows: headings (str with a leading #), text, lists, tables, pictures."""

    title: str
    parts: list[Part] = field(default_factory=list)

    def add(self, *parts: Part) -> None:
        """Append."""
        self.parts += parts

    def write(self, folder: Path) -> list[Path]:
        """Write report.html, with all pictures inside it, and report.md with figures/.

        Returns:
            The two pages.

        Raises:
            OSError: something cannot be written.
        """
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        pictures = {p.name: p.png() for p in self.parts if isinstance(p, Picture)}
        for name, data in pictures.items():
            replace_file(folder / "figures" / f"{name}.png", data)
        paths = [folder / "report.html", folder / "report.md"]
        replace_file(paths[0], self._html(pictures).encode())
        replace_file(paths[1], self._markdown().encode())
        return paths

    def _html(self, pictures: dict[str, bytes]) -> str:
        loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
        templates = jinja2.Environment(
            loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        parts = [_values(part, pictures) for part in self.parts]
        page = templates.get_template("page.html")
        return page.render(title=printable(self.title), parts=parts) + "\n"

    def _markdown(self) -> str:
        parts = [f"# {markdown(self.title)}", *map(_markdown, self.parts)]
        return "\n\n".join(parts) + "\n"


def _values(part: Part, pictures: dict[str, bytes]) -> dict[str, Any]:
    """A part as the template takes it."""
    if isinstance(part, Table):
        return {"kind": "table", "names": part.names(), "rows": part.rows(), "right": part.right()}
    if isinstance(part, Picture):
        source = "data:image/png;base64," + base64.b64encode(pictures[part.name]).decode()
        return {"kind": "picture", "caption": printable(part.caption), "source": source}
    if isinstance(part, Lines):
        return {"kind": "list", "lines": [printable(line) for line in part.lines]}
    kind = "heading" if part.startswith("#") else "text"
    return {"kind": kind, "text": printable(part.lstrip("# ") if kind == "heading" else part)}


def _markdown(part: Part) -> str:
    if isinstance(part, Table):
        return _markdown_table(part)
    if isinstance(part, Picture):
        return f"![{part.name}](figures/{part.name}.png)\n\n*{markdown(part.caption)}*"
    if isinstance(part, Lines):
        return "\n".join(f"- {markdown(line)}" for line in part.lines)
    return f"## {markdown(part.lstrip('# '))}" if part.startswith("#") else markdown(part)


def _markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(markdown, cells)) + " |"

    rule = "|" + "".join("---:|" if right else "---|" for right in table.right())
    return "\n".join([line(table.names()), rule, *map(line, table.rows())])
