"""An evaluation as people read it (tables) and as programs do (JSON)."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from envs.metaworld.suites import Suite
from envs.metaworld.task_env import MAX_HORIZON
from eval.goals.believed import Believed
from eval.goals.metrics import Interval, Outcomes, Row, Summary
from eval.official.meta_evaluation import OVER_REPORTS, OfficialResult
from eval.outcome import head, write_json
from train.run.checkpoint import Checkpoint

KIND = "strata evaluation"
SCHEMA = 1
REPEATING = "official, repeating"
BOUNDS = ("untrained", "random", "scripted")  # floors and ceiling
_WIDTH = 150  # columns of a table that is not shown in a terminal


@dataclass(frozen=True)
class Measured:
    """One policy on the evaluation trials: outcomes, their summary and wall-clock seconds.

    Of an agent that acts on a belief over places, also what it believed.
    """

    outcomes: Outcomes
    summary: Summary
    seconds: float
    believed: Believed | None = None


@dataclass(frozen=True)
class Evaluation:
    """All that one evaluation found out.

    Attributes:
        checkpoint: what was evaluated.
        suite: where; goals are the first `settings["goals"]` of each task of `split`.
        split: ``train`` or ``test``.
        settings: how, as JSON values.
        policies: ``stochastic``, ``repeating`` (`agents.acting.repeating`) and ``deterministic``
            are the agent, ``told`` the same as it is shown what the task asks, ``trial 1``,
            ``trial 2``, … the same in the trials of a lifetime (`eval.goals.lifetime`),
            ``untrained``, ``random`` and ``scripted`` the floors and the ceiling.
        official: Meta-World's own figures by who acted, ``official`` and `REPEATING`; may be none.
    """

    checkpoint: Checkpoint
    suite: Suite
    split: str
    settings: dict[str, Any]
    policies: dict[str, Measured]
    official: dict[str, OfficialResult]

    def to_json(self) -> dict[str, Any]:
        """Everything, every (task, goal, episode) included, as JSON values."""
        saved, suite, goals = self.checkpoint, self.suite, self.settings["goals"]
        return {
            **head(KIND, SCHEMA, saved),
            "config": saved.config,
            "settings": self.settings,
            "suite": {
                "name": suite.name,
                "seed": suite.seed,
                "split": self.split,
                "overlap": list(suite.overlap) if self.split == "test" else [],
                "goals": {task: vectors[:goals] for task, vectors in self._goals().items()},
            },
            "policies": {
                name: {
                    "seconds": measured.seconds,
                    "summary": measured.summary.to_json(),
                    "outcomes": measured.outcomes.to_json(),
                    **({"believed": b.to_json()} if (b := measured.believed) is not None else {}),
                }
                for name, measured in self.policies.items()
            },
            **{
                key: self.official[name].to_json() if name in self.official else None
                for key, name in (("official", "official"), ("official_repeating", REPEATING))
            },
        }

    def write(self, path: Path) -> None:
        """Write the JSON atomically. Raises OSError; an older file is then intact."""
        write_json(path, self.to_json())

    def show(self, console: Console) -> None:
        """Print the tables."""
        for name in self.policies:
            if name not in BOUNDS:
                summary = self.policies[name].summary
                print_table(console, f"agent, {name}", self._detail(summary))
                print_table(console, f"agent, {name}: how soon", self._speed(summary))
        if len(self.policies) > 1 or self.official:
            print_table(console, "any-step success in the last episode, %", self._comparison())
        for title, measure, gain, show, show_gain in BY_EPISODE:
            table = self._by_episode(measure, gain, show, show_gain)
            print_table(console, f"{title} by episode of the trial, mean over tasks", table)
        for measured in self.policies.values():
            if measured.believed is not None:
                self._show_belief(console, measured.believed)
        for note in self._notes():
            console.print(textwrap.fill(note, min(console.width, 100)), markup=False)

    def _show_belief(self, console: Console, found: Believed) -> None:
        """Print how right the belief is at the start of each episode."""
        curves = found.by_episode(self.settings["seed"])
        columns = {"episode": [str(e + 1) for e in range(self.settings["episodes"])]}
        columns |= {title: [_rate(i) for i in curves[name]] for name, title in BELIEF.items()}
        print_table(console, "belief before each episode, mean over tasks", columns)
        if len(found.tasks) > 1:
            columns = {"task": list(found.tasks)}
            for name, numbers in found.by_task().items():
                for at, episode in ((0, 1), (-1, self.settings["episodes"])):
                    shown = [f"{100 * number:.0f}" for number in numbers[:, at]]
                    columns[f"{BELIEF[name]}, ep. {episode}"] = shown
            print_table(console, "belief of each task", columns)

    def _goals(self) -> dict[str, tuple[tuple[float, ...], ...]]:
        return self.suite.split(self.split)

    def _detail(self, summary: Summary) -> dict[str, list[str]]:
        rows = self._rows(summary)
        last = self.settings["episodes"]

        def column(name: str, episode: int) -> list[str]:
            show = _number if name == "returns" else _rate
            return [show(getattr(row, name)[episode]) for row in rows]

        return {
            "task": self._names(),
            "success ep. 1, %": column("success", 0),
            f"success ep. {last}, %": column("success", -1),
            "gain, points": [_gain(row.gain) for row in rows],
            "last step ep. 1, %": column("last_step_success", 0),
            f"last step ep. {last}, %": column("last_step_success", -1),
            "gain, points ": [_gain(row.last_step_gain) for row in rows],
            f"return ep. {last}": column("returns", -1),
        }

    def _speed(self, summary: Summary) -> dict[str, list[str]]:
        rows, last = self._rows(summary), self.settings["episodes"]
        return {
            "task": self._names(),
            "steps to success ep. 1": [_number(row.steps_to_success[0]) for row in rows],
            f"steps to success ep. {last}": [_number(row.steps_to_success[-1]) for row in rows],
            "gain, steps": [_steps(row.steps_gain) for row in rows],
            "steps in success ep. 1, %": [_rate(row.share_in_success[0]) for row in rows],
            f"steps in success ep. {last}, %": [_rate(row.share_in_success[-1]) for row in rows],
            "gain, points": [_gain(row.share_gain) for row in rows],
        }

    def _by_episode(
        self, measure: str, gain: str, show: Show, show_gain: Show
    ) -> dict[str, list[str]]:
        """One measure of all policies; last its gain, paired by goal."""
        episodes = [str(episode + 1) for episode in range(self.settings["episodes"])]
        columns = {"episode": [*episodes, "last − first"]}
        for name, measured in self.policies.items():
            mean = measured.summary.mean
            columns[name] = [show(interval) for interval in getattr(mean, measure)]
            columns[name].append(show_gain(getattr(mean, gain)))
        return columns

    def _comparison(self) -> dict[str, list[str]]:
        columns = {"task": self._names()}
        for name, measured in self.policies.items():
            columns[name] = [_rate(row.success[-1]) for row in self._rows(measured.summary)]
        for name, result in self.official.items():
            rates = {**result.task_success, "mean": result.success}
            columns[f"{name} *"] = [f"{100 * rates[task]:.0f}" for task in self._names()]
        return columns

    def _names(self) -> list[str]:
        """Tasks and their mean; of one task there is none."""
        tasks = list(self._goals())
        return [*tasks, "mean"] if len(tasks) > 1 else tasks

    def _rows(self, summary: Summary) -> list[Row]:
        rows = list(summary.tasks.values())
        return [*rows, summary.mean] if len(rows) > 1 else rows

    def _notes(self) -> list[str]:
        notes = [
            "[low, high]: 95% intervals over goals of these tasks (Wilson's for the rates of one "
            "task, else a bootstrap of goals within tasks); they say nothing of other tasks nor "
            "of other training seeds.",
            f"steps to success: an episode without any counts {self.settings['horizon']}. Gains "
            "are the last minus the first episode, paired by goal; that of an agent without "
            "memory is 0 but for chance.",
        ]
        if "repeating" in self.policies:
            made = self.settings["attempts"]
            notes.append(
                f"repeating: the first {made} episodes of a trial are attempts, each begun with "
                "cleared memory; the others repeat, noise for noise, the one that earned most "
                "reward. Episodes of a Meta-World trial all start alike."
            )
        if "trial 1" in self.policies:
            notes.append(
                "trial 1, 2, …: the agent meets a goal again and again. Each goal has a store of "
                "its own, which begins as training left it and takes in every trial at its end."
            )
        for name, measured in self.policies.items():
            summary = measured.summary
            if name == "stochastic":
                notes.append(
                    "interquartile mean of the last episode's return (agent, stochastic): "
                    + _number(summary.return_iqm)
                )
            if summary.faulted:
                trials = measured.outcomes.faults[..., 0].size
                notes.append(
                    f"unstable physics in {summary.faulted} of {trials} trials of {name}: counted "
                    "as failures from there on"
                )
        if self.official:
            plan = self.official["official"].plan
            figures = ", ".join(f"{n} {100 * r.success:.1f}%" for n, r in self.official.items())
            notes.append(
                f"* Meta-World's own metalearning_evaluation (rounds: {plan.rounds}, environments: "
                f"{plan.environments}; after 10 adaptation episodes deterministic, or repeating "
                f"the best of them): {figures}. It {OVER_REPORTS}. For comparison with published "
                "tables only."
            )
            if plan.horizon != MAX_HORIZON:
                notes.append(f"* with {plan.horizon}-step episodes it is not the official figure")
        if self.split == "test" and self.suite.overlap:
            notes.append(
                f"{', '.join(self.suite.overlap)} is among the training tasks too (Meta-World's "
                f"own lists for {self.suite.name}): the mean is not wholly held out."
            )
        return notes


def print_table(console: Console, title: str, columns: dict[str, list[str]]) -> None:
    """A table under its title; columns by name, all of one length. A row "mean" is bold."""
    style = box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN
    table = Table(box=style)
    for name in columns:
        left = name in ("task", "policy")
        table.add_column(name.strip(), justify="left" if left else "right")
    rows = list(zip(*columns.values(), strict=True))
    for row in rows:
        if row[0] == "mean" and console.is_terminal:
            table.add_section()
        table.add_row(*row, style="bold" if row[0] == "mean" else None)
    console.print(f"\n{title}", style="bold", markup=False, highlight=False)
    console.print(table)


def table_console() -> Console:
    """Standard output; as wide as a table needs where it is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=_WIDTH, highlight=False)


