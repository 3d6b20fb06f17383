"""Python imports this at its start wherever this folder is on PYTHONPATH: faults from within.

Only a worker process whose environment holds STRATA_SABOTAGE is touched; see `sabotage.plan`. What
happens there is real: the process kills itself, sleeps, raises, or spoils its own simulation.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path


class OddError(Exception):
    """An exception that cannot be rebuilt from its text."""

    def __init__(self, number, *, text):
        super().__init__(f"{text} number {number}")


def take(folder: str, name: str) -> bool:
    """Whether this process is the first to take the token: a fault that is over stays over."""
    try:
        os.close(os.open(f"{folder}/{name}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def siblings() -> list[int]:
    owner, found = os.getppid(), []
    for folder in Path(f"/proc/{owner}/task").iterdir():
        for child in map(int, (folder / "children").read_text().split()):
            if b"envs.pool.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def commit(kind: str, runner) -> None:
    """A fault before a step."""
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "kill all":
        for pid in sorted(siblings(), key=lambda pid: pid == os.getpid()):
            os.kill(pid, signal.SIGKILL)
    elif kind == "hang":
        time.sleep(10**6)
    elif kind == "raise":
        raise OddError(7, text="sabotage")
    elif kind == "blow up":
        runner.env.env.data.qvel[:] = 1e12


def spoil(kind: str, runner, step):
    """A fault in what a step returns."""
    if kind == "nan reward":
        return step._replace(reward=float("nan"))
    if kind == "inf obs":
        obs = step.obs.copy()
        obs[5] = float("inf")
        return step._replace(obs=obs)
    return step


def install(plan: dict) -> None:
    from envs.trials.trial import TrialRunner

    official, taken, chance = TrialRunner.step_clipped, {"steps": 0}, random.SystemRandom()

    def step(self, action):
        taken["steps"] += 1
        kind = None
        if plan.get("rate") and chance.random() < plan["rate"]:
            kind = chance.choice(plan["kinds"])
            take(plan["folder"], f"{kind}-{os.getpid()}.{taken['steps']}")
        for fault in plan.get("faults", ()):
            if not os.path.exists(fault.get("when", "/")):
                continue
            if taken["steps"] == fault.get("at", taken["steps"]):
                names = (f"{fault['kind']}-{n}" for n in range(fault.get("times", 1)))
                if any(take(plan["folder"], name) for name in names):
                    kind = fault["kind"]
        if kind is None:
            return official(self, action)
        commit(kind, self)
        inner = self.env.step
        self.env.step = lambda *given: spoil(kind, self, inner(*given))
        try:
            return official(self, action)
        finally:
            del self.env.step

    TrialRunner.step_clipped = step


if "envs.pool.worker" in getattr(sys, "orig_argv", ()) and "STRATA_SABOTAGE" in os.environ:
    install(json.loads(os.environ["STRATA_SABOTAGE"]))
