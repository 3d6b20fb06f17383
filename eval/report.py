"""One page that compares runs: ``python -m eval.report RUN [RUN …] --out report``.

    python -m eval.report runs/CL5x2-* --out results/cl5x2     arms and seeds of a stream
    python -m eval.report runs/ML10-* --out report             arms and seeds of a suite
    python -m eval.report runs/FORK-reach-2-* --out report     memory index and its ceilings
    python -m eval.report runs/* --out report                  several suites: arms × benchmarks
    python -m eval.report runs/ML10-* runs/my_module-load/results/eval-ML10-test.json

Writes report.html (pictures inside), report.md with figures/, and report.json. Exit codes: 0 done,
1 not written, 2 bad input (nothing written), 75 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from envs.memory_tests.fork import ForkSettings
from eval.goals.config import nearest_folder
from eval.reporting import (
    answer,
    figures,
    fork_figures,
    fork_learning,
    fork_tables,
    recall_tables,
    suite_tables,
    summary,
    tables,
)
from eval.reporting.budgets import unlike_budgets
from eval.reporting.loading import arms_of, by_suite, group_runs, load_runs, stream_groups
from eval.reporting.profiles import enough
from eval.reporting.report_writer import Lines, Page, Part, Picture
from eval.reporting.runs import Run, StreamRun
from eval.reporting.tables import Contrasts
from eval.streams.compare import CONTRASTS, of_forks
from eval.traces.lesion_page import lesion_parts
from eval.traces.section import newest_traces, section
from train.run.command_line import read
from train.run.config import stop
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input
from train.run.printable import printable
from train.run.signals import ends_when_interrupted, interrupt_on_signals
from train.run.verified_folder import environment, replace_file

INTERVALS = (
    "Every interval is a 95 % stratified bootstrap over training seeds (Agarwal et al. 2021, arXiv "
    "2108.13264: strata are tasks or phases, seeds are resampled within each). With fewer than "
    "about ten seeds it is too narrow; every seed is given beside it. Success is Meta-World's own: "
    "at any step of the episode."
)
DECLARED = (
    "These five contrasts were declared before any run (incremental performance was added to their "
    "metrics when runs of CL5x2 were seen). "
)
PAIRED = (
    "Differences are paired by seed; their intervals are each at 95 % and not corrected for there "
    "being several. A null is a result."
)
FORK_NOTE = (
    "Mean and Student's 95 % interval over training seeds, of the newest checkpoint's largest "
    "evaluation. Memory index: (mean success after the first attempt - 1/M) / (Bayes' mean - 1/M). "
    "told: the agent is shown the true target. forgetting: its memory is cleared at each attempt. "
    "untrained and random are floors, scripted is a script that remembers what it tried."
)
HOW_SOON_NOTE = (
    f"Until the memory index of {fork_learning.ITERATIONS} training iterations in a row is "
    f"{fork_learning.LEARNT} on average, of trials that do not practise. Minutes are those of the "
    "machines that trained."
)
HEADLINE_NOTE = (
    "Success in short: here intervals are Student's over seeds and wider; that of a single seed is "
    "over goals."
)
RECALL_NOTE = (
    "Right first attempts by exposure of a context. Mean and Student's 95 % interval over training "
    "seeds, of the newest checkpoint's largest evaluation. Share of the ceiling's gain: (mean of "
    "exposures after the first - 1/M) / (the ceiling's mean - 1/M). shuffled: each entry of the "
    "store has the value of another context. another: the store of another slot. off: no store. "
    "reinstating: the state of the trial with the same cue is put back."
)
EXTINCTION_NOTE = (
    "Every outcome is a failure: in which order are the sites tried? Mean and Student's 95 % "
    "interval over training seeds. θ1 is the policy that learns, θ2 and θ3 are slow ones. A flat "
    "memory tries the present pair first: τ is then .5, and 0 without that pair."
)
ANSWER_NOTE = (
    "Mean and Student's 95 % interval over training seeds; a single seed has none. floor: the most "
    "without memory, or an untrained agent's; ceiling: the most with perfect memory, or the "
    "scripts'. A dash: not measured. A null is a result."
)
SPEED_NOTE = (
    "Steps to success: an episode without any counts with its whole length. Gains are the last "
    "minus the first episode; that of an agent without memory is 0 but for chance."
)


@dataclass(frozen=True)
class Arguments:
    """Compare runs on one self-contained page."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders: arms and seeds of one stream, or of one suite. Beside runs of a suite also files
    that eval.evaluate --agent wrote: agents of your own."""
    out: Path = Path("report")
    """Folder to write; its report.* and figures/ are replaced."""
    title: str | None = None
    """Heading of the page; unset: the suite's name."""
    window: int = 10
    """Iterations of the moving average of training curves."""
    contrast: tuple[str, ...] = ()
    """Arms to compare, paired by seed: hierarchical:short none:short; default: of a stream the
    declared ones."""