Show = Callable[[Interval], str]


def _rate(interval: Interval) -> str:
    return _text(interval, 100, "{:.0f}")


def _gain(interval: Interval) -> str:
    return _text(interval, 100, "{:+.0f}")


def _number(interval: Interval) -> str:
    return _text(interval, 1, "{:,.0f}")


def _steps(interval: Interval) -> str:
    return _text(interval, 1, "{:+,.0f}")


def _text(interval: Interval, scale: float, form: str) -> str:
    """Value [low, high], rounded; what rounds to zero is never negative."""
    value, low, high = (_rounded(scale * n, form) for n in vars(interval).values())
    return f"{value} [?]" if interval.low != interval.low else f"{value} [{low}, {high}]"


def _rounded(number: float, form: str) -> str:
    return form.format(round(number) + 0.0 if number == number else number)


BY_EPISODE: tuple[tuple[str, str, str, Show, Show], ...] = (
    ("any-step success, %,", "success", "gain", _rate, _gain),
    ("steps to first success", "steps_to_success", "steps_gain", _number, _steps),
    ("steps in success, %,", "share_in_success", "share_gain", _rate, _gain),
)
"""Title, measure and its gain as `Row` calls them, and how both are shown."""


BELIEF = {
    "part_right": "part right, %",
    "place_error": "likeliest place off by, cm",
    "aim_error": "drawn place off by, cm",
}
"""Title of each measure of `Believed`, as hundredths."""
