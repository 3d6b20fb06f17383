"""What a run is at one moment: which checkpoint is best, and how the next trials begin."""

from pathlib import Path

import pytest

from envs.metaworld.suites import Suite
from train import loop
from train.run import checkpoint
from train.run.config import Config
from train.run.log import RunLog
from train.run.state import TrainState, initialise


class NoLog(RunLog):
    def __init__(self) -> None: ...

    def sync(self) -> None: ...


@pytest.fixture
def learner(tmp_path: Path) -> tuple[Config, TrainState]:
    goals = {"reach-v3": tuple((0.01 * i, 0.6, 0.02, 0.1, 0.8, 0.1) for i in range(3))}
    config = Config(suite="ML1", task="reach-v3", run=tmp_path / "mine", keep=1)
    return config, initialise(config, Suite("ML1", 1, goals, goals))


def test_the_best_checkpoint_survives_a_resume(learner) -> None:
    """What was best before the interruption is not forgotten for something worse after it."""
    config, state = learner
    folder = config.run_folder / "checkpoints"
    for steps, success in ((10, 0.2), (20, 0.5), (30, 0.4)):
        state.steps, state.success = steps, success
        loop.save(config, state, NoLog())
    assert checkpoint.best(folder) == (folder / f"{20:012d}", 0.5)
    state.best = state.success = None
    state.restore(checkpoint.load(config.run_folder))
    assert (state.best, state.success, state.steps) == (0.5, 0.4, 30)
    state.steps, state.success = 40, 0.45
    loop.save(config, state, NoLog())
    assert checkpoint.best(folder) == (folder / f"{20:012d}", 0.5)
    assert checkpoint.load(folder / f"{20:012d}").step == 20  # kept though keep = 1
    assert not (folder / f"{30:012d}").exists()


def test_a_failed_save_is_told_and_the_best_stays(learner, monkeypatch) -> None:
    """Training goes on; what could not be written was never best."""
    config, state = learner
    folder = config.run_folder / "checkpoints"
    state.steps, state.success = 10, 0.2
    loop.save(config, state, NoLog())

    def full(*_: object, **__: object) -> None:
        raise checkpoint.CheckpointError("no space left")

    state.steps, state.success = 20, 0.9
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        with pytest.warns(UserWarning, match="NOT SAVED: no space left"):
            loop.save(config, state, NoLog())
    assert checkpoint.best(folder) == (folder / f"{10:012d}", 0.2)
    loop.save(config, state, NoLog())
    assert checkpoint.best(folder) == (folder / f"{20:012d}", 0.9)


def test_success_is_smoothed_and_nan_left_out(learner) -> None:
    _, state = learner
    for value in (float("nan"), 0.5, 1.0, float("nan")):
        state.note_success(value, 0.1)
    assert state.success == pytest.approx(0.55)
