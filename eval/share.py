"""Share a trained policy: ``python -m eval.share RUN --out FOLDER``, or ``--repo user/name``.

    python -m eval.share runs/ML10-short-seed1 --out shared/ml10     a folder to copy anywhere
    python -m eval.share runs/ML10-short-seed1 --repo me/ml10        to the Hugging Face hub

The folder holds the policy alone (safetensors and JSON), the run's evaluations and a model card;
eval.evaluate and eval.watch take it as they take a run. Uploading needs pip install -e '.[hub]' and
a token (`hf auth login`, or HF_TOKEN). Exit codes: 0 done, 1 failed, 2 bad input (nothing written).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from eval.goals.config import imported_core, nearest_folder
from eval.goals.results import KIND as SUITE_KIND
from eval.memory_tests.fork_results import KIND as FORK_KIND
from eval.memory_tests.recall_results import KIND as RECALL_KIND
from eval.reporting.runs import checked_evaluation, checked_fork, checked_recall
from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.command_line import read
from train.run.config import Config
from train.run.console import forgiving_console
from train.run.input_error import InputError, exits_on_bad_input
from train.run.maml_config import MamlConfig
from train.run.origin import command
from train.run.printable import markdown
from train.run.run_files import RESULT_LIMIT, Field, RunError, read_object
from train.run.signals import INTERRUPTED, interrupt_on_signals
from train.run.state import load_agent
from train.run.stream_config import StreamConfig
from train.run.verified_folder import replace_file, to_json


@dataclass(frozen=True)
class Settings:
    """Export a policy with a model card, and upload it where a repository is named."""

    source: tyro.conf.Positional[Path]
    """Run folder, or one checkpoint in it."""
    out: Path | None = None
    """New folder for the export."""
    repo: str | None = None
    """Repository on the Hugging Face hub, user/name, made if there is none."""
    private: bool = False
    """Make the repository private, if it is made."""
    core: str | None = None
    """Your own core, my_module:MyCore, where the agent was trained with one."""

    def problems(self) -> list[str]:
        """Everything wrong with these values."""
        found = []
        if self.out is None and self.repo is None:
            found.append("say where to: --out FOLDER, or --repo user/name")
        if self.out is not None and os.path.lexists(self.out):
            found.append(f"--out {self.out} is there already: name a new folder")
        elif self.out is not None and nearest_folder(self.out) is None:
            found.append(f"--out {self.out} cannot be written: name a folder elsewhere")
        if self.repo is not None and self.repo.count("/") != 1:
            found.append(f"--repo {self.repo}: write user/name")
        return found


def export(source: Path, out: Path) -> Path:
    """Write the policy of a run into the new folder `out`, with a model card.

    Raises:
        InputError: there is no usable checkpoint, or a result beside it is not sound.
        CheckpointError, OSError: it cannot be written; then there is no `out`.
    """
    try:
        saved = checkpoint.load(source)
        _, config = load_agent(saved)
        evaluations = evaluations_of(saved)
        text = card(saved, config, evaluations)
    except (CheckpointError, RunError) as error:
        raise InputError(str(error).splitlines()) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".tmp-{os.getpid()}-{out.name}")
    try:
        _write(temporary, saved, evaluations, text)
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _write(out: Path, saved: Checkpoint, evaluations: Sequence[Field], text: str) -> None:
    out.mkdir()
    kept = ("steps", "iteration", "network")
    state = {name: saved.state[name] for name in kept if name in saved.state}
    checkpoint.save(
        out / "checkpoints",
        saved.step,
        tensors={"agent": saved.tensors["agent"]},
        state=state,
        config=saved.config,
    )
    replace_file(out / "config.json", to_json(saved.config, "config"))
    if evaluations:
        (out / "results").mkdir()
    for found in evaluations:
        data = json.dumps(found.value, allow_nan=False).encode() + b"\n"
        replace_file(out / "results" / found.path.name, data)
    replace_file(out / "README.md", text.encode())


def evaluations_of(saved: Checkpoint) -> list[Field]:
    """Results of `eval.evaluate` of this very checkpoint's policy, in the run's folder.

    Raises:
        RunError: one is no sound result; the message names file and field.
    """
    folder = saved.path.parent.parent / "results"
    paths = sorted(folder.glob(f"eval-*-{saved.step:012d}*.json"))
    found = [read_object(path, RESULT_LIMIT) for path in paths]
    return [one for one in found if one["settings"].value.get("level", 1) == 1]


def card(saved: Checkpoint, config: Config, evaluations: Sequence[Field]) -> str:
    """The model card, Markdown with the hub's header. Raises RunError as `evaluations_of`."""
    environment = saved.manifest["environment"]
    task = markdown(config.task or config.suite)
    results = "".join(map(_result, evaluations))
    pairs = sorted((str(name), str(version)) for name, version in environment.items())
    versions = markdown(", ".join(f"{name} {version}" for name, version in pairs))
    program = next((name for kind, name in _PROGRAMS if isinstance(config, kind)), "train.rl2")
    commit = markdown(str(saved.manifest.get("git_commit") or "unknown"))
    return f"""---
library_name: strata-rl
license: mit
tags: [reinforcement-learning, meta-reinforcement-learning, metaworld, strata]
---

# Strata: {task}, arm {markdown(config.arm)}

A meta-reinforcement-learning policy for Meta-World, trained for {saved.step:,} environment steps
with seed {config.seed}. It holds what acts and nothing that learns: safetensors and JSON, no
code.

    python -m eval.evaluate FOLDER
    python -m eval.watch FOLDER

{"## Measured" if results else "It was not evaluated before it was shared."}
{results}
## How it was made

`config.json` is the whole configuration: `python -m {program} --config config.json --run NEW`
trains it again. Saved with {versions};
Strata's commit: {commit}.
"""


