"""The scalar primitives equal NumPy, SciPy and Meta-World to the last bit, or call them."""

from __future__ import annotations

import functools
import hashlib
import math
import operator
import subprocess
import sys
import types
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metaworld.utils import reward_utils
from scipy.spatial.transform import Rotation
from stepping_pair import Pair, goals

from envs.metaworld import exact_scalars, fast_task, primitives

BOTH = {"python": exact_scalars, "as installed": primitives.best}
both = pytest.mark.parametrize("scalars", BOTH.values(), ids=BOTH)
compiled_only = pytest.mark.skipif(primitives.compiled is None, reason="nothing was compiled")
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)
ANY = st.floats(width=64)
SMALL = st.floats(-10, 10)


def outcome(function, *arguments):
    """Bits and type of what a function returns, or its exception."""
    try:
        with np.errstate(all="ignore"):
            value = function(*arguments)
    except Exception as error:
        return type(error), str(error)
    array = np.asarray(value)
    bits = b"nan" if array.dtype.kind == "f" and np.isnan(array).all() else array.tobytes()
    return type(value), array.dtype, array.shape, bits


@both
@given(st.lists(ANY, min_size=1, max_size=6), st.sampled_from([np.float64, np.float32]))
def test_norm(scalars, values, dtype):
    with np.errstate(all="ignore"):
        vector = np.array(values, dtype)
    strided = np.repeat(vector, 2)[::2]
    for norm in (scalars.norm, exact_scalars.blas_norm):
        assert outcome(norm, vector) == outcome(np.linalg.norm, vector)
        assert outcome(norm, vector, 2) == outcome(np.linalg.norm, vector, 2)
        assert outcome(norm, strided) == outcome(np.linalg.norm, strided)


def test_a_blas_that_fuses_products_and_sums_is_noticed(monkeypatch):
    def fused(vector):
        return np.float64(math.sqrt(math.fsum(Fraction(x) ** 2 for x in vector.tolist())))

    def rounded(vector):
        return np.float64(
            math.sqrt(functools.reduce(operator.add, (x * x for x in vector.tolist())))
        )

    monkeypatch.setattr(exact_scalars, "_norm", fused)
    assert not exact_scalars._products_are_rounded()
    monkeypatch.setattr(exact_scalars, "_norm", rounded)
    assert exact_scalars._products_are_rounded()


@pytest.mark.parametrize("name", ["scalar_norm", "blas_norm"])
def test_the_plane_norm_is_that_of_the_norm(monkeypatch, name):
    monkeypatch.setattr(exact_scalars, "norm", getattr(exact_scalars, name))
    for a, b in np.random.default_rng(0).normal(size=(300, 2)).tolist():
        assert exact_scalars.plane_norm(a, b) == exact_scalars.norm(np.array((a, b)))


@given(ANY, st.sampled_from([(-1, 1), (0.0, 1.0), (-0.5, 2.0)]))
def test_clip_and_abs(x, bounds):
    with np.errstate(all="ignore"):
        kinds = (float(x), np.float64(x), np.float32(x), np.array([x, 1.0]))
    for value in kinds:
        assert outcome(exact_scalars.clip, value, *bounds) == outcome(np.clip, value, *bounds)
        assert outcome(exact_scalars.absolute, value) == outcome(np.abs, value)


@given(SMALL, SMALL)
def test_hstack(a, b):
    vector, f32 = np.array([a, b]), np.float32(b)
    for parts in [
        (np.float64(a), np.float64(b)),
        (np.float64(a), f32),
        (a, b),
        (vector, vector),
        (vector, np.float64(b)),
        [vector, vector],
        (vector, vector, vector),
        (np.array([[a]]), np.array([[b]])),
    ]:
        assert outcome(exact_scalars.hstack, parts) == outcome(np.hstack, parts)


@both
@settings(max_examples=300)
@given(
    st.one_of(SMALL, ANY),
    st.tuples(SMALL, SMALL),
    st.one_of(SMALL, ANY, st.just(0.0)),
    st.sampled_from(["gaussian", "long_tail", "linear", "hyperbolic", "nonsense"]),
    st.sampled_from([0.1, 0.05]),
)
def test_tolerance(scalars, x, bounds, margin, sigmoid, at_margin):
    kinds = (float, np.float64)
    for kind in kinds:
        for margin_kind in kinds:
            arguments = (kind(x), bounds, margin_kind(margin), sigmoid, at_margin)
            ours = outcome(scalars.tolerance, *arguments)
            assert ours == outcome(reward_utils.tolerance, *arguments)


@both
def test_the_square_of_tolerance_is_pow(scalars):
    """x * x is one bit off once in a thousand, and a quarter of these survive to the reward."""
    rng = np.random.default_rng(0)
    sloppy = 0
    for x in rng.uniform(0.06, 2, 50_000).tolist():
        arguments = (x, (0, 0.05), 0.3, "long_tail")
        exact = reward_utils.tolerance(*arguments)
        assert scalars.tolerance(*arguments) == exact
        d = (x - 0.05) / 0.3 * 3.0
        sloppy += 1.0 / (d * d + 1.0) != exact
    assert sloppy > 0


