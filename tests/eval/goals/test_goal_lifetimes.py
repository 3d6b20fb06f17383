"""Stores that live at test time: one for each slot, written after each trial as in training."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

import train.rl2
from agents.acting.numpy_actor import NumpyActor
from agents.input_layout import INPUT_DIM, PREV_DONE
from agents.recall import Recall
from agents.rl2 import AgentConfig, RL2Agent, actor_weights
from envs.metaworld.suites import make_suite
from envs.pool.pool import WorkerPool
from eval import evaluate
from eval.goals.lifetime import Ring, SlotStores, measure_lifetimes
from memory.reservoir import Replay
from train.long_term.arms import ARMS
from train.long_term.config import MemoryConfig
from train.long_term.level import IterationView, LevelSetting
from train.long_term.replay import ReplayLevel
from train.long_term.stack import make_stack
from train.run.checkpoint import Checkpoint
from train.run.config import Config

HORIZON, STEPS, TRIALS, RING = 6, 18, 4, 3
TINY = "--trials 2 --lanes 2 --episodes 2 --horizon 12 --hidden 8 --encoder 8 --critic 8"


def recalling(*, entries: int = 5) -> RL2Agent:
    """An agent whose reads are loud."""
    torch.manual_seed(0)
    agent = RL2Agent(AgentConfig(hidden=8, encoder=7, entries=entries, read_every=4))
    assert agent.recall is not None
    with torch.no_grad():
        agent.recall.store.from_value.normal_()
        agent.recall.store.gate_bias.fill_(2.0)
        agent.head.mean.weight.normal_()
    return agent


def inputs_of(trials: int, seed: int) -> np.ndarray:
    inputs = np.random.default_rng(seed).standard_normal((STEPS, trials, INPUT_DIM))
    inputs[..., PREV_DONE] = 0.0
    inputs[HORIZON::HORIZON, :, PREV_DONE] = 1.0
    return inputs.astype(np.float32)


def acted(agent: RL2Agent, stores: SlotStores, inputs: np.ndarray) -> np.ndarray:
    weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
    actor = NumpyActor("gru", weights, inputs.shape[1], stores=stores.weights())
    return np.stack([actor.mean(step.copy()) for step in inputs])


def test_a_shared_policy_does_not_say_how_many_trials_its_ring_has_seen() -> None:
    saved = SimpleNamespace(state={"steps": 5})
    found = Ring.of(cast(Checkpoint, saved), recalling(), Config(arm="episodic"))
    assert found.passed == 0
    assert found.size > 0


def test_what_a_slot_writes_its_own_next_trial_reads_and_no_other() -> None:
    agent, inputs = recalling(), inputs_of(3, 1)
    stores = SlotStores(agent, 3, Ring(RING))
    before = acted(agent, stores, inputs)
    for number in range(2):
        stores.write(inputs_of(3, 2 + number), [True, False, True], HORIZON)
    after = acted(agent, stores, inputs)
    changed = np.abs(after - before).max(axis=(0, 2))
    assert changed[1] == 0
    assert (changed[[0, 2]] > 1e-4).all()
    other = SlotStores(agent, 3, Ring(RING))
    for number in range(2):
        swapped = inputs_of(3, 2 + number)
        swapped[:, 2] = -swapped[:, 2]
        other.write(swapped, [True, False, True], HORIZON)
    changed = np.abs(acted(agent, other, inputs) - after).max(axis=(0, 2))
    assert changed[0] == 0
    assert changed[2] > 1e-3
    assert agent.recall is not None
    assert not agent.recall.store.filled.any(), "the agent's own store is left alone"


def test_a_shared_store_reads_alike_in_every_row() -> None:
    """Each slot that begins as the agent's own acts as if there were one store."""
    agent, inputs = recalling(), inputs_of(3, 1)
    assert agent.recall is not None
    keys, values = torch.randn(4, 8), torch.randn(4, 8)
    agent.recall.store.write(torch.arange(4), keys, values)
    agent.recall.store.settle(torch.zeros(5, dtype=torch.bool))
    with torch.no_grad():
        expected, _ = agent.unroll(torch.from_numpy(inputs), agent.initial_state(3))
    found = acted(agent, SlotStores(agent, 3, Ring(RING)), inputs)
    np.testing.assert_allclose(found, expected.mean.numpy(), atol=2e-5)


