"""Training for half an hour while everything that may go wrong does, again and again.

    STRATA_SOAK_MINUTES=4 python -m pytest -m slow tests/faults/test_soak.py -n 0 -s

Workers kill themselves, hang, raise and spoil their simulations at random; one hangs at once. The
program is stopped by SIGTERM, SIGHUP and SIGKILL in turn, loses its console, and meets a second
process that wants its folder. Its newest checkpoint is damaged before it is resumed. It must always
go on, and take no more memory, files, processes or shared memory at the end than in the beginning.
"""

import os
import random
import signal
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest
from scipy.stats import theilslopes

from tests.faults.runs import (
    PER_ITERATION,
    ROOT,
    TINY,
    assert_finite,
    lines,
    nothing_left,
    plan,
    session,
    start,
)
from train.run import checkpoint
from train.run.run_folder import holder

MINUTES = float(os.environ.get("STRATA_SOAK_MINUTES", "30"))
KINDS = [
    *("kill", "raise", "blow up", "nan reward", "inf obs", "kill all") * 4,
    "hang",  # seldom: it costs half a minute
]
HANG = {"kind": "hang", "at": 200}  # in the first iteration, so that a short soak has one
STOPS = [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
PROGRAM = "tests.faults.soaked"
WORKERS = 2
STARTING = 240.0  # seconds that a program may take until it trains, on a busy machine
ENOUGH = 40  # iterations of a life, for a slope
MOST_GROWTH = 32.0  # KiB an iteration, once what is kept of resets is complete


@dataclass
class Life:
    """One program of many: what is done to it. The periods differ, so that all of it combines.

    Attributes:
        number: of the program, from 0.
    """

    number: int

    @property
    def broken(self) -> bool:
        """Whether its console is."""
        return self.number % 4 == 1

    @property
    def intruded(self) -> bool:
        """Whether a second process wants its folder."""
        return self.number % 5 in (0, 2)

    @property
    def stop(self) -> signal.Signals:
        """The signal that ends it."""
        return STOPS[self.number % len(STOPS)]

    def seconds(self, dice: random.Random) -> float:
        """How long it trains: the second one for a quarter of the soak, which shows a slope."""
        return 15 * MINUTES if self.number == 1 else dice.uniform(30, 120)


@dataclass
class Readings:
    """What one program took, sampled while it ran."""

    memory: list[float] = field(default_factory=list)  # MiB, of the program itself
    workers: list[float] = field(default_factory=list)  # MiB, of all its workers
    iterations: list[int] = field(default_factory=list)  # logged by then
    files: list[int] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)

    def take(self, pid: int, iterations: int) -> None:
        own, all_of_them = resident(pid), session(pid)
        try:
            files = len(os.listdir(f"/proc/{pid}/fd"))
        except (FileNotFoundError, ProcessLookupError):
            return
        if not own:
            return
        self.memory.append(own)
        self.iterations.append(iterations)
        self.workers.append(sum(resident(one) for one in all_of_them if one != pid))
        self.files.append(files)
        self.processes.append(len(all_of_them))


def resident(pid: int) -> float:
    """MiB of memory that a process has; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(status.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in status else 0.0


def damage(run: Path, dice: random.Random) -> bool:
    """Spoil, cut off or delete a file of the newest checkpoint, if an older one remains."""
    saved = sorted(path for path in (run / "checkpoints").glob("[0-9]*") if path.is_dir())
    if len(saved) < 2:
        return False
    victim = dice.choice(sorted(saved[-1].iterdir()))
    data = bytearray(victim.read_bytes())
    how = dice.choice(["flip", "cut", "delete"])
    if how == "flip" and data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        victim.write_bytes(data)
    elif how == "cut":
        victim.write_bytes(data[: len(data) // 2])
    else:
        victim.unlink()
    return True


def live(program: subprocess.Popen[str], seconds: float, run: Path) -> Readings:
    """Let the program train for `seconds`, looking at it twice a second; first it may start."""
    before, readings = logged(run), Readings()
    latest = time.monotonic() + STARTING + seconds
    while time.monotonic() < latest and program.poll() is None:
        if (iterations := logged(run)) > before:
            if not readings.memory:
                latest = time.monotonic() + seconds
            readings.take(program.pid, iterations)
        time.sleep(0.5)
    return readings


@contextmanager
def console(out: TextIO, *, broken: bool) -> Iterator[dict[str, Any]]:
    """Where a program's output goes; of a broken one only what it says on stderr is kept."""
    if not broken:
        yield {"stdout": out}
        return
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield {"stdout": writer, "stderr": out}
    finally:
        os.close(writer)


def intrude(run: Path, folder: Path, environment: dict[str, str]) -> None:
    """A second process that wants the run while another trains it: told, and gone."""
    with nothing_left() as programs:
        second = start("--resume", str(run), cwd=folder, module=PROGRAM, **environment)
        programs.append(second)
        said = second.communicate(timeout=300)[0]
    assert second.returncode == 2, said
    assert "is in use by process" in said, said


def flat(values: list[float]) -> bool:
    """Whether the last third is no higher than the middle third, by more than noise."""
    third = len(values) // 3
    middle, last = statistics.median(values[third:-third]), statistics.median(values[-third:])
    return last <= 1.05 * middle + 8


