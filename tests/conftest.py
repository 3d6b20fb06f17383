"""Settings of all tests."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny matrices gain nothing from threads, and waiting threads starve the workers."""
    torch.set_num_threads(1)
