"""Everything that `gymnasium.make` and `make_vec` know of Strata; importing `envs` registers it.

    import envs
    env = gymnasium.make("Strata/MT1", env_name="reach-v3", seed=1)

Entry points are strings, so that nothing is imported before an environment is made.
"""

from __future__ import annotations

import gymnasium as gym

from envs.memory_tests.fork import FORKS

MT = ("MT10", "MT25", "MT50")
ML = ("ML1", "ML10", "ML25", "ML45")
STREAMS = ("CW10", "CW20", "CL5x2")

_MAKERS = "envs.metaworld.gym_make"
_STREAM = "envs.metaworld.gym_stream:StreamEnv"
_TRIALS = "envs.pool.gym_trials"


def register() -> None:
    """Register all ids."""
    gym.register("Strata/MT1", f"{_MAKERS}:make_mt1")
    for name in MT:
        gym.register(
            f"Strata/{name}", vector_entry_point=f"{_MAKERS}:make_mt", kwargs={"benchmark": name}
        )
    for name in ML:
        for split in ("train", "test"):
            gym.register(
                f"Strata/{name}-{split}",
                vector_entry_point=f"{_MAKERS}:make_ml",
                kwargs={"benchmark": name, "split": split},
            )
    for name in STREAMS:
        gym.register(f"Strata/{name}", _STREAM, kwargs={"stream": name})
    gym.register("Strata/Stream", _STREAM, kwargs={"stream": "custom"})
    gym.register(
        "Strata/Trials",
        f"{_TRIALS}:make_trial_env",
        vector_entry_point=f"{_TRIALS}:make_trial_vector_env",
    )
    for name in FORKS:
        gym.register(f"Strata/{name}", "envs.memory_tests.gym_env:ForkEnv", kwargs={"suite": name})
