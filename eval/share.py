"""Share a trained policy: ``python -m eval.share RUN --out FOLDER``, or ``--repo user/name``.

    python -m eval.share runs/ML10-short-seed1 --out shared/ml10     a folder to copy anywhere
    python -m eval.share runs/ML10-short-seed1 --repo me/ml10        to the Hugging Face hub

The folder holds the policy alone (safetensors and JSON), the run's evaluations and a model card;
eval.evaluate and eval.watch take it as they take a run. Uploading needs pip install -e '.[hub]' and
a token (`hf auth login`, or HF_TOKEN). Exit codes: 0 done, 1 failed, 2 bad input (nothing written).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from train.run import checkpoint
from train.run.checkpoint import Checkpoint, CheckpointError
from train.run.command_line import read
from train.run.input_error import InputError, exits_on_bad_input
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
        if self.out is not None and self.out.exists():
            found.append(f"--out {self.out} is there already: name a new folder")
        if self.repo is not None and self.repo.count("/") != 1:
            found.append(f"--repo {self.repo}: write user/name")
        return found


def export(source: Path, out: Path) -> Path:
    """Write the policy of a run into the new folder `out`, with a model card.

    Raises:
        InputError: there is no usable checkpoint.
        CheckpointError, OSError: it cannot be written.
    """
    try:
        saved = checkpoint.load(source)
        load_agent(saved)
    except CheckpointError as error:
        raise InputError([str(error)]) from error
    out.mkdir(parents=True)
    state = {name: saved.state[name] for name in ("steps", "iteration") if name in saved.state}
    checkpoint.save(
        out / "checkpoints",
        saved.step,
        tensors={"agent": saved.tensors["agent"]},
        state=state,
        config=saved.config,
    )
    replace_file(out / "config.json", to_json(saved.config, "config"))
    evaluations = evaluations_of(saved)
    if evaluations:
        (out / "results").mkdir()
    for path in evaluations:
        shutil.copyfile(path, out / "results" / path.name)
    replace_file(out / "README.md", card(saved, evaluations).encode())
    return out


def evaluations_of(saved: Checkpoint) -> list[Path]:
    """Results of `eval.evaluate` of this very checkpoint, in the run's folder."""
    folder = saved.path.parent.parent / "results"
    return sorted(folder.glob(f"eval-*-{saved.step:012d}*.json"))


def card(saved: Checkpoint, evaluations: list[Path]) -> str:
    """The model card, Markdown with the hub's header."""
    config, environment = saved.config, saved.manifest["environment"]
    task = config.get("task") or config["suite"]
    results = "".join(_result(json.loads(path.read_bytes())) for path in evaluations)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(environment.items()))
    return f"""---
library_name: strata-rl
license: mit
tags: [reinforcement-learning, meta-reinforcement-learning, metaworld, strata]
---

# Strata: {task}, arm {config["arm"]}

A meta-reinforcement-learning policy for Meta-World, trained for {saved.step:,} environment steps
with seed {config["seed"]}. It holds what acts and nothing that learns: safetensors and JSON, no
code.

    python -m eval.evaluate FOLDER
    python -m eval.watch FOLDER

{"## Measured" if results else "It was not evaluated before it was shared."}
{results}
## How it was made

`config.json` is the whole configuration: `python -m train.rl2 --config config.json --run NEW`
trains it again (`train.continual` for a stream). Saved with {versions};
Strata's commit: {saved.manifest["git_commit"] or "unknown"}.
"""


def _result(record: dict[str, Any]) -> str:
    """One evaluation: any-step success in the first and the last episode, with intervals."""
    how, suite = record["settings"], record["suite"]
    lines = [
        f"\n{suite['name']} {suite['split']}, {how['goals']} goals of each task, "
        f"{how['episodes']} episodes of {how['horizon']} steps; any-step success, mean over "
        "tasks:\n",
        "| policy | first episode | last episode |",
        "|---|---|---|",
    ]
    for name, values in record["policies"].items():
        curve = values["summary"]["mean"]["success"]
        lines.append(f"| {name} | {_rate(curve[0])} | {_rate(curve[-1])} |")
    return "\n".join(lines) + "\n"


def _rate(interval: list[float | None]) -> str:
    value, low, high = ("?" if n is None else f"{100 * n:.0f}" for n in interval)
    return f"{value}% [{low}, {high}]"


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
                print(f"written: {folder}\ntry it:  python -m eval.evaluate {folder}")
            if settings.repo is not None:
                print(f"uploaded: {upload(folder, settings.repo, private=settings.private)}")
    except (CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
