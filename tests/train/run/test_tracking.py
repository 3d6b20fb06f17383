"""What follows the log: TensorBoard with the configuration, trackers that may fail, docs."""

import dataclasses
import json
import re
import time
import warnings
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.train.test_train_api import TINY
from train.api import train
from train.run import log as log_module
from train.run.board import tag
from train.run.config import Config, write_config
from train.run.log import RunLog, read_metrics
from train.run.tracking import tracker_problems

ROOT = Path(__file__).resolve().parents[3]


def config_in(run: Path, **changes: object) -> None:
    run.mkdir(exist_ok=True)
    write_config(Config(suite="ML1", task="reach-v3", run=run, **changes))  # type: ignore[arg-type]


def test_tensorboard_has_success_first_and_the_configuration(tmp_path: Path) -> None:
    assert sorted(map(tag, ("ppo/kl", "test/success", "train/success", "log/x"))) == [
        "1_train/success", "2_test/success", "log/x", "ppo/kl",
    ]  # fmt: skip
    config_in(tmp_path)
    with RunLog(tmp_path, total_steps=10, console=False) as log:
        log.write(1, {"train/success": 0.5, "ppo/kl": 0.1}, {"steps_per_second": 9.0})
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(board.Tags()["scalars"]) == {
        "1_train/success", "ppo/kl", "timing/steps_per_second",
    }  # fmt: skip
    (text,) = board.Tensors("config/text_summary")
    assert '"task": "reach-v3"' in text.tensor_proto.string_val[0].decode()
    plugin = board.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"ppo.learning_rate" in plugin


def test_a_tracker_that_fails_does_not_stop_the_run(tmp_path: Path, monkeypatch) -> None:
    class Broken:
        def __init__(self, run: Path, config: dict) -> None:
            assert config["task"] == "reach-v3"

        def write(self, step: int, numbers: dict) -> None:
            raise RuntimeError("no such host")

    monkeypatch.setattr(log_module, "Wandb", Broken)
    config_in(tmp_path, track="wandb")
    with RunLog(tmp_path, total_steps=10, console=False) as log:
        with pytest.warns(UserWarning, match="tracking stops .no such host."):
            log.write(1, {"train/success": 0.5}, {})
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # once is enough
            log.write(2, {"train/success": 0.5}, {})
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]


def test_a_package_that_is_missing_is_named(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert tracker_problems("none") == []
    (problem,) = tracker_problems("wandb")
    assert "pip install -e '.[track]'" in problem


def test_wandb_offline(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    config_in(tmp_path, track="wandb")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="tracking stops")
        with RunLog(tmp_path, total_steps=10, console=False) as log:
            log.write(5, {"train/success": 0.25}, {"steps_per_second": 9.0})
    (record,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    until = time.monotonic() + 60  # its own process writes the file, when it likes
    while b"timing/steps_per_second" not in record.read_bytes() and time.monotonic() < until:
        time.sleep(0.05)
    assert b"train/success" in record.read_bytes()


def documented() -> list[re.Pattern]:
    """The names in docs/metrics.md: … stands for any rest, <task> and <n> for what they say."""
    cells = [
        line.split("|")[1]
        for line in (ROOT / "docs" / "metrics.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    names = [name for cell in cells for name in re.findall("`([^`]+)`", cell)]
    names = [re.escape(name).replace("…", ".*") for name in names]
    return [
        re.compile(re.sub("<task>|<part>", "[a-z0-9-]+", n).replace("<n>", "[0-9]+")) for n in names
    ]


def test_every_logged_name_is_documented(tmp_path: Path) -> None:
    """Names of all runs in results/, and of one that is trained here with all levels of memory."""
    logs = (ROOT / "results").rglob("metrics.jsonl")
    names = {name for log in logs for line in log.open() for name in json.loads(line)}
    config = dataclasses.replace(TINY, arm="hierarchical", run=tmp_path / "run")
    names |= {name for row in train(config).metrics for name in row}
    assert {"ppo/explained_variance", "ppo/pull_loss", "memory/trials"} <= names
    patterns = documented()
    assert [n for n in names - {"step"} if not any(p.fullmatch(n) for p in patterns)] == []
