"""What the agent acts in."""

from envs.viewing import gl  # noqa: F401, I001 - before all else that imports MuJoCo, which MUJOCO_GL could break
from envs import gym_ids

gym_ids.register()