def stream_page(
    groups: dict[str, list[StreamRun]], title: str, window: int, contrasts: Contrasts
) -> Page:
    """The report of a stream."""
    page = Page(title)
    runs = {arm: [r.run for r in group] for arm, group in groups.items()}
    page.add(
        Lines(summary.of_stream(groups, contrasts)),
        _stream_facts(groups),
        INTERVALS,
        "# Arms",
        *_arms(runs),
        "# Metrics",
        "Mean, interval and every seed in order of their numbers. Definitions and sources: "
        "docs/continual.md.",
        tables.metric_table(groups),
        "# Contrasts",
        (DECLARED if contrasts is CONTRASTS else "") + PAIRED,
        tables.contrast_table(groups, contrasts),
        "# Retention",
        *_retention(groups),
        *(_forgotten(groups) if of_forks(groups) else ()),
        "# Learning",
        *_learning(groups, window),
    )
    if set(groups) - {"single"}:
        page.add("# Adaptation within a trial, at the end of the stream", *_adaptation(groups))
    return page


def _stream_facts(groups: dict[str, list[StreamRun]]) -> str:
    first = next(iter(groups.values()))[0]
    assert first.run.record is not None
    facts, how = first.run.record["stream"], first.run.record["evaluation"]
    return (
        f"{len(facts['phases'])} phases of {facts['phase_steps']:,} steps each, in this order: "
        f"{', '.join(figures.short_name(t) for t in facts['tasks'])}"
        f"{'' if facts['cycles'] == 1 else ', ' + str(facts['cycles']) + ' times'}. The policy "
        f"sees no task id. All tasks are evaluated on {how['goals']} goals that no arm trains on, "
        f"{how['episodes']} episodes of {how['horizon']} steps each, on the same trials for all "
        "arms of a seed, acting as in training."
    )


def _retention(groups: dict[str, list[StreamRun]]) -> list[Part]:
    return [
        Picture(
            "retention",
            "Success on unseen goals, last episode of the trial, along the stream: mean and 95 % "
            "interval over seeds, thin lines are seeds. Grey: the phases that train on the task.",
            figures.retention(groups),
        ),
        Picture(
            "matrix",
            "R: success (%) on each task (column) after each phase (row), mean over seeds. Framed: "
            "the task that the phase trained on.",
            figures.heat_maps(groups),
        ),
        tables.task_table(groups),
    ]


def _forgotten(groups: dict[str, list[StreamRun]]) -> list[Part]:
    """Of a stream of FORK trials: what was lost, whether anything leaks, what memory takes."""
    parts: list[Part] = [
        "# Skill and finding out",
        Picture(
            "forgotten",
            "Mean over all parts along the stream: success when the true target is shown (the "
            "skill), P(committed), and P(right | committed) after the first attempt (the finding "
            "out; dotted: chance). Mean and 95 % interval over seeds, thin lines are seeds.",
            fork_figures.forgotten(groups),
        ),
        "# First attempts",
        "Nobody can know what counts in a first attempt. Evaluations of one run share their "
        "trials, which count once.",
        tables.leak_table(groups),
        "# What memory takes",
        tables.sizes_line(groups),
    ]
    if (table := tables.extinction_table(groups)) is not None:
        parts += ["# Extinction", EXTINCTION_NOTE, table]
    return parts


def _learning(groups: dict[str, list[StreamRun]], window: int) -> list[Part]:
    return [
        Picture(
            "learning",
            "Success in the last episode of training trials on the task of the moment (moving "
            f"average of {window} iterations). single: each task alone, from initial weights.",
            figures.stream_learning(groups, window),
        )
    ]


def _adaptation(groups: dict[str, list[StreamRun]]) -> list[Part]:
    parts: list[Part] = [
        Picture(
            "adaptation",
            "Success at the end by episode of the trial, mean over tasks.",
            figures.adaptation_curves(groups),
        ),
        tables.adaptation_table(groups),
    ]
    if (table := tables.speed_table(groups)) is not None:
        parts += [SPEED_NOTE, table]
    return parts


