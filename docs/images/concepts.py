"""Draws concepts.png: how time nests, and which memory lasts how long.

python docs/images/concepts.py
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

LEVELS = (
    ("slow policies L2, L3", "follow once an iteration", 0.0, 16.0, "#CC79A7"),
    ("episodic store L1 and reservoir", "take in an iteration's trials", 5.45, 10.55, "#E69F00"),
    (
        "short-term memory L0",
        "written every step, cleared at each trial's start",
        5.45,
        5.1,
        "#0072B2",
    ),
)


def box(
    axis: Axes, x: float, y: float, width: float, height: float, colour: str, text: str
) -> None:
    """One rounded box with a caption in its middle."""
    style = "round,pad=0,rounding_size=0.08"
    shape = FancyBboxPatch((x, y), width, height, boxstyle=style, fc=colour, ec="white", lw=1.5)
    axis.add_patch(shape)
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9)


def nesting(axis: Axes) -> None:
    """Iteration, trials, episodes and steps, one row each."""
    box(axis, 0, 5.2, 16, 0.7, "#DDDDDD", "iteration: a batch of trials, then one update")
    for number in range(3):
        start = 5.45 * number
        text = "trial: one task, one hidden goal"
        box(axis, start, 4.35, 5.1, 0.7, "#BFD9EC", text)
        for episode in range(4):
            box(axis, start + 1.29 * episode, 3.5, 1.23, 0.7, "#D9EAD3", f"episode\n{episode + 1}")
            for step in range(8):
                left = start + 1.29 * episode + 0.155 * step
                box(axis, left, 3.05, 0.13, 0.3, "#FFE0A3", "")
    axis.text(16.15, 3.2, "steps", va="center", fontsize=10)


def memories(axis: Axes) -> None:
    """One bar a level, as long as what it holds lasts."""
    for row, (name, written, start, width, colour) in enumerate(LEVELS):
        y = 2.05 - 0.85 * row
        axis.add_patch(plt.Rectangle((start, y), width, 0.26, color=colour, lw=0))
        axis.text(start, y + 0.36, f"{name}: {written}", fontsize=10)
        if start + width >= 16:
            axis.annotate("", (16.9, y + 0.13), (15.9, y + 0.13), arrowprops={"color": colour})


def main() -> None:
    """Draw and write the figure beside this file."""
    figure, axis = plt.subplots(figsize=(11, 4.4))
    nesting(axis)
    memories(axis)
    axis.set(xlim=(-0.1, 17.1), ylim=(0.2, 6.0))
    axis.axis("off")
    figure.savefig(Path(__file__).with_name("concepts.png"), dpi=90, bbox_inches="tight")


if __name__ == "__main__":
    main()
