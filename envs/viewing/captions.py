"""What is written on the pictures: labels, the mark of success, and the grid of all cells."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.viewing.playback import Cell

BLOCK: Final = 16  # video codecs work in squares of 16 pixels: grids are padded to whole ones
GAP: Final = 4
BACKGROUND, PAPER = (18, 20, 24), (38, 42, 50)
WHITE, GREY, GREEN, RED = (240, 242, 245), (170, 176, 186), (46, 204, 64), (230, 60, 50)


@dataclass(frozen=True)
class Layout:
    """Where things are on a frame, in pixels.

    Attributes:
        size: width and height of a cell's picture.
        columns, rows: cells of the grid, filled row by row.
    """

    size: int
    columns: int
    rows: int

    @property
    def line(self) -> int:
        """Height of a line of text."""
        return self.text * 4 // 3

    @property
    def text(self) -> int:
        """Size of the font."""
        return max(9, self.size // 18)

    @property
    def label(self) -> int:
        """Height of the two lines above each picture."""
        return 2 * self.line + GAP

    @property
    def border(self) -> int:
        """Width of the frame around the picture of a solved episode."""
        return max(3, self.size // 50)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a frame, multiples of 16."""
        height = self.line + GAP + self.rows * (self.label + self.size + GAP)
        width = GAP + self.columns * (self.size + GAP)
        return -(-height // BLOCK) * BLOCK, -(-width // BLOCK) * BLOCK

    def place(self, index: int) -> tuple[int, int]:
        """Left and top of the picture of cell `index`; its label is right above."""
        row, column = divmod(index, self.columns)
        top = self.line + GAP + row * (self.label + self.size + GAP) + self.label
        return GAP + column * (self.size + GAP), top


def lines(cell: Cell) -> tuple[str, str, str]:
    """The words on a cell: its two lines above the picture, and what stands in it."""
    trial = cell.trial
    tries = cell.attempts or trial.fork is not None
    kind = "repeat" if cell.repeats(cell.episode) else "attempt" if tries else "episode"
    where = f"{trial.split} goal {trial.goal_index}   {kind} {cell.episode}/{trial.episodes}"
    return (
        trial.task,
        f"{where}   step {cell.step}",
        f"reward {cell.reward:.1f}   return {cell.total:.0f}",
    )


def badge(cell: Cell) -> str:
    """The mark of the present episode: empty until it is solved."""
    if cell.fault:
        return "PHYSICS FAULT"
    if cell.success:
        return "SUCCESS"
    first = cell.succeeded_at[-1]
    return "" if first is None else f"solved at step {first}"


def compose(
    cells: Sequence[Cell], pictures: Sequence[np.ndarray], layout: Layout, title: str = ""
) -> np.ndarray:
    """One frame, (height, width, 3) uint8, of `Layout.shape`.

    A picture has a green frame from the first success of its episode to the episode's end, and the
    word SUCCESS while the present step is one. The small squares are the trial's episodes: solved
    (green), not solved (red), to come (grey). Round ones repeat the best attempt before them.

    Args:
        cells: what is to be written.
        pictures: one (size, size, 3) uint8 for each.
        layout: where it goes.
        title: line at the top.
    """
    height, width = layout.shape
    frame = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(frame)
    fitting = _fitting(title, width - 2 * GAP, layout.text)
    draw.text((GAP, GAP // 2), title, GREY, fitting)
    for index, (cell, picture) in enumerate(zip(cells, pictures, strict=True)):
        left, top = layout.place(index)
        frame.paste(Image.fromarray(picture), (left, top))
        _label(draw, cell, layout, left, top)
        _mark(draw, cell, layout, left, top)
    return np.asarray(frame)


def _label(draw: ImageDraw.ImageDraw, cell: Cell, layout: Layout, left: int, top: int) -> None:
    size, line, head = layout.size, layout.line, top - layout.label
    draw.rectangle((left, head, left + size - 1, top - 1), PAPER)
    task, where, _ = lines(cell)
    episodes = cell.trial.episodes
    side = min(line // 2, size // (3 * episodes))
    first = left + size - episodes * (side + 2) if side > 2 else left + size
    draw.text((left + 4, head + 1), task, WHITE, _fitting(task, first - left - 8, layout.text))
    draw.text((left + 4, head + 1 + line), where, GREY, _fitting(where, size - 8, layout.text))
    for episode in range(episodes if side > 2 else 0):
        x, y = first + episode * (side + 2), head + (line - side) // 2 + 1
        box = (x, y, x + side - 1, y + side - 1)
        solved = episode < cell.episode and cell.succeeded_at[episode] is not None
        ended = episode + 1 < cell.episode + (cell.step == cell.trial.horizon)
        shape = draw.ellipse if cell.repeats(episode + 1) else draw.rectangle
        if solved or ended:
            shape(box, GREEN if solved else RED)
        else:
            shape(box, outline=WHITE if episode + 1 == cell.episode else GREY)


def _mark(draw: ImageDraw.ImageDraw, cell: Cell, layout: Layout, left: int, top: int) -> None:
    size, border, line = layout.size, layout.border, layout.line
    right, bottom = left + size - 1, top + size - 1
    word, colour = badge(cell), RED if cell.fault else GREEN
    if word:
        draw.rectangle((left, top, right, bottom), outline=colour, width=border)
    score = lines(cell)[2]
    small = _fitting(score, size - 2 * border - 8, layout.text * 9 // 10)
    x, y = left + border, bottom - border - line
    draw.rectangle((x, y, x + small.getlength(score) + 8, y + line), PAPER)
    draw.text((x + 4, y + 2), score, WHITE, small)
    if not word:
        return
    font = _fitting(word, size - 2 * border - line - 10, layout.text)
    x, y = left + border, top + border
    end = x + font.getlength(word) + line + 8
    filled = cell.success or cell.fault
    draw.rectangle((x, y, end, y + line + 3), colour if filled else PAPER)
    ink = WHITE if filled else GREEN
    tick = [(x + 4, y + line * 0.55), (x + line * 0.45, y + line * 0.9), (x + line, y + line * 0.2)]
    if not cell.fault:
        draw.line(tick, ink, width=max(2, line // 7), joint="curve")
    draw.text((x + line + 5, y + 1), word, ink, font)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=4096)
def _fitting(text: str, width: int, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of `size` or the largest smaller one in which `text` fits into `width` pixels."""
    while size > 6 and _font(size).getlength(text) > width:
        size -= 1
    return _font(size)
