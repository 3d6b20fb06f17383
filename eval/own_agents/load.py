"""An agent of other people's by its name: ``my_module:load``."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from agents.acting.own import OwnAgent
from train.run.input_error import InputError


def file_name(agent: str) -> str:
    """The agent's name as a part of a file's: ``my_module-load``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", agent).strip("-") or "agent"


def results_of(agent: str) -> Path:
    """Where results and videos of the agent go: it has a run folder without a run."""
    return Path("runs") / file_name(agent) / "results"


def load_own_agent(name: str) -> OwnAgent:
    """Import ``my_module`` and call ``load()`` in it; it may lie in the working directory.

    Raises:
        InputError: there is no such module or function, or what it gives is no agent.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise InputError([f"--agent {name}: name a module and a function, e.g. my_module:load"])
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        agent = getattr(importlib.import_module(module), function)()
    except (Exception, SystemExit) as error:
        raise InputError(
            [f"--agent {name}: {type(error).__name__}: {error}"],
            f"see what is wrong: python -c 'import {module}; {module}.{function}()'",
        ) from error
    if isinstance(agent, type) or not isinstance(agent, OwnAgent):
        kind = "class" if isinstance(agent, type) else type(agent).__name__
        raise InputError(
            [f"--agent {name} gives a {kind}, which has no begin(trials) and act(observations)"],
            "wrap a Stable-Baselines3 model in eval.own_agents.sb3.SB3Agent",
        )
    return agent
