"""OpenGL for off-screen rendering: which library draws here, and what to install where none does.

`import mujoco` loads the library that MUJOCO_GL names, and fails where that is absent, whatever
MuJoCo is wanted for. Once this module has been imported, only rendering depends on OpenGL.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import subprocess
import sys
from typing import Any, Final

from envs.viewing.descriptors import fill_standard_descriptors

fill_standard_descriptors()  # before MuJoCo, whose import needs standard error
try:
    import mujoco
except Exception:  # MUJOCO_GL names what is not here: `backend` says so once a picture is wanted
    if not (_asked := os.environ.get("MUJOCO_GL")):
        raise
    os.environ["MUJOCO_GL"] = "disable"
    try:
        import mujoco
    finally:
        os.environ["MUJOCO_GL"] = _asked

__all__ = ["BACKENDS", "GLError", "backend", "context", "mujoco"]

BACKENDS: Final[tuple[str, ...]] = {
    "Linux": ("egl", "osmesa", "glfw"),  # a GPU or Mesa; Mesa in memory; a display
    "Darwin": ("cgl",),
}.get(platform.system(), ("glfw",))
"""What this system may render with, best first."""

_PACKAGES = {"egl": "libegl1 libgl1", "osmesa": "libosmesa6"}  # Debian's, and Ubuntu's
_LIBRARIES = {
    "egl": (("libEGL.so.1",), ("libOpenGL.so.0", "libGL.so.1")),
    "osmesa": (("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"),),
}
_ON = ("enable", "enabled", "on", "true", "1", "glx")  # MuJoCo's other names of its default
_OFF = ("disable", "disabled", "off", "false", "0")
_PROBE_SECONDS = 60
# Ends without clean-up: MuJoCo's contexts complain about the order in which Python frees them.
_PROBE = """
import os, sys, traceback
try:
    import mujoco
    context = mujoco.GLContext(16, 16)
    context.make_current()
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
except Exception as error:
    print(*traceback.format_exception_only(error), flush=True)
    os._exit(1)
os._exit(0)
"""


class GLError(RuntimeError):
    """Nothing can be rendered here; each line of the message is a problem or what to type."""


@functools.cache
def backend() -> str:
    """What to render with: MUJOCO_GL where it is set, else the first of `BACKENDS` that works.

    Each is tried in a process of its own, since a failed attempt spoils the next one in the same
    process and some drivers crash instead of failing. Takes about a second, once.

    Raises:
        GLError: none works.
    """
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked in _OFF:
        raise GLError(f"MUJOCO_GL={asked} switches rendering off: unset it")
    name = BACKENDS[-1] if asked in _ON else asked
    if name and name not in BACKENDS:
        choices = ", ".join(BACKENDS)
        raise GLError(f"MUJOCO_GL={asked} is none of {choices}: unset it, and one will be chosen")
    failures = {}
    for candidate in (name,) if name else BACKENDS:
        failure = _probe(candidate)
        if not failure:
            return candidate
        failures[candidate] = failure
    raise GLError("\n".join(_explain(failures, asked)))


def context(width: int, height: int) -> Any:
    """A new OpenGL context with `make_current()` and `free()`; free it before Python exits.

    Raises:
        GLError: nothing can be rendered here.
    """
    name = backend()
    try:
        if name == "egl":
            from mujoco.egl import GLContext
        elif name == "osmesa":
            from mujoco.osmesa import GLContext
        elif name == "cgl":
            from mujoco.cgl import GLContext
        else:
            from mujoco.glfw import GLContext
        return GLContext(width, height)
    except Exception as error:
        raise GLError(
            f"{name} works, but not in this process ({error}): "
            "something else here has loaded another OpenGL library"
        ) from error


def _probe(name: str) -> str:
    """Why `name` cannot render here; empty if it can."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, "MUJOCO_GL": name},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"it could not be tried ({error})"
    if done.returncode == 0:
        return ""
    said = " ".join(done.stdout.split()) or f"trying it ended with status {done.returncode}"
    return _missing(name) or said


def _missing(name: str) -> str:
    """The library or the display that `name` lacks; empty if it lacks neither."""
    for alternatives in _LIBRARIES.get(name, ()):
        if not any(map(_loads, alternatives)):
            return f"{' or '.join(alternatives[:2])} is not installed"
    if name == "glfw" and platform.system() == "Linux" and not has_display():
        return "there is no display (DISPLAY and WAYLAND_DISPLAY are not set)"
    return ""


def has_display() -> bool:
    """Whether windows have a display to open on; of other systems than Linux it is assumed."""
    named = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(named) or platform.system() != "Linux"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _explain(failures: dict[str, str], asked: str) -> list[str]:
    heading = f"MUJOCO_GL={asked} cannot render here" if asked else "nothing here can render"
    reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
    wanted = [_PACKAGES[name] for name in failures if name in _PACKAGES]
    advice = [f"apt-get install {packages}" for packages in wanted]
    named = os.environ.get("PYOPENGL_PLATFORM", "egl")
    if named not in BACKENDS:  # what MuJoCo sets by itself is one of them
        advice.append(f"unset PYOPENGL_PLATFORM (it is {named})")
    if asked and len(BACKENDS) > 1:
        advice.append("unset MUJOCO_GL, and what works will be chosen")
    return [
        f"{heading} ({reasons})",
        f"what may help: {'; or '.join(advice) or 'a display'}; all but watching works without",
    ]
