"""A report as a page: sections of text, tables and figures, written as HTML and as Markdown."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from train.run.verified_folder import replace_file

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;
color:#222}h1{font-size:1.7rem}h2{margin-top:2.2rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse;font-size:13px;margin:.8rem 0;display:block;overflow-x:auto}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #e4e4e4;white-space:nowrap}
th{background:#f5f5f5}th:first-child,td:first-child{text-align:left}
img{max-width:100%;height:auto}figure{margin:1rem 0}figcaption{color:#555;font-size:13px}
p.note{color:#555;font-size:13px}
"""


@dataclass(frozen=True)
class Table:
    """Columns by name; all of one length."""

    columns: dict[str, Sequence[str]]

    def rows(self) -> list[tuple[str, ...]]:
        """Cells row by row."""
        return list(zip(*self.columns.values(), strict=True))


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


@dataclass
class Page:
    """A title and what follows: headings (str with a leading #), text, tables, pictures."""

    title: str
    parts: list[str | Table | Picture] = field(default_factory=list)

    def add(self, *parts: str | Table | Picture) -> None:
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
        page = [f"<h1>{html.escape(self.title)}</h1>"]
        text = [f"# {self.title}"]
        for part in self.parts:
            if isinstance(part, Picture):
                data = part.png()
                replace_file(folder / "figures" / f"{part.name}.png", data)
                source = "data:image/png;base64," + base64.b64encode(data).decode()
                caption = html.escape(part.caption)
                page.append(
                    f'<figure><img alt="{caption}" src="{source}">'
                    f"<figcaption>{caption}</figcaption></figure>"
                )
                text.append(f"![{part.name}](figures/{part.name}.png)\n\n*{part.caption}*")
            elif isinstance(part, Table):
                page.append(_html_table(part))
                text.append(_markdown_table(part))
            elif part.startswith("#"):
                page.append(f"<h2>{html.escape(part.lstrip('# '))}</h2>")
                text.append(f"## {part.lstrip('# ')}")
            else:
                page.append(f'<p class="note">{html.escape(part)}</p>')
                text.append(part)
        document = (
            f'<!doctype html><html lang="en"><meta charset="utf-8">'
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style>\n"
            + "\n".join(page)
            + "\n</html>\n"
        )
        paths = [folder / "report.html", folder / "report.md"]
        replace_file(paths[0], document.encode())
        replace_file(paths[1], ("\n\n".join(text) + "\n").encode())
        return paths


def _html_table(table: Table) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    rows = "".join(line(row, "td") for row in table.rows())
    return f"<table><thead>{line(list(table.columns), 'th')}</thead><tbody>{rows}</tbody></table>"


def _markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    names = list(table.columns)
    rule = "|---|" + "---:|" * (len(names) - 1)
    return "\n".join([line(names), rule, *(line(row) for row in table.rows())])