@both
@given(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5))
def test_hamacher_product(scalars, a, b):
    for kinds in ((float, float), (np.float64, float), (float, np.float32), (np.float64,) * 2):
        pair = kinds[0](a), kinds[1](b)
        ours = outcome(scalars.hamacher_product, *pair)
        assert ours == outcome(reward_utils.hamacher_product, *pair)


def rotated(scalars, matrix):
    quat = scalars.matrix_to_quat(matrix)
    return Rotation.from_matrix(matrix).as_quat() if quat is None else quat


@both
@settings(max_examples=300)
@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: math.hypot(*q) > 1e-3),
    st.sampled_from([0.0, 1e-16, 1e-14, 5e-13, 1e-12, 3e-12, 1e-9, 1e-6, 1e-5, 1e-2]),
    st.integers(0, 8),
)
def test_rotation(scalars, quat, error, at):
    """Also for matrices that SciPy takes as they are, orthogonalises, or refuses."""
    matrix = Rotation.from_quat(quat).as_matrix()
    mirrored = matrix * np.array([1.0, 1.0, -1.0])
    matrix.ravel()[at] += error
    for m in (matrix, mirrored):
        ours = outcome(rotated, scalars, m)
        assert ours == outcome(lambda m=m: Rotation.from_matrix(m).as_quat())


@both
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)])
def test_rotation_by_right_angles(scalars, axes, signs):
    """Where several diagonal elements are equal, SciPy takes the first."""
    matrix = np.eye(3)[list(axes)] * signs
    ours = outcome(rotated, scalars, matrix)
    assert ours == outcome(lambda: Rotation.from_matrix(matrix).as_quat())


@pytest.mark.parametrize("at", range(3))
def test_the_rotation_of_task_code(at):
    """Of a matrix that is taken as it is, orthogonalised, and refused."""
    matrix = np.eye(3) * (1.0, 1.0 + 1e-3, 0.0)[at]
    ours = outcome(lambda: primitives.Rotation.from_matrix(matrix).as_quat())
    assert ours == outcome(lambda: Rotation.from_matrix(matrix).as_quat())


@pytest.fixture
def differing(monkeypatch):
    """A function that says which primitives differ, until the end of the test."""

    def say(*names):
        monkeypatch.setattr(primitives, "differences", lambda: names)
        primitives.substitutes.cache_clear()
        fast_task.fast_class.cache_clear()

    yield say
    primitives.substitutes.cache_clear()
    fast_task.fast_class.cache_clear()


def test_a_primitive_that_differs_is_left_official(differing):
    differing("matrix_to_quat", "norm")
    names = primitives.substitutes()
    assert names["np"].linalg.norm is np.linalg.norm
    assert names["Rotation"] is Rotation
    assert names["np"].clip is exact_scalars.clip
    assert names["tolerance"] is primitives.best.tolerance
    assert names["caged"] is None


@pytest.mark.filterwarnings("ignore:not bit-equal", "ignore:Constant")
def test_without_a_primitive_stepping_is_exact(differing):
    differing("tolerance")
    assert primitives.substitutes()["caged"] is None
    pair = Pair("push-v3")
    pair.episode(goals("push-v3", 1)[0], seed=0, scripted=True, length=60)


def test_differences_are_found(monkeypatch):
    monkeypatch.setattr(exact_scalars, "LONG_TAIL", 3.0000000001)
    monkeypatch.setattr(primitives, "best", types.SimpleNamespace(**exact_scalars.PYTHON))
    assert primitives.differences.__wrapped__() == ("tolerance",)


@compiled_only
def test_compiled_functions_that_differ_are_found():
    assert primitives._unlike_python(primitives.compiled) == ()
    try:
        primitives._install(primitives.compiled, 3.0000000001)
        used = [name for name in ("caged", "tolerance") if name in primitives._usable()]
        assert primitives._unlike_python(primitives.compiled) == tuple(used)
    finally:
        primitives._install(primitives.compiled)


def square_by_product(x, bounds, margin, sigmoid):
    """`tolerance` as a compiler makes it that takes x * x for pow(x, 2)."""
    if sigmoid == "long_tail" and not bounds[0] <= x <= bounds[1]:
        d = (bounds[0] - x if x < bounds[0] else x - bounds[1]) / margin * exact_scalars.LONG_TAIL
        return 1.0 / (d * d + 1.0)
    return exact_scalars.tolerance(x, bounds, margin, sigmoid)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"SOURCE": "another"}, "another source: type pip install"),
        ({"tolerance": square_by_product}, "differs from Python here in tolerance"),
        ({"middle": lambda a, b: a / 2 + b / 3}, "differs from Python here in middle"),
    ],
)
def test_a_compiled_module_that_is_not_right_is_not_used(monkeypatch, changed, why):
    source = Path(primitives.__file__).with_name("_compiled.c").read_bytes()
    right = {"SOURCE": hashlib.sha256(source).hexdigest(), "__file__": "made.so"}
    right |= {"install": lambda **_: None, **exact_scalars.PYTHON}
    monkeypatch.setattr(exact_scalars, "norm", exact_scalars.scalar_norm)
    monkeypatch.delenv("STRATA_COMPILED", raising=False)
    for module, warned in ((right, None), (right | changed, why)):
        made = types.SimpleNamespace(**module)
        monkeypatch.setitem(sys.modules, "envs.metaworld._compiled", made)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert primitives._load() is (made if warned is None else None)
        assert [warned in str(each.message) for each in seen] == ([True] if warned else [])


