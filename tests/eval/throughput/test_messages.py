"""Messages between learners are measured by two processes that meet and part."""

import re
import subprocess
import sys

import pytest

from eval.throughput import messages
from tests.faults.runs import ROOT


def test_two_learners_of_this_machine() -> None:
    arguments = [sys.executable, "-m", "eval.throughput.messages", "--repeats", "1"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 learners") == 1  # the first alone speaks
    rows = re.findall(r"^\| (sum|gather) \| ([\d.]+) \| ([\d.]+) \|$", done.stdout, re.MULTILINE)
    sizes = [float(size) * 1e6 for _, size, _ in rows]
    assert sizes == [*messages.SUMMED, *messages.GATHERED]


@pytest.mark.parametrize("wrong", ["--learners 1", "--repeats 0", "--nodes 2"])
def test_bad_input(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        messages.main(wrong.split())
    assert ended.value.code == 2
    assert wrong.split()[0] in capsys.readouterr().err
