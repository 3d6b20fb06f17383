"""Trials in a window, one after another at the simulation's own speed."""

# pyright: reportAttributeAccessIssue=false
# (mujoco has no stubs)
from __future__ import annotations

import importlib
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from agents.acting.own import OwnAgent
from envs.pool.pool import Policy
from envs.trials.trial import Trial
from envs.viewing.gl import has_display, mujoco
from envs.viewing.playback import Cell, Playback

_CLOSING_SECONDS = 20.0
# In a process of its own: where it fails, MuJoCo's viewer would wait for its window for ever.
_PROBE = """
import os
import glfw
opened = glfw.init()
if opened:
    glfw.window_hint(glfw.VISIBLE, False)
    opened = glfw.create_window(64, 64, "", None, None)
os._exit(0 if opened else 1)
"""


def display_problems() -> list[str]:
    """Why no window can be opened here; [] if one can."""
    advice = "leave out --live to write a video instead"
    if not has_display():
        return [f"--live: there is no display here (DISPLAY and WAYLAND_DISPLAY unset); {advice}"]
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, check=False)
    return [f"--live: the display here cannot be opened; {advice}"] if done.returncode else []


def watch_live(
    policy: Policy, slots: Sequence[Trial | None], *, lanes: int, own: OwnAgent | None = None
) -> None:
    """Show each trial in a window; closing a window ends the whole.

    The window has a copy of the pose, so whatever is done in it with the mouse leaves the trial
    as it is.

    Args:
        policy: what acts.
        slots: the trials, in their blocks; see `envs.viewing.playback.Playback`.
        lanes: trials of a block.
        own: acts instead of `policy`.

    Raises:
        OSError: no window can be opened.
        FloatingPointError: the policy gave an action that is not finite.
    """
    for number, trial in enumerate(slots):
        if trial is None:
            continue
        alone = [slot if place == number else None for place, slot in enumerate(slots)]
        play = Playback(policy, alone, lanes=lanes, own=own)
        try:
            if not _show(play):
                return
        finally:
            play.close()


def _show(play: Playback) -> bool:
    """Run one trial in a window; False if the window was closed before the end."""
    cell = play.cells[0]
    env = cell.runner.env.env
    viewer = importlib.import_module("mujoco.viewer")
    before = set(threading.enumerate())
    cell.update_pose()
    try:
        window = viewer.launch_passive(
            env.model, cell.pose, show_left_ui=False, show_right_ui=False
        )
    except RuntimeError as error:  # e.g. macOS, where windows need MuJoCo's own interpreter
        raise OSError(f"no window can be opened: {error}") from error
    try:
        with window.lock():
            window.cam.type = mujoco.mjtCamera.mjCAMERA_FREE
            window.cam.lookat[:] = 0.0, 0.6, 0.15
            window.cam.distance, window.cam.azimuth, window.cam.elevation = 1.6, 130, -30
        due = time.monotonic()
        for step in play.moments():
            if not window.is_running():
                return False
            with window.lock():
                cell.update_pose()
            window.sync()
            due = max(due + env.dt, time.monotonic() - env.dt)
            time.sleep(max(0.0, due - time.monotonic()))
            if step == play.horizon:
                print(_outcome(cell), flush=True)
        return True
    finally:
        window.close()
        # Its thread draws the model until it has ended: a model freed before crashes Python.
        for thread in set(threading.enumerate()) - before:
            thread.join(_CLOSING_SECONDS)


def _outcome(cell: Cell) -> str:
    trial, first = cell.trial, cell.succeeded_at[-1]
    success = "no success" if first is None else f"success at step {first}"
    return (
        f"  {trial.task} {trial.split} goal {trial.goal_index} "
        f"episode {cell.episode}/{trial.episodes}: {success}, return {cell.total:.0f}"
    )
