"""A shared policy is a folder that evaluates as the run does, and holds nothing else."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from envs.metaworld.suites import make_suite
from eval import evaluate, share
from eval.goals import config
from tests.eval.memory_tests.test_fork_report import write_fork_run
from train.run import checkpoint
from train.run.state import initialise
from train.run.stream_config import read_config

SMALL = ["--preset", "quick", "--no-repeating", "--workers", "1"]
SMALL += ["--goals", "2", "--episodes", "2", "--horizon", "10"]


def test_what_is_shared_measures_alike_and_cannot_be_trained_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = shutil.copytree(run, tmp_path / "mine")
    assert evaluate.main([str(mine), *SMALL]) == 0
    out = tmp_path / "new" / "shared"
    assert share.main([str(mine), "--out", str(out)]) == 0
    assert f"python -m eval.evaluate {out}" in capsys.readouterr().out
    shared = checkpoint.load(out)
    assert (shared.step, shared.policy_only) == (1000, True)
    card = (out / "README.md").read_text()
    assert "reach-v3, arm short" in card
    assert "| stochastic | 0% [" in card
    assert [path.suffix for path in (out / "results").iterdir()] == [".json"]
    settings = [config.parse([str(folder), *SMALL]) for folder in (mine, out)]
    ours, theirs = (evaluate.evaluate(s, config.load_subject(s)).policies for s in settings)
    assert theirs["stochastic"].outcomes.to_json() == ours["stochastic"].outcomes.to_json()


def test_bad_requests_write_nothing(run: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    for arguments, says in (
        ([str(run)], "say where to"),
        ([str(run), "--out", str(run)], "is there already"),
        ([str(run), "--repo", "ml10"], "write user/name"),
        ([str(tmp_path / "absent"), "--out", str(tmp_path / "x")], "no checkpoint"),
    ):
        with pytest.raises(SystemExit) as ended:
            share.main(arguments)
        assert ended.value.code == 2
        assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_on_fork_is_shared_with_its_memory_index(tmp_path: Path) -> None:
    """Its evaluations have other measures: sharing ended in a traceback, half done."""
    folder = tmp_path / "fork"
    write_fork_run(folder, 1, 0.9)
    config = read_config(json.loads((folder / "config.json").read_text()))
    state = initialise(config, make_suite("FORK-reach-2", train_goals=2))
    state.steps = 1000
    state.save(dataclasses.replace(config, run=folder))
    found = folder / "results" / "eval-test-1000.json"
    values = json.loads(found.read_text())
    values["settings"] |= {"episodes": 4, "horizon": 50}
    values["suite"] = {"name": "FORK-reach-2", "split": "test"}
    values["policies"]["\x1b[2J<b>|"] = values["policies"].pop("random")
    path = found.with_name("eval-test-000000001000.json")
    path.write_text(json.dumps(values))
    out = share.export(folder, tmp_path / "shared")
    card = (out / "README.md").read_text()
    assert "| agent | 50% [0, 100] | 95% [0, 100] | 0.90 [0.00, 1.00] |" in card
    assert "| \\x1b[2J&lt;b>\\| |" in card


@pytest.mark.parametrize("checkpoint", sorted(Path("results").glob("*/*/seed1/checkpoints")))
def test_every_agent_of_this_repository_can_be_shared(checkpoint: Path, tmp_path: Path) -> None:
    """RECALL's evaluations have measures of their own, and were refused."""
    out = share.export(checkpoint.parent, tmp_path / "shared")
    card = (out / "README.md").read_text()
    found = [path.name for path in (out / "results").glob("*.json")]
    assert card.count("| policy |") == len(found)
    if checkpoint.parts[1].startswith("recall"):
        assert "first exposure | last exposure | recall index |" in card


def test_a_name_that_no_repository_has_is_told(run: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(SystemExit) as ended:
        share.main([str(run), "--repo", "me/na me", "--out", str(tmp_path / "x")])
    assert ended.value.code == 2
    assert "--repo me/na me:" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_hub_that_cannot_be_reached_is_one_sentence(run: Path, tmp_path, monkeypatch, capsys):
    hub = pytest.importorskip("huggingface_hub")

    class Api:
        def create_repo(self, repo: str, **options: object) -> str:
            raise RuntimeError("no route\nto host")

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "get_token", lambda: "token")
    assert share.main([str(run), "--repo", "me/mine"]) == 1
    assert capsys.readouterr().err == "error: me/mine was not uploaded: no route\n"


def test_a_slow_policys_figures_are_not_the_shared_ones(run: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(run, tmp_path / "mine")
    source = sorted((mine / "results").glob("eval-*.json"))
    step = f"{checkpoint.load(mine).step:012d}"
    values = {"kind": "strata evaluation", "settings": {"level": 2}}
    (mine / "results").mkdir(exist_ok=True)
    (mine / "results" / f"eval-test-{step}-level2.json").write_text(json.dumps(values))
    out = share.export(mine, tmp_path / "shared")
    assert not (out / "results" / f"eval-test-{step}-level2.json").exists()
    assert "level2" not in [path.name for path in source]


def test_what_lies_beside_a_run_is_not_followed(run: Path, tmp_path: Path, capsys) -> None:
    """A link in a stranger's results would have been shared with what it points at."""
    mine = shutil.copytree(run, tmp_path / "mine")
    secret = tmp_path / "secret.json"
    secret.write_text('{"kind": "strata evaluation"}')
    path = mine / "results" / "eval-test-000000001000.json"
    path.parent.mkdir(exist_ok=True)
    for make in (lambda: path.symlink_to(secret), lambda: path.write_text("[" * 10**5)):
        make()
        with pytest.raises(SystemExit) as ended:
            share.main([str(mine), "--out", str(tmp_path / "shared")])
        assert ended.value.code == 2
        assert str(path) in capsys.readouterr().err
        assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "secret.json"]
        path.unlink()


def test_uploading_needs_a_token_and_takes_the_folder(run: Path, tmp_path, monkeypatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    class Api:
        def create_repo(self, repo: str, **options: object) -> str:
            asked.append((repo, options))
            return f"https://hub/{repo}"

        def upload_folder(self, *, repo_id: str, folder_path: Path, **_: object) -> None:
            asked.append((repo_id, sorted(path.name for path in folder_path.iterdir())))

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(SystemExit):
        share.main([str(run), "--repo", "me/ml1", "--out", str(tmp_path / "shared")])
    assert not asked
    assert not (tmp_path / "shared").exists()
    monkeypatch.setattr(hub, "get_token", lambda: "hf_x")
    assert share.main([str(run), "--repo", "me/ml1", "--private"]) == 0
    assert asked == [
        ("me/ml1", {"private": True, "exist_ok": True}),
        ("me/ml1", ["README.md", "checkpoints", "config.json"]),
    ]
