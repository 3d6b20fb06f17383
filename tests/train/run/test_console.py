"""A console that breaks costs what was shown on it, and nothing else."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from train.run.console import ForgivingStream, forgiving_console

ROOT = Path(__file__).resolve().parents[3]
EVERY_PROGRAM = (
    "train.rl2", "train.continual", "train.maml", "train.many", "train.sweep", "eval.evaluate",
    "eval.watch", "eval.report", "eval.curves", "eval.continual", "eval.throughput", "eval.share",
    "eval.traces", "eval.extinction", "eval.throughput.messages",
)  # fmt: skip
PROGRAM = """
import sys
from train.run.console import forgiving_console

@forgiving_console()
def main():
    for _ in range(3):
        print("RL² ×" * 5000, flush=True)
    return 0

sys.exit(main())
"""


def run(shell: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run PROGRAM as ``$PY`` in a shell line."""
    (cwd / "program.py").write_text(PROGRAM, encoding="utf-8")
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PY": sys.executable, **environment}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}"], cwd=cwd, env=variables, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    "shell", ["$PY program.py | true", "$PY program.py > /dev/full", "$PY program.py >&-"]
)
def test_the_exit_code_is_that_of_the_work(tmp_path: Path, shell: str) -> None:
    """A pipe whose reader is gone, a full disk, a closed output: code 0, no traceback."""
    done = run(shell, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.count("standard output has failed") == ("&-" not in shell)


@pytest.mark.parametrize("shell", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_stands_in_for_a_closed_terminal(tmp_path: Path, shell: str) -> None:
    """A log that was opened as number 2 got what a signal's handler tells the terminal."""
    line = "import sys; from train.run.console import forgiving_console as c; c().__enter__(); "
    done = run(f"$PY -c \"{line}sys.exit(open('log', 'w').fileno() <= 2)\" {shell}", tmp_path)
    assert done.returncode == 0


def test_a_program_starts_with_everything_closed(tmp_path: Path) -> None:
    """MuJoCo could not be imported without standard error, so no program began."""
    assert run("$PY -m train.rl2 --help <&- >&- 2>&-", tmp_path).returncode == 0


def test_an_ascii_terminal_shows_what_it_can(tmp_path: Path) -> None:
    done = run("$PY program.py", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("RL? ?")


def test_help_into_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    done = run("$PY -m eval.curves --help | true", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_broken_stream_is_named_once() -> None:
    class Full(io.StringIO):
        encoding = "utf-8"  # type: ignore[assignment]

        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    stream = ForgivingStream(Full(), "standard output")
    with pytest.warns(RuntimeWarning, match="standard output has failed.*No space left") as told:
        assert [stream.write(text) for text in ("one", "two")] == [3, 3]
    stream.flush()
    assert len(told) == 1


def test_the_streams_come_back() -> None:
    before = sys.stdout, sys.stderr
    with forgiving_console():
        assert isinstance(sys.stdout, ForgivingStream)
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize("program", EVERY_PROGRAM)
def test_every_program_forgives(program: str) -> None:
    """The decorator is on each ``main``, outside of all else."""
    path = ROOT / (program.replace(".", "/") + ".py")
    source = (path if path.exists() else path.with_suffix("") / "__main__.py").read_text()
    assert "@forgiving_console()" in source.split("\ndef main(")[0].rpartition("\n\n\n")[2]