_PROGRAMS = ((MamlConfig, "train.maml"), (StreamConfig, "train.continual"))


@dataclass(frozen=True)
class _Shown:
    """What the card shows of one kind of evaluation.

    Attributes:
        check: raises RunError where it is no sound result.
        goals: of which there are so many.
        measure: whose first and last value are shown.
        points: what these two are called.
        curve: that measure, from the summary of a policy.
        index: a single measure beside it, by its key in the summary; None: there is none.
    """

    check: Callable[[Field], object]
    goals: str
    measure: str
    points: tuple[str, str]
    curve: Callable[[Mapping[str, Any]], Sequence[list[float | None]]]
    index: str | None = None


_SHOWN = {
    SUITE_KIND: _Shown(
        checked_evaluation,
        "goals of each task",
        "success, mean over tasks",
        ("first episode", "last episode"),
        lambda summary: summary["mean"]["success"],
    ),
    FORK_KIND: _Shown(
        checked_fork,
        "trials of each scene",
        "success, mean over trials",
        ("first episode", "last episode"),
        lambda summary: summary["success"],
        "memory_index",
    ),
    RECALL_KIND: _Shown(
        checked_recall,
        "lifetimes",
        "first attempts right, mean over contexts",
        ("first exposure", "last exposure"),
        lambda summary: summary["first"],
        "recall_index",
    ),
}


def _result(found: Field) -> str:
    """One evaluation: its measure at the first and the last point, with intervals.

    Raises:
        RunError: it is no sound result.
    """
    shown = _SHOWN.get(found["kind"].text(), _SHOWN[SUITE_KIND])
    shown.check(found)
    how, suite = found["settings"], found["suite"]
    name, split = (markdown(suite[part].text()) for part in ("name", "split"))
    index = f" {shown.index.replace('_', ' ')} |" if shown.index else ""
    lines = [
        f"\n{name} {split}, {how['goals'].whole()} {shown.goals}, {how['episodes'].whole()} "
        f"episodes of {how['horizon'].whole()} steps; {shown.measure}:\n",
        f"| policy | {' | '.join(shown.points)} |{index}",
        "|---|---|---|" + ("---|" if index else ""),
    ]
    for policy, values in found.value["policies"].items():
        curve = shown.curve(values["summary"])
        row = f"| {markdown(policy)} | {_rate(curve[0])} | {_rate(curve[-1])} |"
        lines.append(row + (f" {_index(values['summary'][shown.index])} |" if shown.index else ""))
    return "\n".join(lines) + "\n"


def _rate(interval: list[float | None]) -> str:
    value, low, high = ("?" if n is None else f"{100 * n:.0f}" for n in interval)
    return f"{value}% [{low}, {high}]"


def _index(interval: list[float | None]) -> str:
    value, low, high = ("?" if n is None else f"{n:.2f}" for n in interval)
    return f"{value} [{low}, {high}]"


def hub_api(repo: str) -> Any:
    """The hub's interface, for `repo`. Raises InputError without package, such a name or token."""
    try:
        import huggingface_hub as hub
        from huggingface_hub.utils import validate_repo_id
    except ImportError as error:
        raise InputError(["--repo needs a package: pip install -e '.[hub]'"]) from error
    try:
        validate_repo_id(repo)
    except ValueError as error:
        raise InputError([f"--repo {repo}: {error}"]) from error
    if hub.get_token() is None:
        raise InputError(["--repo needs a token: type hf auth login, or set HF_TOKEN"])
    return hub.HfApi()


def upload(api: Any, folder: Path, repo: str, *, private: bool) -> str:
    """Upload `folder` to the hub by its interface `api`; the address. Raises UploadError."""
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Shared by Strata")
    except Exception as error:  # of the hub or of any layer of the network below it
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UploadError(f"{repo} was not uploaded: {what}") from error
    return str(address)


class UploadError(Exception):
    """The hub did not take the policy."""


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Export, and upload where that is asked for. Returns the exit code."""
    settings = read(Settings, sys.argv[1:] if argv is None else argv, "eval.share")
    if problems := settings.problems() + imported_core(settings.core):
        raise InputError(problems)
    api = None if settings.repo is None else hub_api(settings.repo)  # before anything is written
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = export(settings.source, settings.out or Path(temporary) / "policy")
            if settings.out is not None:
                print(f"written: {folder}\ntry it:  {command('eval.evaluate', folder)}")
            if settings.repo is not None:
                print(f"uploaded: {upload(api, folder, settings.repo, private=settings.private)}")
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        return INTERRUPTED
    except (CheckpointError, OSError, UploadError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    interrupt_on_signals()  # leave nothing half written
    sys.exit(main())