def growth(values: list[float], iterations: list[int]) -> float:
    """KiB an iteration by which the last two thirds of a life rise: the median of all slopes.

    A worker that is replaced drops out of the sum for a moment, which moves no median.

    Args:
        values: MiB.
        iterations: done when each of them was read.
    """
    first = len(values) // 3
    return 1024 * float(np.asarray(theilslopes(values[first:], iterations[first:]))[0])


def logged(run: Path) -> int:
    """Iterations in the log, whole lines only."""
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def check_memory(one: Readings) -> None:
    """Nothing grows in a life; a life of few iterations says nothing, and is told."""
    count = len(set(one.iterations))
    if count < ENOUGH:
        print(f"the longest life has {count} iterations: too few to say whether memory grows")
        return
    print(f"memory {one.memory[-1]:.0f} MiB, files {one.files[-1]}, in {count} iterations")
    assert flat(one.memory), one.memory
    assert flat([float(files) for files in one.files]), one.files
    rises = [growth(of, one.iterations) for of in (one.memory, one.workers)]
    print(f"an iteration takes {rises[0]:.1f} KiB more, and {rises[1]:.1f} in the workers")
    assert max(rises) < MOST_GROWTH, (one.memory, one.workers)


def test_growth_is_a_slope() -> None:
    """A leak that stays within the noise of the range is seen all the same."""
    leak = [100 + 0.05 * i + (i % 2) for i in range(90)]
    assert flat(leak)
    count = list(range(90))
    assert growth(leak, count) == pytest.approx(0.05 * 1024, rel=0.1)
    assert growth(leak, [i // 3 for i in count]) == pytest.approx(0.15 * 1024, rel=0.1)
    assert abs(growth([100.0 + i % 2 for i in count], count)) < 2


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_soak(tmp_path: Path) -> None:
    """Every program ends as documented, every resume goes on, and nothing grows."""
    dice = random.Random(0)
    environment = plan(tmp_path / "tokens", HANG, rate=2e-4, kinds=KINDS)
    environment["PYTHONWARNINGS"] = "default"
    run, deadline = tmp_path / "run", time.monotonic() + 60 * MINUTES
    # Long enough iterations that what is measured is training and not starting.
    size = [*TINY, "--horizon", "100", "--checkpoint-every", "2400", "--workers", str(WORKERS)]
    first = [*size, "--total-steps", "1000000000", "--run", str(run), "--resume-or-start"]
    per_iteration = PER_ITERATION // 5 * 100
    lives: list[Readings] = []
    words = ("replaced", "physics fault", "FALLING BACK", "output has failed", "no step for")
    told: dict[str, int] = dict.fromkeys(words, 0)
    codes: list[int] = []
    damaged = intruders = 0
    shared = set(os.listdir("/dev/shm"))
    while time.monotonic() < deadline:
        life = Life(len(lives))
        saved = (run / "checkpoints").is_dir() and any((run / "checkpoints").glob("[0-9]*"))
        argv = ["--resume", str(run)] if saved else first
        with (
            nothing_left() as programs,
            (tmp_path / "out").open("w+") as out,
            console(out, broken=life.broken) as streams,
        ):
            program = start(*argv, cwd=tmp_path, module=PROGRAM, **streams, **environment)
            programs.append(program)
            lives.append(live(program, life.seconds(dice), run))
            if life.intruded and lives[-1].memory and holder(run) is not None:
                intrude(run, tmp_path, environment)
                intruders += 1
            if program.poll() is None:
                program.send_signal(life.stop)
            codes.append(program.wait(timeout=300))
            out.seek(0)
            said = out.read()
        assert codes[-1] in (75, 1, *(-number for number in STOPS)), said
        assert codes[-1] != 1 or "error: worker" in said, said
        assert "Traceback" not in said or "sabotage number 7" in said, said
        for words in told:
            told[words] += said.count(words)
        if dice.random() < 0.5 and codes[-1] != 1:
            damaged += damage(run, dice)
    print(f"\n{len(lives)} programs, exit codes {codes}, {told}, {damaged} checkpoints damaged")
    faults = Counter(name.rpartition("-")[0] for name in os.listdir(tmp_path / "tokens"))
    print(f"{intruders} second processes refused, faults of workers {dict(faults)}")
    steps = [line["step"] for line in lines(run)]
    print(f"{steps[-1]:,} steps in {MINUTES:g} minutes, {len(steps)} iterations logged")
    assert steps == list(range(per_iteration, steps[-1] + 1, per_iteration))
    assert told["replaced"] > 0, "no worker was ever lost: nothing was shown"
    assert told["no step for"] > 0, "no worker hung"
    assert intruders > 0
    assert len(lives) > 1
    if MINUTES >= 30:
        assert all(told.values()), told
        assert faults.keys() == set(KINDS)
    assert_finite(run)
    assert checkpoint.load(run).step > 0
    check_memory(max(lives, key=lambda one: len(set(one.iterations))))
    # Some last a moment (git when it saves, a worker that is just being replaced): none stays.
    ends = [count for one in lives for count in one.processes[-max(1, len(one.processes) // 3) :]]
    assert statistics.median(ends) == WORKERS + 1
    assert max(max(one.processes, default=0) for one in lives) <= 2 * WORKERS + 3
    assert set(os.listdir("/dev/shm")) <= shared
    assert not list(tmp_path.rglob("MUJOCO_LOG.TXT"))
    assert not list(ROOT.glob("MUJOCO_LOG.TXT"))
