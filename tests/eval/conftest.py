"""These tests run tiny networks: a second thread only waits for the first on a busy machine."""

from pathlib import Path

import pytest
import torch

from envs.metaworld.suites import make_suite
from eval.viewing import watch_config
from tests.lent import LentPool
from train.run.config import Config
from train.run.state import initialise

torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _lent(lent: None) -> None:
    """Programs run in this process share workers and goals."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has just begun."""
    folder = tmp_path_factory.mktemp("runs") / "reach"
    config = Config(suite="ML1", task="reach-v3", run=folder, train_goals=50).resolved(1)
    suite = make_suite("ML1", task="reach-v3", seed=config.seed)
    state = initialise(config, suite)
    state.steps = 1000
    state.save(config)
    return folder


@pytest.fixture(scope="module")
def pool():
    with LentPool(1) as pool:
        yield pool


@pytest.fixture
def no_need_to_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what comes before drawing: they run where nothing can be rendered, too."""
    monkeypatch.setattr(watch_config.gl, "backend", lambda: "egl")
