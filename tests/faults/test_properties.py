"""Any command line and any configuration file: a configuration or words, never a traceback."""

import contextlib
import dataclasses
import io
import json
import tempfile
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from train.run.config import Config, difference
from train.run.config_io import flatten
from train.run.input_error import exits_on_bad_input
from train.run.origin import parse

QUICK = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
FIELDS = sorted({part for name, _ in flatten(Config()) for part in name.split(".")})
FLAGS = sorted({f"--{name.split('.')[-1].replace('_', '-')}" for name, _ in flatten(Config())})
# What a shell can pass: anything but the null byte.
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
numbers = st.one_of(
    st.integers(-(10**30), 10**30).map(str),
    st.floats().map(str),
    st.sampled_from(["1e999", "-0", "0x10", "1_000", "nan", "١", "1.0.0", " 7"]),
)
values = st.one_of(numbers, words, st.sampled_from(["ML1", "ML10", "custom", "reach-v3", "none"]))
arguments = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([*FLAGS, "--resume", "--help", "--no-such"]), values),
        st.tuples(st.sampled_from(FLAGS)),
        st.tuples(values),
        st.tuples(st.sampled_from(FLAGS).flatmap(lambda flag: values.map((flag + "=").__add__))),
    ),
    max_size=6,
).map(lambda groups: [word for group in groups for word in group])


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@settings(QUICK, max_examples=25)  # each builds the whole command line
@given(arguments)
@example(["--resume", ""])
@example(["--resume", "."])
@example(["--suite", "ML1", "--task", "reach-v3", "--learning-rate", "1e999"])
@example(["--tasks"])
def test_any_command_line(argv: list[str]) -> None:
    """Either a configuration whose problems can be listed, or exit code 2 with a message."""
    said, code = io.StringIO(), None
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            config, _ = exits_on_bad_input(parse)(argv)
            problems = config.validate() + config.validate(7)
    except SystemExit as stopped:
        code = stopped.code
    if code is None:
        assert all(isinstance(problem, str) and problem for problem in problems)
        if not config.validate():
            json.dumps(config.to_json(), allow_nan=False)
    else:
        assert code == 2 or (code == 0 and "--help" in argv)
        assert said.getvalue().strip()
        assert "Traceback" not in said.getvalue()
    assert not list(Path.cwd().iterdir())


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(10**300, 10**320), st.floats(), st.text()
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@QUICK
@given(st.dictionaries(st.sampled_from([*FIELDS, "wheels"]), anything, max_size=5) | anything)
@example({"agent": {"hidden": 1.5}})
@example({"ppo": {"gamma": 10**400}})
@example({"tasks": {"a": 1}})
@example({"suite": None})
def test_any_configuration_file(document: Any) -> None:
    """A configuration of the declared types, or a ValueError that says what is wrong."""
    try:
        config = Config.from_json(document)
    except ValueError as error:
        problem = str(error)
    else:
        problem = None
    if problem is not None:
        assert problem.strip()
        return
    for field in dataclasses.fields(config):
        hint = typing.get_type_hints(Config)[field.name]
        if hint in (int, str):
            assert type(getattr(config, field.name)) is hint
    assert all(isinstance(problem, str) for problem in config.validate())


def build(part: type) -> st.SearchStrategy:
    """Any values of the declared types; JSON has no infinite numbers."""
    finite = st.floats(allow_nan=False, allow_infinity=False)
    known = {
        int: st.integers(),
        int | None: st.none() | st.integers(),
        float: finite,
        float | None: st.none() | finite,
        str: st.text(),
        str | None: st.none() | st.text(),
        bool: st.booleans(),
        tuple[str, ...]: st.lists(st.text(), max_size=3).map(tuple),
        tuple[float, ...]: st.lists(finite, max_size=3).map(tuple),
        Path | None: st.none() | st.just(Path("runs/x")),
    }

    def values_of(hint: Any) -> st.SearchStrategy:
        if dataclasses.is_dataclass(hint):
            return build(hint)  # type: ignore[arg-type]
        if typing.get_origin(hint) is typing.Literal:
            return st.sampled_from(typing.get_args(hint))
        return known[hint]

    hints = typing.get_type_hints(part)
    return st.builds(part, **{f.name: values_of(hints[f.name]) for f in dataclasses.fields(part)})


@QUICK
@given(build(Config))
def test_round_trip(config: Config) -> None:
    """What a run writes is what it reads, to the last bit of a float; only the folder may move."""
    with tempfile.TemporaryFile("w+") as file:
        json.dump(config.to_json(), file)
        file.seek(0)
        read = Config.from_json(json.load(file))
    assert read == dataclasses.replace(config, run=None)
    assert difference(config, read) == []
