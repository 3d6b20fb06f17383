"""How many cores there are, by which workers are counted."""

import os

import pytest

from envs.pool.pool import available_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
@pytest.mark.parametrize(
    ("given", "cores"), [("1", 1), ("9999", None), ("", None), ("2(x3)", None), ("0", 1)]
)
def test_no_more_than_the_process_is_bound_to_nor_slurm_gave(
    monkeypatch: pytest.MonkeyPatch, given: str, cores: int | None
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert available_cores() == (cores or len(os.sched_getaffinity(0)))
    own = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(own)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, own)
