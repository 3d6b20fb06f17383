"""Probes find what was planted, nothing else, and a leak in the first attempt."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from agents.input_layout import AIM
from eval.traces.leak import leak_test, verdict
from eval.traces.probe_page import over_time
from eval.traces.probes import all_probes, at_decisions, correct, sources_of
from eval.traces.recording import Recording
from eval.traces.ridge import directions, predicted
from eval.traces.variables import bins, control, folds, types, variables
from tests.eval.traces.made_up import EPISODES, HORIZON, STILL, make_recording


def planted(recording: Recording, *, first: int) -> Recording:
    """The target stands, with noise, along two units of L0 from attempt `first` on."""
    states = recording.states["L0"].copy()
    sign = 2.0 * recording.targets[:, 0] - 1.0
    states[first * HORIZON :, :, 2] += 3 * sign
    states[first * HORIZON :, :, 5] -= 3 * sign
    return dataclasses.replace(recording, states={"L0": states})


@pytest.fixture(scope="module")
def recording() -> Recording:
    return planted(make_recording(trials=200), first=1)


def test_a_planted_target_is_found_where_it_is_and_nowhere_else(recording: Recording) -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(recording.states["L0"].shape).astype(np.float32)
    found = all_probes(recording, noise, rng)
    target = found["sources"]["L0"]["target"]
    accuracy = dict(zip(found["steps"], target["accuracy"], strict=True))
    assert found["decisions"] == [STILL - 1, HORIZON + STILL - 1, 2 * HORIZON + STILL - 1]
    assert all(value < 0.65 for step, value in accuracy.items() if step < HORIZON)
    assert all(value > 0.97 for step, value in accuracy.items() if step >= HORIZON)
    assert max(found["sources"]["untrained"]["target"]["accuracy"]) < 0.65
    assert max(target["control"]) < 0.65  # by heart it learns nothing
    assert np.mean(at_decisions(found, "L0", "last outcome", "accuracy")) < 0.65
    outcome = at_decisions(found, "inputs", "last outcome", "accuracy")
    assert len(outcome) == EPISODES - 1  # nothing is asked before there is one
    assert min(outcome) > 0.8  # it is shown, among much else


def test_inputs_are_read_without_the_aims_that_the_belief_has_drawn(recording: Recording) -> None:
    target = np.broadcast_to(recording.targets[:, 0], (recording.steps, recording.trials))
    blank = np.zeros((*target.shape, AIM.start), np.float32)
    aims = np.eye(recording.options, dtype=np.float32)[target]
    aimed = dataclasses.replace(recording, inputs=np.concatenate((blank, aims), axis=-1))
    read = sources_of(aimed, blank)["inputs"]
    assert read.shape == blank.shape
    assert not read.any()


def test_a_leak_is_found_and_none_is_made_up(recording: Recording) -> None:
    noise = np.random.default_rng(0).standard_normal(recording.states["L0"].shape)
    clean = leak_test(recording, sources_of(recording, noise))
    assert set(clean) == {"L0", "untrained", "inputs"}
    assert not any(leak.leaks for leak in clean.values())
    leaking = planted(recording, first=0)
    found = leak_test(leaking, sources_of(leaking, noise))
    assert found["L0"].leaks
    assert not found["inputs"].leaks
    facts = {**recording.facts, "options": 0}
    assert leak_test(dataclasses.replace(recording, facts=facts), {}) == {}


def test_one_leaking_step_is_enough() -> None:
    hits = np.random.default_rng(0).random((10, 400)) < 0.5
    assert not verdict(hits, 2).leaks
    hits[3] = True
    assert verdict(hits, 2).leaks


def test_no_leak_is_made_up_where_six_of_eight_targets_count() -> None:
    """In streams of sites chance is 1/6, which is above 1/8."""
    made = make_recording(trials=300, options=8)
    targets = np.repeat(np.arange(300)[:, None] % 6, EPISODES, axis=1).astype(np.int8)
    facts = {**made.facts, "counted": 6}
    found = dataclasses.replace(made, targets=targets, facts=facts)
    assert not any(leak.leaks for leak in leak_test(found, found.states).values())
    hits = np.random.default_rng(0).random((10, 400)) < 1 / 6
    assert verdict(hits, 8).leaks
    assert not verdict(hits, 6).leaks


def test_trials_that_test_a_probe_have_other_layouts() -> None:
    recording = make_recording(trials=100)
    parts, kinds = folds(recording), types(recording)
    assert sorted(set(parts)) == [0, 1, 2, 3, 4]
    place = np.argmax(recording.layout.std(axis=0))
    spans = [recording.layout[parts == part, place] for part in range(5)]
    assert all(a.max() < b.min() for a, b in itertools.pairwise(spans))
    assert len(set(kinds)) == 8
    same = dataclasses.replace(recording, layout=np.tile(np.arange(4.0)[:, None], (25, 2)))
    assert len(set(bins(same, 0, 4))) == 4  # trials of one layout stay together


def test_control_labels_belong_to_types() -> None:
    kinds = np.repeat(np.arange(8), 5)
    labels = control(kinds, 2, 3, np.random.default_rng(0))
    assert labels.shape == (3, 40)
    for kind in range(8):
        assert (np.ptp(labels[:, kinds == kind], axis=1) == 0).all()
    assert labels.mean() == 0.5


def test_what_was_tried_and_what_failed() -> None:
    recording = make_recording(trials=3)
    choices = np.array([[0, 1, 1], [1, 1, -1], [-1, 0, 1]], np.int8)
    targets = np.repeat(np.array([[1], [1], [1]], np.int8), 3, axis=1)
    recording = dataclasses.replace(
        recording, choices=choices, targets=targets, outcomes=choices == targets
    )
    found = {variable.name: variable.labels for variable in variables(recording)}
    np.testing.assert_array_equal(found["tried sites"][:, 0, :], [[0, 1, 1], [0, 0, 1]])
    np.testing.assert_array_equal(found["sites that failed"][:, 0, :], [[0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(found["last outcome"][0], [[0, 0, 1], [0, 1, 1], [0, 0, 0]])


def test_a_probe_of_constant_states_guesses() -> None:
    labels = np.array([[0] * 30 + [1] * 10])
    parts = np.arange(40) % 2
    assert correct(np.ones((40, 3)), labels, 2, parts).mean() == 0.75
    test = parts == 0
    assert (predicted(np.ones((40, 3)), labels, 2, test, ~test) == 0).all()


def test_a_class_that_never_occurs_has_no_direction() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    states = rng.standard_normal((400, 6)) + 4.0 * labels[:, None] * np.eye(6)[4]
    assert directions(states, labels, 8).shape == (6, 1)


def _probed(names: list[str]) -> dict[str, Any]:
    """A result in which these variables were asked over time."""
    curve = {"accuracy": [0.5, 0.6], "control": [0.5, 0.5], "chance": [0.5, 0.5]}
    sources = {source: dict.fromkeys(names, curve) for source in ("L0", "untrained", "inputs")}
    probes = {"steps": [4, 14], "decisions": [4, 14], "sources": sources, "leak": {}}
    return {"seed": 1, "episodes": 2, "horizon": 10, "options": 2, "probes": probes}


def test_arms_with_other_variables_stand_on_one_figure() -> None:
    groups = {"short": [_probed(["target"])], "joint": [_probed(["target", "scene"])]}
    figure = over_time(groups)
    titles = [axis.get_title() for axis in figure.axes if axis.axison]
    assert titles == ["short: target", "joint: target", "joint: scene"]
    assert len(figure.legends[0].get_texts()) == 4


def test_a_direction_that_tells_is_found() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    states = rng.standard_normal((400, 6))
    states[:, 4] += 4.0 * labels
    found = directions(states, labels, 2)
    assert found.shape == (6, 1)
    assert abs(found[4, 0]) > 0.97