def training_page(
    groups: dict[str, list[Run]], title: str, window: int, contrasts: Contrasts
) -> Page:
    """The report of runs that train on all their tasks at once."""
    page = Page(title)
    page.add(Lines(summary.of_suite(groups)), INTERVALS, "# Arms", *_arms(groups))
    for split, told in (("test", "Held out"), ("train", "On the goals trained on")):
        page.add(*_evaluated(groups, split, told, contrasts))
    if trained := _trained(groups):
        page.add(
            "# Learning curves",
            Picture(
                "learning",
                "Success in the last episode of training trials (moving average of "
                f"{window} iterations): mean and 95 % interval over seeds, thin lines are seeds.",
                figures.training(trained, window),
            ),
            "# At the end of training",
            f"Training success, mean of the last {window} iterations.",
            tables.training_table(trained, window),
        )
    if (table := tables.evaluation_table(groups)) is not None:
        page.add(
            "# Evaluation by task",
            "The newest result of python -m eval.evaluate of each run and split: last episode of "
            "the trial, intervals over goals.",
            table,
        )
    return page


def recall_page(groups: dict[str, list[Run]], fork: ForkSettings, title: str, window: int) -> Page:
    """The report of runs on a RECALL suite."""
    page = Page(title)
    page.add(RECALL_NOTE)
    for split, told in (("test", "Unseen lifetimes"), ("train", "Training lifetimes")):
        if (table := recall_tables.recall_table(groups, split, fork)) is not None:
            page.add(f"# {told}", table)
    page.add(
        "# Learning curves",
        Picture(
            "learning",
            "Training success of first attempts by exposure of a context (moving average of "
            f"{window} iterations): mean and 95 % interval over seeds. Dashed: the ceilings.",
            fork_figures.by_exposure(groups, fork, window),
        ),
        "# Arms",
        *_arms(groups),
    )
    return page


def fork_page(groups: dict[str, list[Run]], fork: ForkSettings, title: str, window: int) -> Page:
    """The report of runs on a FORK suite."""
    page = Page(title)
    page.add(Lines(fork_tables.headline(groups)), FORK_NOTE)
    for split, told in (("test", "Unseen trials"), ("train", "Training trials")):
        if (table := fork_tables.memory_table(groups, split, fork)) is not None:
            page.add(f"# {told}", table)
    if trained := _trained(groups):
        page.add(
            "# Learning curves",
            Picture(
                "learning",
                f"Training success by attempt (moving average of {window} iterations): mean and "
                "95 % interval over seeds, thin lines are seeds. Dashed: Bayes' ceiling of each "
                "attempt; dotted: 1/M, the most without memory.",
                fork_figures.by_attempt(trained, fork, window),
            ),
            "# How soon",
            HOW_SOON_NOTE,
            fork_learning.learning_table(trained, fork),
        )
    page.add("# Arms", *_arms(groups))
    return page


def _arms(groups: dict[str, list[Run]]) -> list[Part]:
    """What each arm is and took, and whether their training is comparable."""
    unlike = unlike_budgets(groups)
    return [tables.cost_table(groups), *([Lines(unlike)] if unlike else [])]


def _trained(groups: dict[str, list[Run]]) -> dict[str, list[Run]]:
    """The arms that were trained here: agents of other people's have no learning curves."""
    return {arm: group for arm, group in groups.items() if group[0].agent is None}


def _evaluated(
    groups: dict[str, list[Run]], split: str, told: str, contrasts: Contrasts
) -> list[Part]:
    """What `eval.evaluate` found on one split; nothing where nothing was evaluated."""
    table = suite_tables.suite_table(groups, split)
    if table is None:
        return []
    parts: list[Part] = [
        f"# {told}",
        suite_tables.sources(groups, split),
        HEADLINE_NOTE,
        suite_tables.headline_table(groups, split),
        SPEED_NOTE,
        table,
    ]
    if contrasts:
        parts += [PAIRED, suite_tables.contrast_table(groups, split, contrasts)]
    measure = suite_tables.LAST_SUCCESS
    scores = enough({arm: suite_tables.by_task(g, split, measure) for arm, g in groups.items()})
    if scores:
        caption = "Performance profile of last-episode success over runs × tasks, 95 % bands."
        parts.append(Picture(f"profile-{split}", caption, figures.performance_profiles(scores)))
    if len(scores) > 1:
        parts += [
            "Probability that a run of one arm is above one of another on the same task.",
            suite_tables.improvement_table(scores),
        ]
    return parts


def answer_page(suites: dict[str, list[Run]], title: str) -> tuple[Page, dict]:
    """Arms × benchmarks, for runs of several suites and streams; the page and its numbers."""
    found = [one for name, runs in suites.items() for one in answer.benchmarks_of(name, runs)]
    lesions = lesion_parts(newest_traces([run for runs in suites.values() for run in runs]))
    if not found and not lesions:
        stop(["nothing was evaluated: python -m eval.evaluate RUN measures a run"])
    page = Page(title)
    if not found:
        page.add("No run was evaluated: python -m eval.evaluate RUN measures one.", *lesions)
        return page, {}
    notes = answer.left_out(found)
    for name, runs in suites.items():
        notes += [f"{name}: {line}" for line in unlike_budgets(arms_of(runs))]
    page.add(
        ANSWER_NOTE,
        *([Lines(notes)] if notes else []),
        answer.answer_table(found),
        Picture(
            "answer",
            "One panel for each benchmark: seeds (dots), their mean (diamond) and its 95 % "
            "interval. Dotted: the floor; dashed: the ceiling.",
            answer.answer_figure(found),
        ),
        *lesions,
    )
    return page, answer.to_json(found)


