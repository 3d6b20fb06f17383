"""What comes from elsewhere: pinned, and not asked for at run time.

That nothing unpickles or evaluates is in `tests/test_architecture.py`.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.faults.runs import ROOT, TINY
from tests.test_architecture import SOURCES, imported

NETWORK = {
    "aiohttp", "ftplib", "http", "httpx", "huggingface_hub", "imaplib", "poplib", "requests",
    "smtplib", "socketserver", "telnetlib", "urllib", "urllib3", "wandb", "webbrowser", "xmlrpc",
}  # fmt: skip
ON_REQUEST = {"train/run/tracking.py": {"wandb"}, "eval/share.py": {"huggingface_hub"}}
SOCKETS = {
    "envs/pool/pool.py",  # a socketpair to each worker, without any address
    "train/learners/meeting.py",  # several learners meet where --learners or torchrun says
}


def network_modules(source: str) -> set[str]:
    """Packages that talk to a network and that the source imports, whole or in part."""
    return {package for name in imported(source) if (package := name.split(".")[0]) in NETWORK}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_network_module(path: Path) -> None:
    allowed = ON_REQUEST.get(path.relative_to(ROOT).as_posix(), set())
    assert network_modules(path.read_text()) == allowed
    if str(path.relative_to(ROOT)) not in SOCKETS:
        assert "socket" not in imported(path.read_text())


def test_a_network_module_would_be_found() -> None:
    assert network_modules("def f():\n    from urllib.request import urlopen")


AUDIT = """
import sys
ASKED = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo",
         "socket.gethostbyname", "urllib.Request", "ftplib.connect", "http.client.connect")
def hook(event, arguments):
    if event in ASKED:
        with open({log!r}, "a") as file:
            file.write(f"{{event}} {{arguments!r}}\\n")
sys.addaudithook(hook)
"""
PROGRAMS = """
import sys
import eval.evaluate, train.rl2
sys.exit(train.rl2.main({train!r}) or eval.evaluate.main({evaluate!r}))
"""  # in one process, which imports torch but once


def test_no_network_at_run_time(tmp_path: Path) -> None:
    """Training, its workers and evaluation, with every request of Python's own written down."""
    log, hooks, run = tmp_path / "requests", tmp_path / "hooks", tmp_path / "run"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(AUDIT.format(log=str(log)))
    train = [*TINY, "--total-steps", "40", "--run", str(run), "--workers", "1"]
    few = ["--goals", "1", "--episodes", "1", "--horizon", "3", "--no-official"]
    evaluate = [str(run), *few, "--workers", "1"]
    programs = PROGRAMS.format(train=train, evaluate=evaluate)
    asks = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('', 0))"
    for code, heard in ((programs, False), (asks, True)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{hooks}:{ROOT}", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert log.exists() == heard, log.read_text() if log.exists() else "the hook is deaf"
    assert json.loads((run / "config.json").read_text())["task"] == "reach-v3"


def locked() -> dict[str, str]:
    """name -> exact version, of requirements.lock; every entry has hashes of its files."""
    pins = {}
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", "")
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            entry, *hashes = line.split("--hash=")
            match = re.fullmatch(r"([A-Za-z0-9_.-]+)==([A-Za-z0-9_.+!-]+)(\s*;.*)?", entry.strip())
            assert match, f"{entry!r} is no exact pin"
            assert hashes, f"{entry!r} has no hash: make lock"
            assert all(re.fullmatch("sha256:[0-9a-f]{64}", found.strip()) for found in hashes)
            pins[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return pins


def test_the_lock_file_pins_everything_that_is_declared() -> None:
    """Exact versions that our own bounds allow; a dependency added later must be locked too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pins = locked()
    for requirement in map(Requirement, declared):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pins, f"{name} is not locked: make lock"
        assert requirement.specifier.contains(pins[name]), f"{name} {pins[name]}: make lock"
    assert len(pins) > 2 * len(declared)  # what they depend on is pinned too
