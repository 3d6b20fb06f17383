"""Two hosts, as network namespaces: each has its own card and cannot see the other's files."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.runs import PER_ITERATION, ROOT, TINY, assert_same_run

HOSTS = {"strata-a": "10.77.0.1", "strata-b": "10.77.0.2"}  # namespaces and cards are named alike
RUN = [*TINY, "--total-steps", str(3 * PER_ITERATION), "--evaluate-every", "80", "--run", "run"]
TORCHRUN = ["torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
TORCHRUN += ["--master-addr", HOSTS["strata-a"], "--master-port", "29511"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


@pytest.fixture
def _hosts() -> Iterator[None]:
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    try:
        for name in HOSTS:
            ip("netns", "add", name)
        one, other = HOSTS
        ip("link", "add", one, "netns", one, "type", "veth", "peer", "name", other, "netns", other)
        for name, address in HOSTS.items():
            ip("-n", name, "addr", "add", f"{address}/24", "dev", name)
            ip("-n", name, "link", "set", name, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20)


def start(host: str, folder: Path, hidden: Path, *argv: str) -> subprocess.Popen[str]:
    """A program on a host, for which the other host's folder is empty."""
    hide = f'mount -t tmpfs none "{hidden}" && exec "$@"'
    command = [sys.executable, "-m", *argv]
    return subprocess.Popen(
        [*("ip", "netns", "exec", host, "unshare", "-m", "bash", "-c", hide, "-"), *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": host},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_hosts")
def test_two_hosts_learn_what_two_learners_of_one_host_learn(tmp_path: Path) -> None:
    """To the last bit; the second host needs no file of the run."""
    folders = {host: tmp_path / host for host in HOSTS}
    for folder in folders.values():
        folder.mkdir()
    programs = []
    for node, (host, hidden) in enumerate(zip(HOSTS, reversed(HOSTS), strict=True)):
        which = [*TORCHRUN, "--node-rank", str(node), "-m", "--", "train.rl2", *RUN]
        programs.append(start(host, folders[host], folders[hidden], *which, "--workers", "1"))
    said = [program.communicate(timeout=240)[0] for program in programs]
    assert [program.returncode for program in programs] == [0, 0], said
    assert list(folders["strata-b"].iterdir()) == []
    alone = [sys.executable, "-m", "train.rl2", *RUN, "--learners", "2", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(alone, cwd=tmp_path, env=environment, check=True, timeout=240)
    assert_same_run(folders["strata-a"] / "run", tmp_path / "run")
