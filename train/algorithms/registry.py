"""The algorithms by name."""

from __future__ import annotations

from collections.abc import Callable

from envs.metaworld.suites import Suite
from train.algorithms.learner import Learner
from train.algorithms.maml import make_maml
from train.algorithms.ppo import make_ppo
from train.registry import Registry
from train.run.config import Config

MakeLearner = Callable[[Config, Suite], Learner]

ALGORITHMS = Registry[MakeLearner](
    "--algorithm",
    {"maml": make_maml, "ppo": make_ppo},
    fits=callable,
    must_be="a function of the configuration and the suite that makes a Learner",
)
