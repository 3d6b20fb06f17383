"""Lesions on RECALL: what they change in a trial, and how lifetimes are scored."""

import numpy as np
import torch

from envs.memory_tests.fork import UNCOMMITTED
from envs.memory_tests.recall import ceiling
from envs.metaworld.suites import make_suite
from eval.memory_tests.recall_measure import RecallOutcomes
from eval.memory_tests.recall_metrics import recall_shares
from eval.traces.lifetime_lesions import lifetime_lesions, lifetime_steps
from tests.eval.traces.made_up import make_agent


def outcomes(first: np.ndarray) -> RecallOutcomes:
    """Meetings (slot, exposure) of one context in which the first attempt is right or not."""
    slots, exposures = np.indices(first.shape)
    choices = np.stack((np.where(first, 0, 1), np.ones_like(slots)), axis=-1).reshape(-1, 2)
    return RecallOutcomes(
        slots.ravel(), exposures.ravel() + 1, np.ones(first.size, int), choices,
        np.zeros_like(choices), np.zeros(first.size, bool),
    )  # fmt: skip


def test_scores_are_shares_of_what_a_store_can_gain() -> None:
    most = ceiling(4, 3, 2)[1:, 0].mean()
    found = recall_shares(outcomes(np.array([[0, 1, 1], [1, 0, 0]], bool)), options=4)
    np.testing.assert_allclose(found, [(1 - 0.25) / (most - 0.25), (0 - 0.25) / (most - 0.25)])


def test_a_fault_is_a_failure() -> None:
    """The pool says of all steps from it on that nothing was touched."""
    whole = outcomes(np.ones((2, 3), bool))
    whole.faults[:3], whole.choices[:3] = True, UNCOMMITTED
    assert recall_shares(whole, options=4)[0] < 0 < recall_shares(whole, options=4)[1]


def test_an_agent_without_a_store_has_nothing_to_hide() -> None:
    rounds = make_suite("RECALL-code-4-contexts2", train_goals=50).lifetime_rounds(
        "test", 2, episodes=2, horizon=14, seed=1
    )
    agent = make_agent()
    assert list(lifetime_lesions(agent, ())) == ["intact", "sham", "clear L0"]
    assert list(lifetime_lesions(agent, ("hide L1",))) == ["intact", "sham"]
    assert lifetime_steps(agent, rounds, ()) == 3 * sum(map(len, rounds)) * 28


def test_a_sham_changes_noise_alone() -> None:
    rounds = make_suite("RECALL-code-4-contexts2", train_goals=50).lifetime_rounds(
        "test", 2, episodes=2, horizon=14, seed=1
    )
    lesions = lifetime_lesions(make_agent(), ())
    shams = lesions["sham"].trials(rounds[0])
    assert [trial.fork for trial in shams] == [trial.fork for trial in rounds[0]]
    assert not np.array_equal(shams[0].noise(), rounds[0][0].noise())
    store = torch.ones(2, 3, 4)
    assert lesions["clear L0"].store(store) is store
    assert lesions["clear L0"].policy.forget
