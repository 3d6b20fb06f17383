"""Settings of all tests."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401 - so that jaxtyping finds it by its name

# Signatures promise shapes and types; while tests run, every call is held to them.
install_import_hook(
    [
        "agents",
        "memory",
        "train.algorithms.ppo",
        "train.algorithms.rollout",
        "train.collect",
        *(
            f"train.long_term.{n}"
            for n in ("contract", "episodic", "replay", "slow_policies", "stack")
        ),
    ],
    "tests.typecheck.check",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Any:
    """What is imported stays: the garbage collector need not look through it time and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny matrices gain nothing from threads, and waiting threads starve the workers."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _models_are_compiled_once() -> Iterator[None]:
    from tests.compiled_models import compiled_once  # slow to import, and not needed to collect

    with compiled_once():
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_worker_outlives_the_tests() -> Iterator[None]:
    from tests.lent import end_lent_workers  # after the hook: it imports agents

    yield
    end_lent_workers()


@pytest.fixture(scope="module")
def lent() -> Iterator[None]:
    """Programs run in this process share workers and goals."""
    from tests.lent import lending  # after the hook: it imports agents

    with lending():
        yield
