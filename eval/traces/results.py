"""What was found out about one run, as JSON, and how such a file of unknown origin is checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.outcome import write_json
from train.run.run_files import RESULT_LIMIT, Field, RunError, read_object

KIND, SCHEMA = "strata traces", 1
DIGITS = 5

NUMBER, WHOLE, TEXT, FLAG, MAYBE = "number", "whole", "text", "flag", "number or null"
_COURSE = {
    "first": WHOLE, "state": [NUMBER], "kl": [NUMBER], "state_half_life": MAYBE,
    "kl_half_life": MAYBE, "unit_half_lives": [MAYBE],
}  # fmt: skip
_SCALES = {"tau": [MAYBE], "rejected": WHOLE, "long": WHOLE, "median": MAYBE}
_LIKENESS = {"names": [TEXT], "cka": [[MAYBE]], "procrustes": [[MAYBE]]}
_DECODER = {"accuracy": [[MAYBE]], "by_distance": [NUMBER], "half_life": MAYBE}
_PARTS: dict[str, Any] = {
    "timescales": {
        "lags": WHOLE,
        "autocorrelation": {"*": _SCALES},
        "gates": {"*": [NUMBER]},
        "courses": {"*": _COURSE},
    },
    "probes": {
        "steps": [WHOLE],
        "decisions": [WHOLE],
        "sources": {"*": {"*": {"accuracy": [MAYBE], "control": [MAYBE], "chance": [MAYBE]}}},
        "leak": {"*": {"accuracy": NUMBER, "errors": NUMBER, "worst": NUMBER, "leaks": FLAG}},
    },
    "geometry": {
        "levels": _LIKENESS,
        "training": _LIKENESS,
        "lag": {"*": {"kl": [NUMBER], "lag": WHOLE}},
        "keys": [
            {
                "step": WHOLE,
                "entries": WHOLE,
                "rank": NUMBER,
                "likeness": MAYBE,
                "like_before": MAYBE,
            }
        ],
        "plasticity": [{"step": WHOLE, "dormant": NUMBER, "rank": NUMBER, "weight": NUMBER}],
    },
    "lesions": {
        "benchmark": TEXT,
        "found": {"*": {"scores": [NUMBER], "success": [NUMBER], "committed": [NUMBER]}},
    },
}
"""Shape of each part that a result may have; ``*`` is any name."""
_FACTS: dict[str, Any] = {
    "schema": WHOLE, "suite": TEXT, "label": TEXT, "arm": TEXT, "seed": WHOLE, "step": WHOLE,
    "probe_seed": WHOLE, "trials": WHOLE, "episodes": WHOLE, "horizon": WHOLE, "still": WHOLE,
    "options": WHOLE,
    "attempts": [WHOLE], "notes": [TEXT],
}  # fmt: skip


def checked_traces(found: Field) -> dict[str, Any]:
    """A result whose every field that a page needs is what it has to be.

    Raises:
        RunError: it is not; the message names the field.
    """
    _check(found, _FACTS)
    for name in ("counted", "asked"):  # older files have `options` and `trials` alone
        if name in found.value:
            found[name].whole()
    if found.value.get("run") is not None:
        found["run"].text()
    if found["schema"].value != SCHEMA:
        raise found["schema"].wrong(f"{SCHEMA}, the version that is read here")
    for name, shape in _PARTS.items():
        if found.value.get(name) is not None:
            _check(found[name], shape)
    decoder = (found.value.get("geometry") or {}).get("decoder")
    if decoder is not None:
        _check(found["geometry"]["decoder"], _DECODER)
    return found.value


def _check(found: Field, shape: Any) -> None:
    """Raise RunError where a value is not of a shape (see `_PARTS`)."""
    if isinstance(shape, dict) and "*" in shape:
        for _, member in found.members():
            _check(member, shape["*"])
    elif isinstance(shape, dict):
        for name, inner in shape.items():
            _check(found[name], inner)
    elif isinstance(shape, list):
        for member in found.elements():
            _check(member, shape[0])
    elif shape == TEXT:
        found.text()
    elif shape == WHOLE:
        found.whole()
    elif shape == FLAG:
        if type(found.value) is not bool:
            raise found.wrong("true or false")
    elif found.value is not None or shape == NUMBER:
        found.number()


def other_trials(path: Path, *, run: str | None, trials: int, seed: int) -> list[str]:
    """Why the result at `path` cannot be added to, a sentence each; nothing where there is none.

    Args:
        path: of the result.
        run: that is to be looked into; None: its checkpoint does not tell.
        trials: that are to be looked at.
        seed: of these trials.
    """
    if not path.exists():
        return []
    elsewhere = "or move it and its recording to another folder first"
    try:
        former = checked_traces(read_object(path, RESULT_LIMIT))
    except RunError:
        return [f"{path} is damaged, or of another version: move it to another folder first"]
    if former.get("run") not in (None, run):  # None: an older file does not tell
        return [f"{path} is of another run: move it to another folder first"]
    asked = former.get("asked") or former["trials"]  # without those that a fault ended
    if (asked, former["probe_seed"]) != (trials, seed):
        return [
            f"{path} is of {asked} trials of seed {former['probe_seed']}, not {trials} of {seed}: "
            f"type --trials {asked} --seed {former['probe_seed']} to add to it, {elsewhere}"
        ]
    return []


def with_former(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, with the parts and the lesions that the result at `path` has beside them."""
    if not path.exists():
        return dict(values)
    former = checked_traces(read_object(path, RESULT_LIMIT))
    kept = {name: former[name] for name in _PARTS if former.get(name) is not None}
    joined = {**kept, **values}
    if "lesions" in kept and "lesions" in values:
        found = kept["lesions"]["found"] | values["lesions"]["found"]
        joined["lesions"] = {**values["lesions"], "found": found}
    return joined


def write(values: dict[str, Any], path: Path) -> None:
    """Write the JSON atomically, to `DIGITS`. Raises OSError; an older file is then intact."""
    write_json(path, rounded(values))


def rounded(value: Any) -> Any:
    """JSON values with `DIGITS` significant digits: half the size, and finer than any interval."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
