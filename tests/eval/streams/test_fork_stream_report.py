"""Runs of a stream of FORK trials beside each other: tables, page and refusals."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from eval import continual, report
from train.run.config import write_config
from train.run.recipes import recipe
from train.run.retention_log import Evaluation, Record
from train.run.stream_config import StreamConfig

PARTS, TRIALS, ATTEMPTS = ("window", "faucet"), 8, 4


def write_run(
    folder: Path, arm: str, seed: int, keeps: float, *, reservoir: int = 192, cheat: bool = False
) -> Path:
    """Bayes' own on the part of the moment; on the other a share `keeps` of the trials."""
    config = recipe(StreamConfig, "STREAM-FORK")
    config = dataclasses.replace(
        config, tasks=PARTS, phase_steps=20_000, arm=arm, seed=seed, run=folder, eval_goals=TRIALS,
        memory=dataclasses.replace(config.memory, reservoir=reservoir),
    ).resolved(2)  # fmt: skip
    folder.mkdir(parents=True)
    write_config(config)
    stream, rng = config.stream(), np.random.default_rng(seed)
    record = Record.open(config, stream, 1000)
    targets = np.tile(np.arange(TRIALS) % 2, (2, 1))[..., None].repeat(ATTEMPTS, axis=2)
    rows = []
    for step in range(0, stream.total_steps + 1, stream.per_iteration):
        phase = stream.phase_at(max(step - 1, 0))
        choices = targets.copy()
        if not cheat:
            choices[..., 0] = 0
        choices[1 - PARTS.index(phase.task), round(keeps * TRIALS) :] = -1
        right, blank = choices == targets, np.zeros(choices.shape)
        when = "untrained" if not step else "end" if step == phase.end else "middle"
        told = np.ones((2, TRIALS), bool)
        if record.due(step):
            record.add(
                Evaluation(step, when, phase.number + 1 if step else 0, right, right, blank, 0,
                           blank, blank, choices, targets, told)
            )  # fmt: skip
        if step:
            noisy = float(np.clip(0.9 + rng.normal(0, 0.05), 0, 1))
            rows.append({"step": step, "train/success": noisy, "train/success_by_episode/2": noisy})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def runs(tmp_path) -> list[str]:
    made = [
        write_run(tmp_path / f"{arm}-{seed}", arm, seed, keeps)
        for arm, keeps in (("short", 0.25), ("hierarchical", 0.75))
        for seed in (1, 2)
    ]
    made.append(write_run(tmp_path / "small", "short+replay", 1, 0.5, reservoir=8))
    return list(map(str, made))


def test_the_report_tells_what_was_forgotten_and_that_nothing_leaks(runs, tmp_path) -> None:
    assert report.main([*runs, "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.md").read_text()
    assert "short+replay (reservoir 8)" in page
    assert "| committed forgotten" in page
    assert "An old trial in the reservoir takes" in page
    found = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert not any(check["leaks"] for check in found["first_attempts"].values())
    committed = found["metrics"]["committed forgotten"]
    assert committed["short"]["interval"][0] == pytest.approx(0.75 / 2)
    assert committed["hierarchical"]["interval"][0] == pytest.approx(0.25 / 2)
    assert found["metrics"]["finding out"]["short"]["interval"][0] == 1
    index = next(c for c in found["contrasts"] if c["metric"] == "memory index")
    assert index["contrast"] == ["hierarchical", "short"]
    assert index["difference"]["interval"][0] == pytest.approx(0.5)


def test_extinction_probes_stand_in_the_report(tmp_path) -> None:
    run = write_run(tmp_path / "a", "cascade", 1, 1.0)
    measures = {"tau": 0.7, "tau_past": 0.4, "past": 2.5, "chance_past": 1.3, "touched": 7.0}
    probe = {"kind": "strata extinction", "checkpoint": {"step": 9}, "levels": {"3": measures}}
    (run / "results" / "extinction-9.json").write_text(json.dumps(probe))
    assert report.main([str(run), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| cascade | θ3" in page
    assert "2.50" in page


def test_a_leak_is_told(tmp_path, capsys) -> None:
    run = write_run(tmp_path / "leaky", "short", 1, 1.0, cheat=True)
    assert continual.main([str(run)]) == 0
    printed = capsys.readouterr().out
    assert "YES" in printed
    assert "finding out forgotten" in printed


def test_choices_that_cannot_be_are_refused(tmp_path, capsys) -> None:
    run = write_run(tmp_path / "short-1", "short", 1, 1.0)
    path = run / "results" / "retention.json"
    record = json.loads(path.read_bytes())
    record["evaluations"][0]["choices"][0][0][0] = 2
    path.write_text(json.dumps(record))
    with pytest.raises(SystemExit) as stopped:
        continual.main([str(run)])
    assert stopped.value.code == 2
    assert "choices" in capsys.readouterr().err
