"""Checkpoints whose hashes are right and whose values are not: told with file and field.

They are refused by what resumes, evaluates and watches, before anything is built from them.
"""

import copy
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.rl2 import AgentConfig
from envs.metaworld.suites import Suite, make_suite
from eval import share
from eval.goals import config as evaluation
from eval.viewing import watch_config
from tests.nasty import NASTY, changed, places
from train.rl2 import PROGRAM
from train.run import program, run_folder, verified_folder
from train.run.checkpoint import load
from train.run.config import Config, write_config
from train.run.input_error import InputError
from train.run.origin import parse
from train.run.state import initialise

pytestmark = pytest.mark.usefixtures("few_goals", "lent")
GOALS = {"reach-v3": tuple((0.01 * i, 0.6, 0.02, 0.1, 0.8, 0.1) for i in range(6))}
SUITE = Suite("ML1", 1, GOALS, GOALS)
KIB = 300 * 1024  # that a refusal may take


def resume(run: Path) -> None:
    config, origin = parse(["--resume", str(run)], Config, PROGRAM)
    program.refuse(config, origin, PROGRAM)
    with program.started(config, config.make_suite(6), origin):
        pass


def evaluate(run: Path) -> None:
    evaluation.load_subject(evaluation.parse([str(run), "--goals", "2"]))


def watch(run: Path) -> None:
    watch_config.prepare(watch_config.Settings(run))


def export(run: Path) -> None:
    shutil.rmtree(run.with_name("shared"), ignore_errors=True)
    share.export(run, run.with_name("shared"))


PROGRAMS = {"resume": resume, "evaluate": evaluate, "watch": watch, "share": export}


@pytest.fixture(autouse=True)
def _nothing_to_draw_and_no_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Config, "make_suite", lambda *_: SUITE)
    monkeypatch.setattr(watch_config.gl, "backend", lambda: "egl")


class Forgery:
    """A copy of a run with one checkpoint, whose values are changed and sealed anew."""

    def __init__(self, run: Path, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
        saved = load(run)
        self.folder, self.path = folder, folder / "checkpoints" / saved.path.name
        self.manifest, self.state = dict(saved.manifest), copy.deepcopy(saved.state)
        self.config, self.tensors = copy.deepcopy(saved.config), saved.tensors

    def seal(self) -> None:
        contents = {"state.json": self.state, "config.json": self.config}
        files = {name: json.dumps(value).encode() for name, value in contents.items()}
        for group, tensors in self.tensors.items():
            files[f"{group}.safetensors"] = safetensors.torch.save(tensors)
        self.path.parent.mkdir()
        facts = {name: self.manifest[name] for name in ("step", "run")}
        verified_folder.seal(self.path, facts, files)

    def told(self, name: str) -> tuple[str, ...]:
        """What a program says of it; () if it finds nothing wrong."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            PROGRAMS[name](self.folder)
        except InputError as error:
            return error.problems
        finally:
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KIB
        return ()


def test_a_forgery_without_malice_is_taken(unfaulted: Path, tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    for name in PROGRAMS:
        forgery = Forgery(unfaulted, tmp_path / name)
        forgery.seal()
        assert forgery.told(name) == ()


def set_config(**values: Any) -> Callable[[Forgery], None]:
    def change(forgery: Forgery) -> None:
        del forgery.state["network"]
        for name, value in values.items():
            part, _, field = name.rpartition("__")
            (forgery.config[part] if part else forgery.config)[field] = value

    return change


def set_state(**values: Any) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.state.update(values)


def set_tensor(group: str, name: str, value: Any) -> Callable[[Forgery], None]:
    def change(forgery: Forgery) -> None:
        tensors: dict[str, Any] = forgery.tensors[group]
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value(tensors[name]) if callable(value) else value

    return change


EVERYWHERE = tuple(PROGRAMS)
READERS = ("evaluate", "watch", "share")
HUGE = 10**12
FORGERIES: list[tuple[Callable[[Forgery], None], str, tuple[str, ...]]] = [
    (set_config(arm="short-wide", memory={"cascade": {"levels": HUGE}}), "--levels", EVERYWHERE),
    (set_config(arm="short-wide", agent__hidden=4096), "too wide", ("resume",)),
    (set_config(agent__hidden=30_000), "--hidden must be from 1 to 4096, not 30000", EVERYWHERE),
    (set_config(agent__hidden=0), "--hidden", EVERYWHERE),
    (set_config(agent__hidden=10**30), "--hidden", EVERYWHERE),
    (set_config(agent__encoder=HUGE), "--encoder", EVERYWHERE),
    (set_config(agent__hidden=4096), "must be float32 of shape (12288", EVERYWHERE),
    (set_config(trials=HUGE), "--trials", EVERYWHERE),
    (set_config(trials=10_000, episodes=100, horizon=500), "at once", EVERYWHERE),
    (set_config(train_goals=HUGE), "--train-goals", EVERYWHERE),
    (set_config(lanes=HUGE), "--lanes", EVERYWHERE),
    (set_config(workers=HUGE), "--workers", EVERYWHERE),
    (set_config(ppo__minibatches=HUGE), "--minibatches", EVERYWHERE),
    (set_state(network=5), "state.json", ("evaluate", "watch", "share")),
    (set_state(steps="2400"), "steps must be a whole number", ("resume",)),
    (set_state(steps=-(10**9)), "steps must be a whole number", ("resume",)),
    (set_state(steps=7), "steps must be 160, as in the manifest", ("resume",)),
    (set_state(iteration=-5), "iteration must be a whole number", ("resume",)),
    (set_state(best=1e300), "best must be a number from -1 to 1", ("resume",)),
    (set_state(success=[]), "success must be a number from 0 to 1", ("resume",)),
    (set_state(success_by_task={"a": "b"}), "a must be a number", ("resume",)),
    (set_state(bad_updates=-1), "bad_updates must be a whole number", ("resume",)),
    (set_state(success_by_task=[1]), "success_by_task must be a JSON object", ("resume",)),
    (set_tensor("optimiser", "0.exp_avg_sq", None), "0.exp_avg_sq is missing", ("resume",)),
    (set_tensor("optimiser", "0.step", torch.tensor(-1e9)), "0.step", ("resume",)),
    (set_tensor("optimiser", "0.exp_avg", torch.zeros(1)), "0.exp_avg must be", ("resume",)),
    (set_tensor("optimiser", "99999.step", torch.zeros(())), "99999.step is the", ("resume",)),
    (set_tensor("critic", "out.weight", torch.zeros(3)), "out.weight must be", ("resume",)),
    (set_tensor("agent", "head.mean.bias", torch.Tensor.double), "not float64", EVERYWHERE),
    (set_tensor("agent", "head.mean.bias", torch.Tensor.half), "not float16", EVERYWHERE),
    (set_tensor("agent", "head.mean.bias", lambda b: b * torch.nan), "be finite", EVERYWHERE),
    (set_tensor("agent", "\x1b[2Jx", torch.zeros(1)), r"\x1b[2Jx does not belong", EVERYWHERE),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("change", "says", "programs"), FORGERIES, ids=[f[1] for f in FORGERIES])
def test_a_value_that_cannot_be_is_told(
    unfaulted: Path, tmp_path: Path, change: Callable, says: str, programs: tuple[str, ...]
) -> None:
    """Levels without end, gigabytes from a few bytes, tracebacks, a billion steps unsaved."""
    forgery = Forgery(unfaulted, tmp_path / "run")
    change(forgery)
    forgery.seal()
    for name in programs:
        told = forgery.told(name)
        assert any(says in problem for problem in told), (name, told)
        assert any(str(forgery.path) in p or "--resume" in p or p[:2] == "--" for p in told), told


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_any_value_anywhere_is_told_or_taken(
    unfaulted: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """Whatever stands in a checkpoint's JSON or tensors: nothing but sentences."""
    forgery = Forgery(unfaulted, tmp_path / "run")
    part = data.draw(st.sampled_from(["state", "config", "tensors"]))
    if part == "tensors":
        group = data.draw(st.sampled_from(sorted(forgery.tensors)))
        name = data.draw(st.sampled_from(sorted(forgery.tensors[group])))
        shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
        kind = data.draw(st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool]))
        forgery.tensors[group][name] = torch.ones(shape, dtype=kind)
    else:
        value = getattr(forgery, part)
        place = data.draw(st.sampled_from([p for p in places(value) if p]))
        changed(value, place, data.draw(NASTY), data.draw(st.booleans()))
    forgery.seal()
    for name in PROGRAMS:
        assert all(problem.strip() for problem in forgery.told(name))


