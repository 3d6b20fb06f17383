"""The shipped results: small, readable, and each path that the documents name."""

import json
import re
from pathlib import Path

import pytest

from eval.reporting.runs import load_run
from train.run import checkpoint
from train.run.state import load_agent
from train.run.stream_config import read_config

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
CONFIGS = sorted(RESULTS.glob("*/*/seed*/config.json"))
CHECKPOINTS = sorted(path.parent for path in RESULTS.rglob("MANIFEST.json"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED = re.compile(r"results/[\w~+.,/-]*[\w~+]")


def test_results_are_small() -> None:
    assert sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file()) <= 10e6


def test_every_run_lies_where_the_layout_says() -> None:
    assert {path.parent for path in CONFIGS} == {
        path.parent for path in RESULTS.rglob("config.json") if "checkpoints" not in path.parts
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.parent.relative_to(RESULTS)))
def test_a_run_is_read(path: Path) -> None:
    run = load_run(path.parent)
    assert f"seed{run.seed}" == path.parent.name
    assert path.parent.parent.name.partition("~")[0] == run.arm


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: str(path.relative_to(RESULTS)))
def test_a_checkpoint_holds_the_policy_only_and_loads(path: Path) -> None:
    saved = checkpoint.load(path)
    assert saved.policy_only
    agent, config = load_agent(saved)
    assert sum(weight.numel() for weight in agent.parameters()) > 10_000
    run = read_config(json.loads((path.parents[1] / "config.json").read_text()))
    assert (config.seed, config.arm) == (run.seed, run.arm)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_results_that_a_page_names_are_there(page: Path) -> None:
    missing = [
        name
        for name in NAMED.findall(page.read_text())
        if (RESULTS / name.removeprefix("results/").split("/")[0]).is_dir()
        and not (ROOT / name).exists()
    ]
    assert not missing
