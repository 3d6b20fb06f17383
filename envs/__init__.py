"""What the agent acts in."""

from envs.viewing import gl  # noqa: F401 - before all else that imports MuJoCo, which MUJOCO_GL could break
