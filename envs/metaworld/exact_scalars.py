"""Scalar stand-ins for the NumPy and SciPy calls under Meta-World's tasks, equal to the last bit.

Task code works on vectors of two to four numbers, where NumPy's overhead is many times the
arithmetic. Each function here takes the case that tasks use, does the same operations in the same
order, and hands every other case to the original. How BLAS rounds a sum of squares is a property of
the kernel that it chose for the CPU (fused multiply-adds or not), so there are two norms, and
`norm` is the faster one that is exact here.

They are also the definition of what `_compiled.c` does; `primitives` chooses between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from metaworld.utils import reward_utils
from numpy import ndarray

# np.float64 and float hold the same value but promote differently beside float32 (NEP 50: the
# action is float32), so whatever is np.float64 in official code stays np.float64 here.
_float64 = np.float64
_FLOATS = frozenset((float, np.float64))
_F64 = np.dtype(np.float64)
_sqrt = math.sqrt
_norm, _clip, _abs, _hstack = np.linalg.norm, np.clip, np.abs, np.hstack
_tolerance, _hamacher = reward_utils.tolerance, reward_utils.hamacher_product

AT_MARGIN = reward_utils._DEFAULT_VALUE_AT_MARGIN
LONG_TAIL = float(np.sqrt(1 / AT_MARGIN - 1))
_GAUSSIAN = float(np.sqrt(-2 * np.log(AT_MARGIN)))
# Beyond this, squaring overflows: Python raises where NumPy gives inf.
_SQUARABLE = 1e150


def scalar_norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """`np.linalg.norm` where BLAS rounds each product; fast for 2 to 4 float64."""
    if (
        type(x) is ndarray
        and x.dtype is _F64
        and (ord is None or ord == 2)
        and axis is None
        and not keepdims
    ):
        shape = x.shape
        if shape == (3,):
            a, b, c = x.tolist()
            return _float64(_sqrt(a * a + b * b + c * c))
        if shape == (2,):
            a, b = x.tolist()
            return _float64(_sqrt(a * a + b * b))
        if shape == (4,):
            a, b, c, d = x.tolist()
            return _float64(_sqrt(a * a + b * b + c * c + d * d))
    return _norm(x, ord, axis, keepdims)


def blas_norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """`np.linalg.norm` by the same call of BLAS; fast for a contiguous float64 vector."""
    if (
        type(x) is ndarray
        and x.dtype is _F64
        and (ord is None or ord == 2)
        and axis is None
        and not keepdims
        and x.strides == (8,)
    ):
        return _float64(_sqrt(x.dot(x)))
    return _norm(x, ord, axis, keepdims)


def _products_are_rounded() -> bool:
    """Whether BLAS rounds each product of a short dot product on this CPU, as Python does."""
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=size) for _ in range(300) for size in (2, 3, 4))
    return all(scalar_norm(vector) == _norm(vector) for vector in vectors)


norm = scalar_norm if _products_are_rounded() else blas_norm


def plane_norm(a: float, b: float) -> float:
    """The 2-norm of (a, b), for the same numbers as `norm`."""
    return _sqrt(a * a + b * b) if norm is scalar_norm else float(norm(np.array((a, b))))


def clip(x: Any, low: Any, high: Any) -> Any:
    """`np.clip`; fast for a float strictly inside its bounds (on them, -0.0 may change)."""
    kind = type(x)
    if (kind in _FLOATS or kind is np.float32) and low < x < high:
        return _float64(x) if kind is float else x
    return _clip(x, low, high)


def absolute(x: Any) -> Any:
    """`np.abs`; fast for an np.float64."""
    return abs(x) if type(x) is _float64 else _abs(x)


def hstack(parts: Any) -> Any:
    """`np.hstack`; fast for a tuple of two np.float64 or of two float64 vectors."""
    if type(parts) is tuple and len(parts) == 2:
        a, b = parts
        if type(a) is _float64 and type(b) is _float64:
            return np.array(parts)
        if type(a) is ndarray and type(b) is ndarray and a.ndim == 1 and b.ndim == 1:
            return np.concatenate(parts)
    return _hstack(parts)


def tolerance(
    x: Any,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: Any = 0.0,
    sigmoid: Any = "gaussian",
    value_at_margin: float = AT_MARGIN,
) -> Any:
    """`reward_utils.tolerance`; fast for a float with a positive margin, long-tail or Gaussian."""
    if (
        type(x) in _FLOATS
        and type(margin) in _FLOATS
        and margin > 0.0
        and value_at_margin == AT_MARGIN
        and (sigmoid == "long_tail" or sigmoid == "gaussian")
    ):
        lower, upper = bounds
        if lower <= x <= upper:
            return 1.0
        d = float(lower - x if x < lower else x - upper) / float(margin)
        if lower <= upper and d < _SQUARABLE:
            # ** is pow, which is not x * x to the last bit; official code squares with pow.
            if sigmoid == "long_tail":
                return 1.0 / ((d * LONG_TAIL) ** 2 + 1.0)
            return float(np.exp(-0.5 * (d * _GAUSSIAN) ** 2))
    return _tolerance(x, bounds, margin, sigmoid, value_at_margin)


def hamacher_product(a: Any, b: Any) -> Any:
    """`reward_utils.hamacher_product`, with the product taken once."""
    if 0.0 <= a <= 1.0 and 0.0 <= b <= 1.0:
        product = a * b
        denominator = a + b - product
        result = product / denominator if denominator > 0 else 0
        if 0.0 <= result <= 1.0:
            return result
    return _hamacher(a, b)


def matrix_to_quat(matrix: ndarray) -> ndarray | None:
    """SciPy's quaternion (x, y, z, w), (4,) float64, of a rotation matrix (3, 3) float64.

    None where SciPy would first orthogonalise, or nearly so, or refuse: its own code decides then.
    """
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = matrix.tolist()
    # SciPy accepts rows with |r.r - 1| <= 1e-5 and |r.s| <= 1e-12; we keep well inside.
    if not (
        -9e-6 < m00 * m00 + m01 * m01 + m02 * m02 - 1.0 < 9e-6
        and -9e-6 < m10 * m10 + m11 * m11 + m12 * m12 - 1.0 < 9e-6
        and -9e-6 < m20 * m20 + m21 * m21 + m22 * m22 - 1.0 < 9e-6
        and -9e-13 < m00 * m10 + m01 * m11 + m02 * m12 < 9e-13
        and -9e-13 < m00 * m20 + m01 * m21 + m02 * m22 < 9e-13
        and -9e-13 < m10 * m20 + m11 * m21 + m12 * m22 < 9e-13
        and m00 * (m11 * m22 - m12 * m21)
        - m01 * (m10 * m22 - m12 * m20)
        + m02 * (m10 * m21 - m11 * m20)
        > 0.5
    ):
        return None
    trace = m00 + m11 + m22
    largest = m00 if m00 >= m11 else m11
    if m22 > largest:
        largest = m22
    if trace > largest:
        x, y, z, w = m21 - m12, m02 - m20, m10 - m01, 1 + trace
    elif largest == m00:
        x, y, z, w = 1 - trace + 2 * m00, m10 + m01, m20 + m02, m21 - m12
    elif largest == m11:
        x, y, z, w = m01 + m10, 1 - trace + 2 * m11, m21 + m12, m02 - m20
    else:
        x, y, z, w = m02 + m20, m12 + m21, 1 - trace + 2 * m22, m10 - m01
    length = _sqrt(x * x + y * y + z * z + w * w)
    return np.array((x / length, y / length, z / length, w / length))


def middle(right: ndarray, left: ndarray) -> ndarray:
    """(right + left) / 2, (3,) float64, a fresh array: the point between the fingers."""
    return (right + left) / 2.0


def caged(
    left_pad: ndarray,
    right_pad: ndarray,
    obj: ndarray,
    first_obj: ndarray,
    radius: float,
    threshold: float,
    right_tip: ndarray,
    left_tip: ndarray,
    first_tip: ndarray,
    xz_threshold: float,
) -> float:
    """How well the fingers enclose an object, 0 to 1: the first part of Meta-World's caging reward.

    Args:
        left_pad: place of the left pad, (3,) float64, in metres as all others.
        right_pad: place of the right pad.
        obj: place of the object.
        first_obj: place of the object at the episode's start.
        radius: of the object.
        threshold: distance of a pad from the object that counts as caging.
        right_tip: place of the right finger's end.
        left_tip: place of the left finger's end.
        first_tip: the point between the ends at the episode's start.
        xz_threshold: distance in the plane that counts as caging.
    """
    x, y, z = obj.tolist()
    x_init, y_init, z_init = first_obj.tolist()  # which may be float32: exact here too
    sides = []
    for pad in (left_pad, right_pad):
        pad_y = pad.item(1)
        margin = abs(abs(pad_y - y_init) - threshold)
        sides.append(tolerance(abs(pad_y - y), (radius, threshold), margin, "long_tail"))
    tip_x = (right_tip.item(0) + left_tip.item(0)) / 2.0
    tip_z = (right_tip.item(2) + left_tip.item(2)) / 2.0
    tip_x_init, _, tip_z_init = first_tip.tolist()
    margin = plane_norm(x_init - tip_x_init, z_init - tip_z_init) - xz_threshold
    distance = plane_norm(tip_x - x, tip_z - z)
    near = tolerance(distance, (0, xz_threshold), margin, "long_tail")
    return hamacher_product(hamacher_product(*sides), float(near))


PYTHON: dict[str, Callable[..., Any]] = {
    "norm": norm,
    "tolerance": tolerance,
    "hamacher_product": hamacher_product,
    "matrix_to_quat": matrix_to_quat,
    "middle": middle,
    "caged": caged,
}
"""What can be compiled, as it is without a compiler."""