@pytest.fixture(scope="session")
def fork_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on FORK that acts on its belief, as it begins."""
    folder = tmp_path_factory.mktemp("forks") / "run"
    agent = AgentConfig(act="posterior", hidden=8, encoder=8, critic=8)
    config = Config(suite="FORK-reach-2", run=folder, train_goals=6, agent=agent, horizon=50)
    config = config.resolved(1)
    folder.mkdir()
    (folder / run_folder.RUN).write_text("fork\n")
    state = initialise(config, make_suite("FORK-reach-2", train_goals=6))
    state.save(config)
    write_config(config)
    return folder


def set_network(**values: Any) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.state["network"].update(values)


def set_suite(name: str) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.config.update(suite=name)


FORK_FORGERIES = [
    (set_suite("FORK-reach-2-delay999999999"), "unknown suite", EVERYWHERE),
    (set_suite("FORK-reach-2-switch150"), "unknown suite", EVERYWHERE),
    (set_suite("FORK-reach-4"), "network.targets must be 4 on FORK-reach-4", READERS),
    (set_suite("ML10"), "network.targets must be 0 on ML10", READERS),
    (set_network(targets=3), "network.targets must be 2 on FORK-reach-2", READERS),
    (set_network(targets=10**12), "network.targets must be 2 on FORK-reach-2", READERS),
    (set_network(targets="2"), "network.targets must be int", READERS),
    (set_network(act="none"), "network.act must be one of", READERS),
    (set_network(act="direct"), "body", READERS),
    (set_tensor("agent", "belief.out.weight", torch.zeros(3, 3)), "belief", EVERYWHERE),
]


@pytest.mark.parametrize(
    ("change", "says", "programs"), FORK_FORGERIES, ids=[str(n) for n in range(len(FORK_FORGERIES))]
)
def test_a_forged_run_on_fork_is_told(
    fork_run: Path, tmp_path: Path, monkeypatch, change: Callable, says: str, programs
) -> None:
    """Knobs without bound, more targets than the suite has, a policy without its belief."""
    suite = make_suite("FORK-reach-2", train_goals=6)
    monkeypatch.setattr(Config, "make_suite", lambda *_: suite)
    forgery = Forgery(fork_run, tmp_path / "run")
    change(forgery)
    forgery.seal()
    for name in programs:
        told = forgery.told(name)
        assert any(says in problem for problem in told), (name, told)


def test_a_run_on_fork_without_malice_is_taken(fork_run: Path, tmp_path: Path, monkeypatch) -> None:
    suite = make_suite("FORK-reach-2", train_goals=6)
    monkeypatch.setattr(Config, "make_suite", lambda *_: suite)
    forgery = Forgery(fork_run, tmp_path / "run")
    forgery.seal()
    for name in ("evaluate", "watch", "share"):
        assert forgery.told(name) == ()
