"""Text from files, made fit for a terminal and for Markdown: it is shown, and does nothing."""

from __future__ import annotations


def printable(text: str) -> str:
    """One line that a terminal shows as it is: control characters and the like as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """The same of a text of several lines, which it stays."""
    return "\n".join(map(printable, text.split("\n")))


def markdown(text: str) -> str:
    """One line that Markdown shows as it is."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace("`", "\\`")
    return text.replace("|", "\\|").replace("](", "]\\(")
