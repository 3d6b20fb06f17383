"""What long-term memory is for, on tasks with a known answer."""

import pytest
from recurring import Search, first_episodes, train
from two_tasks import learn_in_turn


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_episodic_memory_lifts_the_first_episode_of_what_recurs(seed: int) -> None:
    """And of nothing else: a new context stays at chance, and so does any with the store hidden.

    Contexts are always new in training, so no weight can know the sign of one.
    """
    found = first_episodes(train(Search(seed=seed)))
    assert found["recurring"][0] >= 0.8
    assert 0.3 <= found["new"][0] <= 0.7
    assert 0.3 <= found["store hidden"][0] <= 0.7
    assert found["new"][1] >= 0.8  # and it still adapts within a trial


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_flat_agent_has_no_use_for_recurrence() -> None:
    """Guards the guard: without the store a context that was met is as good as a new one."""
    found = first_episodes(train(Search(arm="short", seed=1)))
    assert 0.3 <= found["recurring"][0] <= 0.7
    assert found["recurring"][1] >= 0.8


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_hierarchy_keeps_what_short_forgets(seed: int) -> None:
    """Both learn the first task; after the second only one of them still knows it."""
    short, hierarchical = (learn_in_turn(arm, seed) for arm in ("short", "hierarchical"))
    for table in (short, hierarchical):
        assert table[0][0] >= 0.9
    assert hierarchical[1][0] >= short[1][0] + 0.1
    assert hierarchical[1][0] >= 0.85
