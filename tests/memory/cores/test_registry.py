"""Cores by name: only the user's own command line can make a module be imported."""

from pathlib import Path

import pytest

from memory.cores import registry
from memory.cores.registry import CORES, CoreError, core_problems, find_core, import_core
from memory.cores.trial_run import try_out

OWN = """
import torch
from torch import nn
from memory.cores.core import Core

class Sum(Core):
    state_width = property(lambda self: self.hidden)

    def __init__(self, inputs, hidden):
        super().__init__(inputs, hidden)
        self.layer = nn.Linear(inputs, hidden)

    def unroll(self, features, state):
        outputs = state + self.layer(features).cumsum(0)
        return outputs, outputs[-1]

def step(weights, features, state):
    output = state + features @ weights["layer.weight"].T + weights["layer.bias"]
    return output, output

def late(weights, features, state):
    return state, step(weights, features, state)[1]

class Stepped(Sum):
    stepper = "own_cores:step"

class Late(Sum):
    stepper = "own_cores:late"

class Misspelt(Sum):
    stepper = "grru"

class Borrowed(Sum):
    stepper = "gru"

class Elsewhere(Sum):
    stepper = "own_cores:nothing"

class Curious(Sum):
    signals = ("outcomes",)

class Bare(Sum):
    signals = "outcome"

class Told(Sum):
    signals = ("outcome", "present")

class Flat(Sum):
    def unroll(self, features, state):
        return features.sum(0), state

class Listed(Sum):
    def unroll(self, features, state):
        return features.tolist(), state

class Unfinished(Core):
    pass

class Stranger:
    pass
"""


@pytest.fixture(autouse=True)
def _own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_cores.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_imported", {})


def test_a_user_s_core_is_found_once_it_was_imported() -> None:
    with pytest.raises(CoreError, match="code outside Strata: add --core own_cores:Sum"):
        find_core("own_cores:Sum")
    import_core("own_cores:Sum")
    assert find_core("own_cores:Sum").__name__ == "Sum"
    assert find_core("own_cores:Sum")(5, 4).hidden_part == slice(0, 4)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    for call in (find_core, import_core):
        with pytest.raises(CoreError, match=f"no core 'hopfield': choose {', '.join(CORES)}, or"):
            call("hopfield")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:Sum", "No module named 'no_such_module'.*that holds no_such_module.py"),
        ("own_cores:Nothing", "cannot import 'Nothing' from 'own_cores'"),
        ("own_cores:", "cannot import '' from 'own_cores'"),
        (":Sum", "cannot import 'Sum' from ''"),
        ("own_cores:Stranger", "not a subclass of memory.cores.core.Core"),
        ("own_cores:Unfinished", "does not run.*abstract"),
        ("own_cores:Listed", "must give outputs as a tensor, not as a list"),
        ("own_cores:Misspelt", "stepper 'grru' does not run.*grru"),
        ("own_cores:Elsewhere", "stepper 'own_cores:nothing' does not run.*nothing"),
        ("own_cores:Borrowed", "stepper 'gru' does not run.*weight_ih"),
        ("own_cores:Late", "stepper 'own_cores:late' and own_cores:Late.unroll differ by"),
        ("own_cores:Curious", r"signals must be a tuple of names among 'outcome', 'present', not"),
        ("own_cores:Bare", "signals must be a tuple of names among"),
        ("own_cores:Flat", r"unroll must give outputs of shape \(2, 3, 4\)"),
    ],
)
def test_what_is_no_core_is_refused(name: str, says: str) -> None:
    with pytest.raises(CoreError, match=says):
        import_core(name)
    with pytest.raises(CoreError, match="code outside Strata"):
        find_core(name)


@pytest.mark.parametrize("name", ["own_cores:Stepped", "own_cores:Told"])
def test_steps_and_signals_that_keep_the_contract_pass(name: str) -> None:
    import_core(name)
    assert find_core(name).__name__ == name.partition(":")[2]


@pytest.mark.parametrize("name", sorted(CORES))
def test_strata_s_own_cores_keep_the_contract(name: str) -> None:
    try_out(name, CORES[name])


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a core without a step in NumPy needs them."""
    import_core("own_cores:Sum")
    import_core("own_cores:Stepped")
    monkeypatch.setattr(registry, "missing_packages", lambda: ["onnxruntime"])
    (problem,) = core_problems("own_cores:Sum")
    assert "onnxruntime: pip install -e '.[onnx]'" in problem
    assert core_problems("own_cores:Stepped") == core_problems("gru") == []
