"""What renders, and what is said where nothing can."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envs.viewing import gl

ROOT = Path(__file__).resolve().parents[3]


class TestBackend:
    @pytest.fixture(autouse=True)
    def _fresh(self):
        gl.backend.cache_clear()
        yield
        gl.backend.cache_clear()

    @pytest.mark.parametrize(
        ("value", "says"), [("bogus", "none of"), ("off", "switches rendering off")]
    )
    def test_a_useless_choice_is_named(
        self, value: str, says: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MUJOCO_GL", value)
        with pytest.raises(gl.GLError, match=f"MUJOCO_GL={value} .*{says}"):
            gl.backend()

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems have a display")
    def test_a_choice_that_does_not_work_is_not_replaced(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MUJOCO_GL", "glfw")
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        with pytest.raises(gl.GLError, match=r"(?s)there is no display.*unset MUJOCO_GL"):
            gl.backend()

    def test_the_first_that_works_is_chosen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried = []

        def probe(name: str) -> str:
            tried.append(name)
            return "" if name == "osmesa" else "broken"

        monkeypatch.delenv("MUJOCO_GL", raising=False)
        monkeypatch.setattr(gl, "BACKENDS", ("egl", "osmesa", "glfw"))
        monkeypatch.setattr(gl, "_probe", probe)
        assert gl.backend() == "osmesa"
        assert tried == ["egl", "osmesa"]

    def test_missing_libraries_are_named_with_their_packages(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("MUJOCO_GL", raising=False)
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        monkeypatch.setattr(gl, "BACKENDS", ("egl", "osmesa"))
        monkeypatch.setattr(gl, "_PROBE", "raise SystemExit(1)")
        monkeypatch.setattr(gl, "_loads", lambda library: False)
        with pytest.raises(gl.GLError) as error:
            gl.backend()
        for part in (
            "libEGL.so.1 is not installed",
            "libOSMesa.so.8",
            "apt-get install libegl1 libgl1",
            "apt-get install libosmesa6",
        ):
            assert part in str(error.value)

    def test_a_crashing_driver_is_survived(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gl, "_PROBE", "import os; os.abort()")
        assert gl._probe("cgl") == "trying it ended with status -6"


def test_only_rendering_depends_on_opengl() -> None:
    """MuJoCo refuses to be imported with a MUJOCO_GL that is not there; stepping needs none."""
    program = """
from envs.viewing import gl
from envs.metaworld.task_env import TaskEnv
import os
assert os.environ["MUJOCO_GL"] == "bogus"
env = TaskEnv("reach-v3")
try:
    gl.backend()
except gl.GLError:
    print("stepping only")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "MUJOCO_GL": "bogus"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "stepping only\n", done.stderr
