"""Pictures of trials, drawn off-screen: `render_trials` gives the frames of a labelled grid.

    frames = render_trials(policy, trials, lanes=10, size=240, every=5)

What is watched is what is measured: `envs.viewing.playback` runs the same trials as
`envs.pool.pool` does.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco has no stubs)
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
from PIL import Image

from envs.pool.pool import Policy
from envs.trials.trial import Trial
from envs.viewing import gl
from envs.viewing.captions import Layout, compose
from envs.viewing.gl import GLError, mujoco
from envs.viewing.playback import Cell, Playback

__all__ = ["CAMERAS", "Camera", "GLError", "Stage", "film", "frame_count", "render_trials"]

Camera = Literal[
    "corner4", "corner", "corner2", "corner3", "topview", "behindGripper", "gripperPOV"
]
CAMERAS: Final[tuple[str, ...]] = get_args(Camera)
MIN_SIZE, MAX_SIZE = 96, 1024  # below that, labels do not fit

_GEOMS = 2000  # a task has about a hundred
_GOAL_RGBA = np.array([0.1, 1.0, 0.2, 0.5], dtype=np.float32)
_OTHER_RGBA = np.array([0.75, 0.75, 0.8, 0.5], dtype=np.float32)
_WRONG_RGBA = np.array([0.9, 0.15, 0.1, 1.0], dtype=np.float32)
_GOAL_RADIUS = 0.025  # metres
_OVERSAMPLING = 2  # against jagged edges: on Mesa twice as fast as OpenGL's own four samples
_UPSIDE_DOWN = -0.1  # of the camera's upward direction, the vertical part


class Stage:
    """Draws simulators with one OpenGL context, whatever number of models there is.

    Several `mujoco.Renderer` in one process, each with a context of its own, corrupt each other's
    pictures on some drivers. Shadows and reflections are left out: without a GPU they cost
    several times as much as all the rest.

    Args:
        size: width and height of a picture in pixels.
        camera: one of `CAMERAS`.

    Raises:
        GLError: nothing can be rendered here.
    """

    def __init__(self, size: int = 240, camera: str = "corner4") -> None:
        if camera not in CAMERAS:
            raise ValueError(f"unknown camera {camera!r}; known are {', '.join(CAMERAS)}")
        if not MIN_SIZE <= size <= MAX_SIZE:
            raise ValueError(f"size must be from {MIN_SIZE} to {MAX_SIZE} pixels, not {size}")
        self.size, self.camera = size, camera
        self._side = size * _OVERSAMPLING
        self._kits: dict[str, tuple[Any, Any]] = {}
        self._context: Any = gl.context(self._side, self._side)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def picture(self, cell: Cell) -> np.ndarray:
        """How `cell` stands, (size, size, 3) uint8, right side up, with its goal marked."""
        model = cell.runner.env.env.model
        cell.update_pose()
        self._context.make_current()
        resources, scene = self._kit(cell.trial.task, model)
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = model.camera(self.camera).id
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        option = mujoco.MjvOption()
        mujoco.mjv_updateScene(model, cell.pose, option, None, camera, everything, scene)
        for place, rgba in marks(cell):
            _mark(scene, place, rgba)
        area = mujoco.MjrRect(0, 0, self._side, self._side)
        pixels = np.empty((self._side, self._side, 3), dtype=np.uint8)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, resources)
        mujoco.mjr_render(area, scene, resources)
        mujoco.mjr_readPixels(pixels, None, area, resources)
        # OpenGL's rows go upwards. Half of Meta-World's cameras hang upside down; turning the
        # picture round by 180° then reverses the columns instead.
        upright = cell.pose.cam_xmat[camera.fixedcamid][7] >= _UPSIDE_DOWN
        pixels = pixels[::-1] if upright else pixels[:, ::-1]
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(_OVERSAMPLING))

    def _kit(self, task: str, model: Any) -> tuple[Any, Any]:
        """Meshes and textures on the GPU, and the scene, shared by all simulators of a task."""
        if task not in self._kits:
            quality, area = model.vis.quality, model.vis.global_
            before = quality.shadowsize, quality.offsamples, area.offwidth, area.offheight
            quality.shadowsize = quality.offsamples = 0
            area.offwidth = area.offheight = self._side
            try:
                resources = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
            except mujoco.FatalError as error:  # e.g. no memory left on the GPU
                raise GLError(f"{task} cannot be drawn: {error}") from error
            finally:
                quality.shadowsize, quality.offsamples, area.offwidth, area.offheight = before
            scene = mujoco.MjvScene(model, maxgeom=_GEOMS)
            scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
            scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
            self._kits[task] = resources, scene
        return self._kits[task]

    def close(self) -> None:
        """Free everything on the GPU; idempotent."""
        if self._context is None:
            return
        self._context.make_current()
        for resources, _ in self._kits.values():
            resources.free()
        self._kits.clear()
        self._context.free()
        self._context = None


def marks(cell: Cell) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where to mark what, (3,) metres and RGBA: the goal, or the targets of a FORK trial.

    The target that counts is green, the others are grey; a wrong one that was touched turns red,
    and the right one opaque.
    """
    if cell.trial.fork is None:
        return [(cell.target, _GOAL_RGBA)]
    found = []
    for option, (place, counts) in enumerate(cell.targets()):
        touched = option == cell.choice
        rgba = (_GOAL_RGBA if counts else _WRONG_RGBA if touched else _OTHER_RGBA).copy()
        rgba[3] = 1.0 if touched else rgba[3]
        found.append((place, rgba))
    return found


