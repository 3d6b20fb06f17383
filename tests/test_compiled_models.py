"""Sharing what was compiled changes nothing that a test could see."""

import copy

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS


def saved(model: mujoco.MjModel) -> np.ndarray:
    """All of a model, as MuJoCo writes it into a file."""
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer


def test_a_copy_is_what_would_be_compiled_and_nobody_elses() -> None:
    one, other = (ALL_V3_ENVIRONMENTS["reach-v3"]() for _ in range(2))
    compiled = mujoco.MjModel.from_xml_path(one.fullpath)
    np.testing.assert_array_equal(saved(copy.copy(compiled)), saved(compiled))
    np.testing.assert_array_equal(saved(one.model), saved(other.model))
    one.model.body_pos[1] += 1.0
    assert (saved(one.model) != saved(other.model)).any()
    assert (other.model.body_pos == compiled.body_pos).all()
