"""Streams: which task is trained on when, and when all of them are evaluated."""

from typing import Any

import pytest

from envs.memory_tests.fork_streams import FORK_STREAMS
from envs.metaworld.streams import CL5, CW10, PRESETS, STREAMS, make_stream, only, stream_problems
from envs.metaworld.suites import Suite
from envs.metaworld.task_env import TASKS


def test_cw10_is_continual_worlds_order() -> None:
    """`task_sequences.py` of awarelab/continual_world, with v3 for v1."""
    original = [
        "hammer-v1", "push-wall-v1", "faucet-close-v1", "push-back-v1", "stick-pull-v1",
        "handle-press-side-v1", "push-v1", "shelf-place-v1", "window-close-v1",
        "peg-unplug-side-v1",
    ]  # fmt: skip
    assert [name.removesuffix("-v1") + "-v3" for name in original] == list(CW10)
    assert [phase.task for phase in make_stream("CW10").phases] == list(CW10)
    assert [phase.task for phase in make_stream("CW20").phases] == 2 * list(CW10)


def test_the_five_quick_tasks_come_twice() -> None:
    stream = make_stream("CL5x2")
    assert len(set(CL5)) == 5
    assert [(phase.cycle, phase.task) for phase in stream.phases] == [
        (cycle, task) for cycle in (0, 1) for task in CL5
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_all_tasks_exist(name: str) -> None:
    assert set(PRESETS[name].tasks) <= set(FORK_STREAMS.get(name, TASKS))


def test_phases_tile_the_stream() -> None:
    stream = make_stream("custom", tasks=["reach-v3", "push-v3"], cycles=2, phase_steps=100)
    assert [(p.number, p.start, p.end) for p in stream.phases] == [
        (0, 0, 100), (1, 100, 200), (2, 200, 300), (3, 300, 400)
    ]  # fmt: skip
    assert stream.total_steps == 400
    numbers = [stream.phase_at(steps).number for steps in (0, 99, 100, 399, 400)]
    assert numbers == [0, 0, 1, 3, 3]


def test_evaluations_are_at_the_start_midway_and_at_ends() -> None:
    stream = make_stream("custom", tasks=["reach-v3", "push-v3"], phase_steps=100)
    assert stream.evaluation_steps() == (0, 50, 100, 150, 200)
    odd = make_stream("custom", tasks=["reach-v3", "push-v3"], phase_steps=1)
    assert odd.evaluation_steps() == (0, 1, 2)


def test_phases_are_rounded_up_to_whole_iterations() -> None:
    stream = make_stream("custom", tasks=["reach-v3", "push-v3"], phase_steps=101)
    assert stream.rounded(20).phase_steps == 120
    assert stream.rounded(20).evaluation_steps() == (0, 60, 120, 180, 240)
    assert stream.rounded(40).evaluation_steps() == (0, 40, 120, 160, 240)
    assert stream.rounded(101).phase_steps == 101


def test_a_phase_trains_on_one_task_and_is_tested_on_all() -> None:
    goals = {"reach-v3": ((1.0,),), "push-v3": ((2.0,),)}
    suite = Suite("toy", 1, goals, goals)
    phase = only(suite, "push-v3")
    assert phase.tasks == ("push-v3",)
    trials = phase.sample_trials(3, episodes=1, horizon=2, iteration=0, seed=0)
    assert {trial.task for trial in trials} == {"push-v3"}
    assert phase.test == suite.test


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"name": "CW11"}, "unknown stream 'CW11': did you mean CW10"),
        ({"name": "custom"}, "--tasks reach-v3 push-v3"),
        ({"name": "custom", "tasks": ["reach-v3"]}, "--tasks reach-v3 push-v3"),
        ({"name": "custom", "tasks": ["reech-v3", "push-v3"]}, "did you mean reach-v3"),
        ({"name": "custom", "tasks": ["reach-v3"] * 2}, "--cycles"),
        ({"name": "CW10", "tasks": ["reach-v3"]}, "--suite custom, not CW10"),
        ({"name": "CW10", "cycles": 0}, "--cycles must be at least 1, not 0"),
        ({"name": "CW10", "phase_steps": -1}, "--phase-steps must be at least 1, not -1"),
    ],
)
def test_bad_requests_say_what_to_type(request_: dict[str, Any], says: str) -> None:
    arguments = {"tasks": [], "cycles": None, "phase_steps": None, **request_}
    assert says in "; ".join(stream_problems(**arguments))
    with pytest.raises(ValueError, match=r"--|unknown"):
        make_stream(**request_)


def test_right_requests_have_no_problems() -> None:
    for name in STREAMS:
        tasks = ["reach-v3", "push-v3"] if name == "custom" else []
        assert stream_problems(name, tasks=tasks, cycles=3, phase_steps=7) == []
