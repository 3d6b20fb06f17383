"""The bar of an evaluation, on a terminal of 80 columns."""

import pytest

from eval.goals.progress import progress


def test_it_is_of_the_whole_and_fits_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    with progress("deterministic", 1_250_000, part=2, parts=6) as report:
        report(250_000)
    shown = capsys.readouterr().err
    assert "policy 2 of 6: deterministic" in shown
    assert "1500000/7500000" in shown
    assert "…" not in shown


def test_a_single_part_has_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("official", 10, part=1, parts=1) as report:
        report(5)
    assert "policy" not in capsys.readouterr().err
