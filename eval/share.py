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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from eval.goals.config import nearest_folder
from eval.memory_tests.fork_results import KIND as FORK_KIND
from eval.reporting.runs import checked_evaluation, checked_fork
from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.command_line import read
from train.run.config import Config
from train.run.console import forgiving_console
from train.run.input_error import InputError, exits_on_bad_input
from train.run.origin import command
from train.run.printable import markdown
from train.run.run_files import RESULT_LIMIT, Field, RunError, read_object
from train.run.signals import INTERRUPTED, interrupt_on_signals
from train.run.state import load_agent
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
    state = {name: saved.state[name] for name in ("steps", "iteration") if name in saved.state}
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
    """Results of `eval.evaluate` of this very checkpoint, in the run's folder.

    Raises:
        RunError: one is no sound result; the message names file and field.
    """
    folder = saved.path.parent.parent / "results"
    paths = sorted(folder.glob(f"eval-*-{saved.step:012d}*.json"))
    return [read_object(path, RESULT_LIMIT) for path in paths]


def card(saved: Checkpoint, config: Config, evaluations: Sequence[Field]) -> str:
    """The model card, Markdown with the hub's header. Raises RunError as `evaluations_of`."""
    environment = saved.manifest["environment"]
    task = markdown(config.task or config.suite)
    results = "".join(map(_result, evaluations))
    pairs = sorted((str(name), str(version)) for name, version in environment.items())
    versions = markdown(", ".join(f"{name} {version}" for name, version in pairs))
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

`config.json` is the whole configuration: `python -m train.rl2 --config config.json --run NEW`
trains it again (`train.continual` for a stream). Saved with {versions};
Strata's commit: {commit}.
"""


def _result(found: Field) -> str:
    """One evaluation: success in the first and the last episode, with intervals.

    Raises:
        RunError: it is no sound result.
    """
    fork = found["kind"].value == FORK_KIND
    (checked_fork if fork else checked_evaluation)(found)
    how, suite = found["settings"], found["suite"]
    name, split = (markdown(suite[part].text()) for part in ("name", "split"))
    each, among = ("trials of each scene", "trials") if fork else ("goals of each task", "tasks")
    lines = [
        f"\n{name} {split}, {how['goals'].whole()} {each}, {how['episodes'].whole()} episodes of "
        f"{how['horizon'].whole()} steps; success, mean over {among}:\n",
        "| policy | first episode | last episode |" + (" memory index |" if fork else ""),
        "|---|---|---|" + ("---|" if fork else ""),
    ]
    for policy, values in found.value["policies"].items():
        summary = values["summary"]
        curve = summary["success"] if fork else summary["mean"]["success"]
        row = f"| {markdown(policy)} | {_rate(curve[0])} | {_rate(curve[-1])} |"
        lines.append(row + (f" {_index(summary['memory_index'])} |" if fork else ""))
    return "\n".join(lines) + "\n"


def _rate(interval: list[float | None]) -> str:
    value, low, high = ("?" if n is None else f"{100 * n:.0f}" for n in interval)
    return f"{value}% [{low}, {high}]"


def _index(interval: list[float | None]) -> str:
    value, low, high = ("?" if n is None else f"{n:.2f}" for n in interval)
    return f"{value} [{low}, {high}]"


def upload(folder: Path, repo: str, *, private: bool) -> str:
    """Upload `folder` to the hub; the address. Raises InputError without package or token."""
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise InputError(["--repo needs a package: pip install -e '.[hub]'"]) from error
    if hub.get_token() is None:
        raise InputError(["--repo needs a token: type hf auth login, or set HF_TOKEN"])
    api = hub.HfApi()
    address = api.create_repo(repo, private=private, exist_ok=True)
    api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Shared by Strata")
    return str(address)


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Export, and upload where that is asked for. Returns the exit code."""
    settings = read(Settings, sys.argv[1:] if argv is None else argv, "eval.share")
    if problems := settings.problems():
        raise InputError(problems)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = export(settings.source, settings.out or Path(temporary) / "policy")
            if settings.out is not None:
                print(f"written: {folder}\ntry it:  {command('eval.evaluate', folder)}")
            if settings.repo is not None:
                print(f"uploaded: {upload(folder, settings.repo, private=settings.private)}")
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        return INTERRUPTED
    except (CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    interrupt_on_signals()  # leave nothing half written
    sys.exit(main())
