"""Python calls give values and typed errors; they never end the process."""

from pathlib import Path

import numpy as np
import pytest

from envs.viewing.gl import GLError, backend
from eval import api
from eval.api import evaluate, watch
from train.run.input_error import InputError

SMALL = {"goals": 2, "episodes": 2, "horizon": 10, "workers": 1}


class Still:
    def begin(self, trials: int) -> None:
        self.trials = trials

    def act(self, observations: np.ndarray) -> np.ndarray:
        return np.zeros((self.trials, 4))


def test_evaluation_gives_outcomes_and_writes_nothing(run: Path) -> None:
    before = sorted(run.rglob("*"))
    found = evaluate(run, preset="quick", repeating=False, **SMALL)
    assert list(found.policies) == ["stochastic"]
    assert found.policies["stochastic"].outcomes.success.shape == (1, 2, 2)
    assert found.checkpoint.step == 1000
    assert sorted(run.rglob("*")) == before


def test_an_agent_of_ones_own() -> None:
    found = evaluate(
        Still(), preset="quick", suite="ML1", task="reach-v3", random=False, scripted=False, **SMALL
    )
    assert list(found.policies) == ["Still"]
    assert found.policies["Still"].outcomes.returns.shape == (1, 2, 2)


def test_errors_are_typed_and_list_every_problem(
    run: Path, tmp_path: Path, no_need_to_draw
) -> None:
    with pytest.raises(InputError) as raised:
        evaluate(str(run), goals=0, horizon=501)
    assert len(raised.value.problems) == 2
    with pytest.raises(InputError, match="no checkpoint"):
        evaluate(tmp_path / "absent")
    with pytest.raises(InputError, match="there is no option goal "):
        evaluate(run, goal=3)
    with pytest.raises(InputError, match="none of full, quick"):
        evaluate(run, preset="fast")
    with pytest.raises(InputError, match="did you mean reach-v3"):
        watch(run, task=("rech-v3",))
    assert not list(tmp_path.iterdir())


def test_fork_is_watched_as_its_attempts_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(api, "prepare", lambda settings: seen.append(settings) or 1 / 0)
    root = Path(__file__).resolve().parents[2]
    for options in ({}, {"episodes": 3}):
        with pytest.raises(ZeroDivisionError):
            watch(root / "results/fork-reach-2/short/seed1", **options)
    assert [(s.episodes, s.horizon) for s in seen] == [(4, 50), (3, 50)]


def test_watching_gives_the_files(run: Path) -> None:
    try:
        backend()
    except GLError as error:
        pytest.skip(str(error))
    options = {"goals": 1, "episodes": 1, "horizon": 20, "every": 10, "size": 96}
    (film,) = watch(run, **options)
    assert film.suffix == ".mp4"
    assert film.stat().st_size