def make_page(
    folders: Sequence[Path], title: str | None, window: int, contrasts: Contrasts
) -> tuple[Page, dict]:
    """The page and its numbers. Raises InputError, which lists every problem."""
    runs, left_out = load_runs(folders, results=True)
    suites = by_suite(runs)
    if len(suites) > 1:
        _no_contrasts(contrasts, "several suites")
        page, numbers = answer_page(suites, title or "Strata: which memory buys what")
    else:
        title = title or f"Strata on {next(iter(suites))}"
        page, numbers = suite_page(runs, title, window, contrasts)
        page.add(*section(newest_traces(runs)))
    if left_out:
        page.parts.insert(1, Lines(left_out))
        print("\n".join(f"note: {line}" for line in left_out), file=sys.stderr)
    return page, numbers


def suite_page(
    runs: Sequence[Run], title: str, window: int, contrasts: Contrasts
) -> tuple[Page, dict]:
    """The report of runs of one suite or stream, and its numbers."""
    if len({run.record is not None for run in runs}) > 1:
        stop(["some runs are of a stream and some are not: report each kind by itself"])
    if runs[0].record is not None:
        groups = stream_groups(runs)
        _known_arms(contrasts, groups)
        contrasts = contrasts or CONTRASTS
        page = stream_page(groups, title, window, contrasts)
        return page, tables.to_json(groups, contrasts)
    by_label, problems = group_runs(runs)
    if problems:
        stop(problems)
    fork = fork_tables.suite_of(by_label)
    if fork is None:
        _known_arms(contrasts, by_label)
        return training_page(by_label, title, window, contrasts), suite_tables.to_json(by_label)
    _no_contrasts(contrasts, runs[0].config.suite)
    if fork.lifetimes is not None:
        return recall_page(by_label, fork, title, window), recall_tables.to_json(by_label)
    return fork_page(by_label, fork, title, window), fork_tables.to_json(by_label, fork)


def _known_arms(contrasts: Contrasts, arms: Collection[str]) -> None:
    """Refuse contrasts that were asked for with arms that no run has."""
    unknown = sorted({arm for pair in contrasts for arm in pair if arm not in arms})
    if unknown:
        stop(
            [f"--contrast: no run of arm {printable(arm)}" for arm in unknown],
            f"choose from {', '.join(arms)}",
        )


def _no_contrasts(contrasts: Contrasts, what: str) -> None:
    if contrasts:
        stop([f"--contrast: a report of {what} has no table of contrasts, leave it out"])


def parse_contrasts(texts: Sequence[str]) -> tuple[Contrasts, list[str]]:
    """Pairs of arms, and what is wrong with them."""
    pairs = [tuple(text.split(":")) for text in texts]
    wrong = [t for t, p in zip(texts, pairs, strict=True) if len(p) != 2 or not all(p)]
    problems = [f"--contrast {printable(t)}: write ARM:ARM, hierarchical:short" for t in wrong]
    return [(pair[0], pair[-1]) for pair in pairs], problems


@forgiving_console()
@exits_on_bad_input
@ends_when_interrupted
def main(argv: list[str] | None = None) -> int:
    """Read, check, draw, write. Returns the exit code."""
    arguments = read(Arguments, sys.argv[1:] if argv is None else argv, "eval.report")
    contrasts, problems = parse_contrasts(arguments.contrast)
    if arguments.window < 1:
        problems.append(f"--window must be at least 1, not {arguments.window}")
    if arguments.out.is_file() or nearest_folder(arguments.out / "report.html") is None:
        problems.append(f"--out {arguments.out} cannot be written: name a folder elsewhere")
    if problems:
        stop(problems)
    page, numbers = make_page(arguments.runs, arguments.title, arguments.window, contrasts)
    values = {"kind": "strata report", "schema": 1, "environment": environment(), **numbers}
    try:
        paths = page.write(arguments.out)
        data = json.dumps(values, allow_nan=False, indent=1)
        replace_file(arguments.out / "report.json", data.encode() + b"\n")
    except OSError as error:
        print(f"error: {arguments.out} is not written ({error})", file=sys.stderr)
        return 1
    print("\n".join(map(str, paths)))
    return 0


if __name__ == "__main__":
    interrupt_on_signals()  # leave nothing half written
    sys.exit(main())
