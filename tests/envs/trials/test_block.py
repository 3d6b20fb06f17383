"""A block steps its trials together; a fault in one of them is its own affair."""

import dataclasses

import numpy as np
import pytest

from envs.trials import block as block_module
from envs.trials.block import Block, Runners
from envs.trials.trial import Trial, TrialRunner, TrialStep
from tests.envs.toy_runner import ToyRunner

REACH = Trial("reach-v3", (0.0, 0.6, 0.02, 0.1, 0.8, 0.1), 3, "train", 2, 4, seed=5)
OTHER = dataclasses.replace(REACH, goal=(0.05, 0.65, 0.02, -0.1, 0.85, 0.2), goal_index=4, seed=6)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_module, "TrialRunner", ToyRunner)


def toy_block(*splits: str) -> Block:
    block = Block([dataclasses.replace(REACH, split=split) for split in splits], Runners())
    block.start()
    return block


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("kind", ["warning", "reward", "observation"])
def test_a_physics_fault_ends_its_trial_only(kind: str) -> None:
    """From the fault on the trial is flagged and holds only zeros; its neighbour goes on.

    MuJoCo's warning and any number that is not finite count alike.
    """
    block, seen = toy_block("sound", kind), []
    for t in range(REACH.steps):
        sound, faulty = block.step(np.zeros((2, 4)))
        assert sound is not None
        assert faulty is not None
        assert sound[:2] == (1.0, True)
        assert (block.inputs[0] == t + 1.5).all()
        assert np.isfinite(block.inputs).all()
        seen.append((faulty.reward, faulty.success, faulty.done, faulty.fault))
    first, standing = (1.0, True, False, False), (0.0, False, False, True)
    at_end = (0.0, False, True, True)
    assert seen == [first] * 3 + [at_end] + [standing] * 3 + [at_end]
    assert not block.inputs[1].any()
    assert block.faulted.tolist() == [False, True]
    [fault] = block.faults
    words = {"warning": "MuJoCo warned", "reward": "reward is nan", "observation": "input 3 is inf"}
    assert words[kind] in fault.pop("what")
    assert fault == {"task": "reach-v3", "goal": 3, "episode": 1, "step": 3}


@pytest.mark.usefixtures("toy")
def test_a_row_begins_again_after_a_fault() -> None:
    block = toy_block("warning")
    for _ in range(4):
        block.step(np.zeros((1, 4)))
    block.restart(0, dataclasses.replace(REACH, split="sound"))
    assert not block.faulted.any()
    assert (block.inputs == 0.5).all()
    [step] = block.step(np.zeros((1, 4)))
    assert step == TrialStep(1.0, True, False, False, {})


@pytest.mark.usefixtures("toy")
def test_a_finished_trial_is_not_stepped() -> None:
    block = toy_block("sound")
    block.restart(0, dataclasses.replace(block.trials[0], episodes=1, horizon=2))
    assert [block.step(np.zeros((1, 4))) == [None] for _ in range(4)] == [False, False, True, True]
    assert (block.inputs == 2.5).all()


@pytest.mark.usefixtures("toy")
def test_an_action_that_is_not_finite_stops_the_block_before_it_moves() -> None:
    block = toy_block("sound", "sound")
    actions = np.zeros((2, 4))
    actions[1, 2] = np.nan
    with pytest.raises(FloatingPointError, match="non-finite action"):
        block.step(actions)
    assert (block.inputs == 0.5).all()
    assert block.where == {"task": "reach-v3", "goal": 3, "episode": 1, "step": 0}


@pytest.mark.usefixtures("toy")
def test_runners_are_used_again_but_never_twice_at_once() -> None:
    runners = Runners()
    first = Block([REACH, REACH], runners)
    first.start()
    assert first.runners[0] is not first.runners[1]
    second = Block([OTHER, None, REACH], runners)
    second.start()
    assert second.runners == [first.runners[0], None, first.runners[1]]


def test_rows_that_are_not_run_stay_zeros() -> None:
    """And a block's rows are what a runner alone gives; actions are clipped on the way."""
    block, alone = Block([None, REACH, None, OTHER], Runners()), TrialRunner("reach-v3")
    block.start()
    noise = block.noise()
    assert noise.shape == (8, 4, 4)
    np.testing.assert_array_equal(noise[:, 1], REACH.noise())
    seen, rewards = [block.inputs.copy()], []
    for actions in 2 * noise:
        steps = block.step(actions)
        assert steps[0] is steps[2] is None
        rewards.append([step.reward for step in steps if step])
        seen.append(block.inputs.copy())
    assert not np.array(seen)[:, [0, 2]].any()
    for row, trial in ((1, REACH), (3, OTHER)):
        expected = [alone.begin(trial).copy()]
        for t, action in enumerate(2 * noise[:, row]):
            assert alone.step(action).reward == rewards[t][row // 2]
            expected.append(alone.inputs.copy())
        np.testing.assert_array_equal(np.array(seen)[:, row], expected)


def test_the_row_that_is_stepped_is_noted_for_others() -> None:
    stepping = np.full(1, -1)
    block = Block([None, REACH], Runners(), stepping=stepping)
    block.start()
    assert stepping.tolist() == [1]
    assert block.where == {"task": "reach-v3", "goal": 3, "episode": 1, "step": 0}
    for _ in range(5):
        block.step(np.zeros((2, 4)))
    assert block.where == {"task": "reach-v3", "goal": 3, "episode": 2, "step": 1}