def _mark(scene: Any, place: np.ndarray, rgba: np.ndarray) -> None:
    """A translucent sphere: the tasks' own markers are of all sizes and colours, or absent."""
    if scene.ngeom >= scene.maxgeom:
        return
    mujoco.mjv_initGeom(
        scene.geoms[scene.ngeom],
        mujoco.mjtGeom.mjGEOM_SPHERE,
        np.full(3, _GOAL_RADIUS),
        place.astype(np.float64),
        np.eye(3).ravel(),
        rgba,
    )
    scene.geoms[scene.ngeom].emission = 0.5  # bright in the shade of a shelf, too
    scene.ngeom += 1


def frame_count(*, episodes: int, horizon: int, every: int) -> int:
    """Frames of a film: each episode's start, every `every` steps of it, and its end."""
    return episodes * (1 + -(-horizon // every))


def film(
    play: Playback,
    *,
    size: int = 240,
    every: int = 5,
    camera: str = "corner4",
    columns: int | None = None,
    title: str = "",
) -> Iterator[np.ndarray]:
    """Run `play` and yield its frames one by one, each (height, width, 3) uint8.

    Args:
        play: the trials, not yet run.
        size: width and height of each cell's picture in pixels.
        every: steps from one frame to the next; an episode's start and end are always shown.
        camera: one of `CAMERAS`.
        columns: cells in a row; default: as square as may be, rather wide than tall.
        title: line at the top.

    Raises:
        GLError: nothing can be rendered here.
        FloatingPointError: the policy gave an action that is not finite.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, not {every}")
    count = len(play.cells)
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    layout = Layout(size, columns, -(-count // columns))
    with Stage(size, camera) as stage:
        for step in play.moments():
            if step % every == 0 or step == play.horizon:
                pictures = [stage.picture(cell) for cell in play.cells]
                yield compose(play.cells, pictures, layout, title)


def render_trials(
    policy: Policy,
    trials: Sequence[Trial | None],
    *,
    lanes: int,
    size: int = 240,
    every: int = 5,
    camera: str = "corner4",
    columns: int | None = None,
    title: str = "",
) -> np.ndarray:
    """The frames of `trials`, (frames, height, width, 3) uint8, one cell for each trial.

    Height and width are multiples of 16. Frames of long trials are large: `film` gives them one
    by one, and `envs.viewing.video.write_video` takes them so.

    Args:
        policy: what acts.
        trials: all of the same episodes and horizon; None holds a place in its block only.
        lanes: trials that act together, as in `envs.pool.pool.WorkerPool.run`.
        size: see `film`, as for what follows.
        every: steps from one frame to the next.
        camera: one of `CAMERAS`.
        columns: cells in a row.
        title: line at the top.

    Raises:
        GLError: nothing can be rendered here.
        FloatingPointError: the policy gave an action that is not finite.
        ValueError: an argument is out of range.
    """
    play = Playback(policy, trials, lanes=lanes)
    try:
        frames = film(play, size=size, every=every, camera=camera, columns=columns, title=title)
        return np.stack(list(frames))
    finally:
        play.close()
