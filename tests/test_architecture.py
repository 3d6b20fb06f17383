"""What the source tree promises about itself: who may import whom, and what it never does."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = ("memory", "agents", "envs", "train", "eval")  # each may import itself and those before it
SOURCES = sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py"))
MAX_LINES = 60  # of a function, its docstring included

UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
FORBIDDEN_CALLS = {"torch.load", "torch.save", "yaml.load", "yaml.unsafe_load"}
FORBIDDEN_BUILTINS = {"eval", "exec", "compile"}
IMPORTERS = {"import_module", "__import__"}  # of a name that only the running program knows
FORBIDDEN_METHODS = {"recv"}  # `Connection.recv` unpickles; `recv_bytes` does not
HARMLESS = {
    "eval/throughput/rivals.py": ["pool.recv"],  # EnvPool's queue in C++
    "eval/own_agents/load.py": ["importlib.import_module"],  # the user's --agent
    "memory/cores/registry.py": ["importlib.import_module"],  # the user's --core
    "memory/cores/steps.py": ["importlib.import_module"],  # the step that this core names
    "train/registry.py": ["importlib.import_module"],  # the user's --arm and --algorithm
}


def imported(source: str) -> set[str]:
    """Names of all modules that `source` imports, at its top or lazily, by statement or by call."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and node.args:
            function = dotted(node.func).split(".")[-1]
            if function in IMPORTERS and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
    return found


def backward_imports(package: str, source: str) -> set[str]:
    later = ORDER[ORDER.index(package) + 1 :]
    return {name for name in imported(source) if name.split(".")[0] in later}


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a chain of names, an empty string of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def code_loaders(source: str) -> Iterator[str]:
    """Everything in `source` that could run code found in a file or a message."""
    for name in imported(source):
        if name.split(".")[0] in UNPICKLERS:
            yield f"imports {name}"
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in FORBIDDEN_CALLS | FORBIDDEN_BUILTINS or method in FORBIDDEN_METHODS:
            yield f"line {node.lineno} calls {name or method}"
        if name.split(".")[-1] in IMPORTERS and not isinstance(node.args[0], ast.Constant):
            yield f"line {node.lineno} calls {name}"
        if any(k.arg == "allow_pickle" for k in node.keywords):
            yield f"line {node.lineno} gives allow_pickle"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    """A reader can take the packages in order and never meet a name from a later one."""
    package = path.relative_to(ROOT).parts[0]
    assert backward_imports(package, path.read_text()) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import train.algorithms.ppo",
        "from envs import pool",
        "def f():\n    from eval.goals.metrics import iqm",
        "import importlib\nx = importlib.import_module('train.algorithms.ppo')",
    ],
)
def test_a_backward_import_would_be_found(source: str) -> None:
    assert backward_imports("agents", source)
    assert not backward_imports("eval", source)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    """A checkpoint or a message from a stranger is data: there is no way for it to become code."""
    harmless = HARMLESS.get(path.relative_to(ROOT).as_posix(), [])
    found = [
        loader for loader in code_loaders(path.read_text()) if loader.split()[-1] not in harmless
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from cloudpickle import loads",
        "import torch\ntorch.load('x', weights_only=True)",
        "import yaml\nyaml.load('x')",
        "eval('1')",
        "channel.recv()",
        "self.channel.recv()",
        "np.load('x', allow_pickle=True)",
        "importlib.import_module(config['core'])",
    ],
)
def test_a_code_loader_would_be_found(source: str) -> None:
    assert list(code_loaders(source))


def test_evaluating_an_agent_is_no_code_loader() -> None:
    assert not list(code_loaders("agent.eval()\nchannel.recv_bytes()\njson.loads(x)"))


def long_functions(source: str) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_LINES
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_fit_a_readers_head(path: Path) -> None:
    """A function that is longer than a screen wants to be two."""
    assert long_functions(path.read_text()) == set()


def test_a_long_function_would_be_found() -> None:
    body = "    x = 1\n"
    assert long_functions("def f():\n" + MAX_LINES * body) == {"f"}
    assert long_functions("def f():\n" + (MAX_LINES - 1) * body) == set()


def test_workers_never_load_torch() -> None:
    """Torch would cost each worker seconds and hundreds of MB; it must not slip in lazily either.

    Checked in a fresh process, after everything a worker does: acting, stepping and experts.
    """
    program = """
import sys
import numpy as np
import agents.acting.numpy_actor, agents.input_layout, envs.pool.worker, memory.cores.steps
from envs.pool.policies import RandomActor, ScriptedActor
from envs.trials.trial import Trial, TrialRunner

runner = TrialRunner("reach-v3")
inputs = runner.begin(Trial("reach-v3", (0.0, 0.6, 0.02, 0.1, 0.8, 0.1), 0, "train", 1, 3, 0))[None]
for actor in (RandomActor(), ScriptedActor([runner])):
    runner.step(actor.act(inputs, np.zeros((1, 4), np.float32))[0][0])
print(*sorted(name for name in sys.modules if name.split(".")[0] == "torch"))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