def test_written_as_in_training() -> None:
    """Four trials through a ring of three: the same keys, values and centre to round-off."""
    trained, tested = recalling(), recalling()
    memory = MemoryConfig(reservoir=2, recent=RING, reencode_every=100)
    setting = LevelSetting(trained, memory, 1e-3, STEPS, episodes=STEPS // HORIZON, horizon=HORIZON)
    _, stored, level = make_stack(ARMS["episodic"], setting).levels
    assert isinstance(stored, ReplayLevel)
    store = stored.store
    stores = SlotStores(tested, 1, Ring(RING))
    for number in range(TRIALS):
        inputs = inputs_of(1, number)
        _, slots = store.assign(torch.zeros(1), np.random.default_rng(0))
        kept = Replay(torch.from_numpy(inputs), torch.zeros(STEPS, 1, 4), torch.zeros(1, 4),
                      torch.ones(1))  # fmt: skip
        store.write(slots, kept, number + 2)
        view = IterationView(
            trained, None, torch.from_numpy(inputs), torch.full((1,), 2), number + 2,  # type: ignore[arg-type]
            np.random.default_rng(0),
        )  # fmt: skip
        level.consolidate(view)
        stores.write(inputs, [True], HORIZON)
    recall = trained.recall
    assert isinstance(recall, Recall)
    own = stores._stores[0]
    for name in ("raw_keys", "raw_values", "keys", "values", "centre", "filled"):
        torch.testing.assert_close(getattr(own, name), getattr(recall.store, name))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one iteration of an agent with an episodic store."""
    folder = tmp_path_factory.mktemp("runs") / "episodic"
    arguments = f"--suite ML1 --task reach-v3 --arm episodic --total-steps 48 {TINY}"
    more = f"--train-goals 50 --workers 1 --threads 1 --run {folder}"
    assert train.rl2.main([*arguments.split(), *more.split()]) == 0
    return folder


def test_from_the_command_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--preset quick --goals 2 --episodes 2 --horizon 8 --lifetime 2 --no-repeating"
    assert evaluate.main([str(run), *options.split(), "--workers", "1"]) == 0
    assert "agent, trial 2" in capsys.readouterr().out
    (path,) = (run / "results").glob("*-lifetime2*.json")
    record = json.loads(path.read_text())
    assert list(record["policies"]) == ["stochastic", "trial 1", "trial 2"]


def test_an_agent_without_a_store_has_no_lifetimes(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "short"
    arguments = f"--suite ML1 --task reach-v3 --total-steps 48 {TINY} --train-goals 50"
    assert train.rl2.main([*arguments.split(), "--workers", "1", "--run", str(folder)]) == 0
    with pytest.raises(SystemExit) as ended:
        evaluate.main([str(folder), "--lifetime", "2"])
    assert ended.value.code == 2
    assert "arm short has not" in capsys.readouterr().err


def test_the_first_trial_knows_nothing_and_later_ones_are_a_function_of_it() -> None:
    """Positions differ, and the pool's size changes nothing."""
    agent = recalling(entries=6)
    suite = make_suite("ML1", task="reach-v3", train_goals=50)

    def measured(workers: int) -> list[np.ndarray]:
        with WorkerPool(workers) as pool:
            found = measure_lifetimes(
                agent, suite, "test", goals=3, episodes=2, horizon=8, trials=3, seed=1,
                pool=pool, ring=Ring(RING),
            )  # fmt: skip
        return [outcomes.returns for outcomes in found]

    one, two = measured(1), measured(2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one[0] != one[2]).any()