def test_without_what_was_compiled(monkeypatch):
    monkeypatch.setenv("STRATA_COMPILED", "0")
    assert primitives._load() is None
    monkeypatch.delenv("STRATA_COMPILED")
    monkeypatch.setitem(sys.modules, "envs.metaworld._compiled", None)
    assert primitives._load() is None


@compiled_only
def test_compiled_functions_before_they_are_installed():
    code = "from envs.metaworld import _compiled as c\nfor f in (c.norm, c.tolerance, c.caged):\n"
    code += "    try: print(f(1.0, (0, 0.05), 0.2, 'long_tail'))\n"
    code += "    except RuntimeError as error: print(error)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "call install() first\n" * 3


PLACE = st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(np.array)


@compiled_only
@settings(max_examples=300)
@given(
    st.lists(PLACE, min_size=7, max_size=7),
    st.tuples(*[st.sampled_from([0.0, 0.005, 0.02, 0.05, -0.1, 1, math.nan])] * 3),
    st.sampled_from([np.float64, np.float32]),
)
def test_caging_and_the_middle(places, numbers, dtype):
    left, right, obj, first, *tips = places
    first = first.astype(dtype)  # which some tasks have in float32
    arguments = (left, right, obj, first, *numbers[:2], *tips, numbers[2])
    ours, python = primitives.best, exact_scalars
    assert outcome(ours.caged, *arguments) == outcome(python.caged, *arguments)
    assert outcome(ours.middle, left, first) == outcome(python.middle, left, first)


@compiled_only
def test_caging_where_the_fingers_are():
    """Places as in tasks, where the C decides by itself in nearly all cases."""
    rng = np.random.default_rng(0)
    for places in rng.normal(size=(5_000, 7, 3)) * 0.05:
        arguments = (*places[:4], 0.015, 0.05, *places[4:], 0.005)
        found = outcome(primitives.best.caged, *arguments)
        assert found == outcome(exact_scalars.caged, *arguments)


@both
@pytest.mark.parametrize("order", [None, 1, 2, 3, 10**30, 2.0, True, np.inf, "fro", "nonsense"])
def test_a_norm_by_name(scalars, order):
    for vector in (np.array([3.0, 4.0]), np.array([1.0, 2.0, 3.0]), np.eye(3), [3.0, 4.0]):
        ours = outcome(functools.partial(scalars.norm, ord=order), vector)
        assert ours == outcome(functools.partial(np.linalg.norm, ord=order), vector)
        assert outcome(scalars.norm, vector, order) == outcome(np.linalg.norm, vector, order)
        for options in ({"axis": 0}, {"ord": order, "axis": 0}, {"keepdims": True}):
            ours = outcome(functools.partial(scalars.norm, **options), vector)
            assert ours == outcome(functools.partial(np.linalg.norm, **options), vector)
    assert outcome(lambda: scalars.norm(x=[3.0, 4.0])) == outcome(np.linalg.norm, [3.0, 4.0])


@both
@pytest.mark.parametrize(
    "options",
    [
        {"bounds": (0, 0.05), "margin": 0.3, "sigmoid": "long_tail"},
        {"bounds": [0, 0.05], "margin": 0.3, "sigmoid": "long_tail"},
        {"bounds": (np.float32(0), np.float64(0.05)), "margin": 0.3, "sigmoid": "long_tail"},
        {"bounds": (0, 0.05), "margin": 1, "sigmoid": "long_tail"},
        {"margin": 0.3, "sigmoid": "long_tail"},
        {"bounds": (0.05, 0), "margin": 0.3, "sigmoid": "long_tail"},
        {"bounds": (0, 0.05), "margin": -0.3, "sigmoid": "long_tail"},
        {"bounds": (0, 0.05), "margin": 0.3},
        {"bounds": (0, 0.05), "margin": 0.3, "sigmoid": "long_tail", "value_at_margin": 0.2},
        {"bounds": (0, 0.05), "margin": 0.3, "sigmoid": 3},
        {"bonds": (0, 0.05)},
    ],
)
def test_tolerance_by_names(scalars, options):
    for x in (0.01, 0.2, np.float64(0.2), np.float32(0.2), 1, np.array([0.01, 0.2])):
        ours = outcome(functools.partial(scalars.tolerance, **options), x)
        theirs = outcome(functools.partial(reward_utils.tolerance, **options), x)
        raised = len(theirs) == 2
        assert ours[:1] == theirs[:1] if raised else ours == theirs
