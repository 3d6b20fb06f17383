"""Arms, levels and algorithms from a user's own file: found by name, imported only if typed."""

import sys
from pathlib import Path

import metaworld
import numpy as np
import pytest
import torch

from tests.train.test_resume import TINY as SMALL
from tests.train.test_resume import lines
from train import rl2
from train.algorithms.learner import Learner
from train.algorithms.rollout import Rollout
from train.registry import Registry
from train.run import checkpoint
from train.run.state import load_agent

TINY = [*SMALL, "--total-steps", "60", "--workers", "1"]
MINE = """
import torch
from train.long_term.arms import Arm
from train.long_term.level import Level

class Count(Level):
    seen = 0
    def consolidate(self, view):
        self.seen += len(view.recall)
        return {"seen": float(self.seen)}
    def tensors(self):
        return {"count.seen": torch.tensor([self.seen])}
    def restore(self, tensors, state):
        self.seen = int(tensors["count.seen"])

COUNTING = Arm(levels=(lambda setting: Count(),))

from train.algorithms.ppo import make_ppo

def nothing(config, suite): ...

class Still:
    def __init__(self, config, suite):
        self.agent = make_ppo(config, suite).agent
        self.calls = torch.zeros(1)
    def policy(self):
        from train.collect import acting_policy
        return acting_policy(self.agent)
    def collect(self, run, trials):
        return run(self.policy(), trials)
    def set_progress(self, fraction): ...
    def update(self, rollout, rng, long_term=None):
        self.calls += 1
        return {"loss": 0.0, "calls": float(self.calls)}
    def observe(self, rollout): ...
    def tensors(self):
        return {"agent": self.agent.state_dict(), "calls": {"calls": self.calls}}
    def restore(self, tensors):
        self.agent.load_state_dict(tensors["agent"])
        self.calls.copy_(tensors["calls"]["calls"])
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working folder that nobody has imported."""
    name = f"mine_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.setattr(metaworld, "_N_GOALS", 6)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_an_arm_and_its_level_from_a_users_file(mine: str) -> None:
    """Trained, resumed and loaded for evaluation, which does not import the file."""
    arm = f"{mine}:COUNTING"
    assert rl2.main([*TINY, "--arm", arm, "--run", "own"]) == 0
    seen = [line["memory/seen"] for line in lines("own")]
    assert seen == [seen[0] * (i + 1) for i in range(len(seen))]
    saved = checkpoint.load(Path("own"))
    assert saved.tensors["long_term"]["count.seen"].tolist() == [seen[-1]]
    assert load_agent(saved)[1].label == "COUNTING"


def test_an_algorithm_from_a_users_file(mine: str) -> None:
    """The loop, the rollback and checkpoints ask no more of it than the contract."""
    assert rl2.main([*TINY, "--algorithm", f"{mine}:Still", "--run", "own"]) == 0
    calls = [line["ppo/calls"] for line in lines("own")]
    assert calls == [i + 1 for i in range(len(calls))]
    assert checkpoint.load(Path("own")).tensors["calls"]["calls"].tolist() == [calls[-1]]


def test_an_algorithm_that_makes_no_learner_is_told(mine: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        rl2.main([*TINY, "--algorithm", f"{mine}:nothing", "--run", "never"])
    assert stopped.value.code == 2
    assert f"--algorithm {mine}:nothing makes a NoneType" in capsys.readouterr().err
    assert not Path("never").exists()


def test_a_checkpoint_imports_nothing(mine: str, monkeypatch, capsys) -> None:
    """A name in a file is data; the message says what to type."""
    arm = f"{mine}:COUNTING"
    assert rl2.main([*TINY, "--arm", arm, "--run", "own"]) == 0
    del sys.modules[mine]
    monkeypatch.setattr("train.long_term.arms.ARM_REGISTRY._imported", {})
    with pytest.raises(SystemExit) as stopped:
        rl2.main(["--resume", "own", "--total-steps", "1000000"])
    assert stopped.value.code == 2
    assert f"say --arm {arm} to allow its import" in capsys.readouterr().err
    assert mine not in sys.modules


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--arm", "nowhere:X"], "cannot import X from nowhere"),
        (["--arm=math:pi"], "it must be a train.long_term.arms.Arm"),
        (["--arm", "shrot"], "choose none, short"),
        (["--arm", "ewc"], "use python -m train.continual"),
        (["--algorithm", "dqn"], "choose maml, ppo"),
    ],
)
def test_a_wrong_name_is_told_and_writes_nothing(typed, says, capsys, tmp_path) -> None:
    with pytest.raises(SystemExit) as stopped:
        rl2.main([*TINY, *typed, "--run", str(tmp_path / "never")])
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "never").exists()


def test_other_flags_import_nothing(mine: str) -> None:
    parts = Registry("--arm", {"one": 1}, fits=lambda found: True, must_be="anything")
    assert parts.import_typed(["--run", f"{mine}:COUNTING", "--arm", "one", "--armada=x:y"]) == []
    assert mine not in sys.modules
    assert parts.find("one") == 1


def test_groups_of_trials_may_have_weights_of_their_own(make_learner, act) -> None:
    """What an algorithm that adapts to each task does: one policy a group, one rollout in all."""
    learner = make_learner()
    assert isinstance(learner, Learner)
    first, second = act(learner.agent, seed=1), act(learner.agent, seed=2)
    whole = Rollout.join([first, second])
    assert whole.steps == first.steps
    assert torch.equal(whole.inputs[:, :6], first.inputs)
    assert torch.equal(whole.inputs[:, 6:], second.inputs)
    assert whole.recall is not None
    assert len(whole.recall) == len(whole.task_ids) == 12
    assert learner.update(whole, np.random.default_rng(0))["acting_error"] < 1e-4
