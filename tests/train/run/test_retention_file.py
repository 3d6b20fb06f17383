"""The record of a stream that is resumed: told with file and field, before anything is written."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.eval.made_up_runs import write_stream_run
from train.learners.ranks import Ranks
from train.run.checkpoint import Checkpoint
from train.run.origin import Origin
from train.run.retention_file import earlier_evaluations
from train.run.run_files import RESULT_LIMIT, RunError
from train.run.stream_config import StreamConfig


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StreamConfig]:
    folder = tmp_path_factory.mktemp("streams") / "run"
    return folder, write_stream_run(folder, cycles=1, complete=False)


def origin(home: Path, step: int) -> Origin:
    return Origin(Checkpoint(home / "checkpoints", step, {}, {}, {}, {}), home)


def edit(change: Callable[[Any], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return make


def point(**fields: Any) -> Callable[[Path], None]:
    return edit(lambda values: values["evaluations"][1].update(fields))


def giant(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(RESULT_LIMIT + 1)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


FORGERIES: list[tuple[Callable[[Path], None], str]] = [
    (pipe, "is not a plain file"),
    (endless, "cannot be read"),
    (giant, f"has {RESULT_LIMIT + 1} bytes, more than {RESULT_LIMIT}"),
    (lambda path: path.write_text("[" * 100_000), "is no JSON object"),
    (edit(lambda values: values.update(evaluations=5)), "evaluations must be a list"),
    (edit(lambda values: values["stream"].update(cycles=7)), "must be the stream of its run's"),
    (edit(lambda values: values["evaluations"][1].pop("returns")), "evaluations.1.returns is miss"),
    (point(step="40000"), "evaluations.1.step must be a whole number"),
    (point(step=7), "evaluations.1.step must be a step at which the stream is evaluated"),
    (point(step=0), "evaluations.1.step must be a whole number from 1"),
    (point(when="\x1b[2J"), "evaluations.1.when must be untrained, middle or end"),
    (point(phase=10**9), "evaluations.1.phase must be a whole number from 0 to 3"),
    (point(faulted=-1), "evaluations.1.faulted must be"),
    (point(returns=[[[float("1e300")]]]), "evaluations.1.returns must be 3 × 4 × 3 numbers"),
    (point(success=[[[0.5] * 3] * 4] * 3), "evaluations.1.success must be 0 or 1"),
    (point(x=1), "evaluations.1.x must be left out"),
]


@pytest.mark.parametrize(("forge", "says"), FORGERIES, ids=[says for _, says in FORGERIES])
def test_a_forged_record_is_told(stream, tmp_path: Path, forge, says: str) -> None:
    folder, config = stream
    home = Path(shutil.copytree(folder, tmp_path / "run"))
    path = home / "results" / "retention.json"
    forge(path)
    with pytest.raises(RunError) as raised:
        earlier_evaluations(origin(home, config.total_steps or 0), config)
    assert says in str(raised.value)
    assert str(path) in str(raised.value)


def test_what_lies_beyond_the_checkpoint_is_dropped(stream) -> None:
    folder, config = stream
    whole = earlier_evaluations(origin(folder, (config.total_steps or 0) - 1), config)
    some = earlier_evaluations(origin(folder, whole[2].step), config)
    assert len(whole) > 3
    assert [e.step for e in some] == [e.step for e in whole[:3]]
    assert (some[1].success == whole[1].success).all()


def test_a_new_run_has_recorded_nothing(stream) -> None:
    assert earlier_evaluations(Origin(), stream[1]) == []


def test_a_lost_record_is_told(tmp_path: Path, stream) -> None:
    """A resumed run went on without its evaluations and said nothing; no report takes it then."""
    folder, config = stream
    with pytest.raises(RunError, match=r"retention\.json is missing, with all evaluations so far"):
        earlier_evaluations(origin(tmp_path, 0), config)
    home = Path(shutil.copytree(folder, tmp_path / "run"))
    edit(lambda values: values["evaluations"].pop(1))(home / "results" / "retention.json")
    with pytest.raises(RunError, match="evaluations lacks the one at step 39936"):
        earlier_evaluations(origin(home, 80_000), config)
    alone = Origin(origin(tmp_path, 80_000).saved)
    with pytest.warns(UserWarning, match="comes without the 2 evaluations before it"):
        assert earlier_evaluations(alone, config) == []


def test_a_second_learner_misses_no_record(tmp_path: Path, stream, recwarn) -> None:
    """The first one keeps it; each of the others warned that its run comes without it."""
    other = Origin(origin(tmp_path, 80_000).saved, ranks=Ranks())
    assert earlier_evaluations(other, stream[1]) == []
    assert not recwarn.list
