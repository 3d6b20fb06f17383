"""Each example runs, on a small scale, and does what its first lines say."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("lent")
ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--steps", "64", "--goals", "2", "--episodes", "2", "--horizon", "10"]


def test_training_evaluation_and_a_plot_from_python(tmp_path: Path) -> None:
    from examples import train_evaluate_plot

    run = tmp_path / "run"
    tiny = ["--trials", "2", "--episodes", "2", "--horizon", "10", "--workers", "1"]
    tiny += ["--train-goals", "5", "--evaluate-every", "0"]
    picture = train_evaluate_plot.main(["--run", str(run), "--steps", "80", "--goals", "1", *tiny])
    assert picture == run / "summary.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("agent", ["ppo", "recurrent-ppo"])
def test_agents_of_stable_baselines_run_on_trials(agent: str) -> None:
    if agent == "recurrent-ppo":
        pytest.importorskip("sb3_contrib")
    from examples import sb3_agents  # whose imports take seconds

    success = sb3_agents.main(["--agent", agent, *SMALL])
    assert len(success) == 2
    assert all(0 <= share <= 1 for share in success)


@pytest.mark.parametrize(("task", "run"), [("0", "short-seed1"), ("5", "none-seed3")])
def test_a_slurm_task_trains_its_run_and_goes_back_into_the_queue(
    tmp_path: Path, task: str, run: str
) -> None:
    """Stand-ins for SLURM's commands say what they were asked; training was interrupted (75)."""
    for name, code in (("srun", 75), ("scontrol", 0)):
        (tmp_path / name).write_text(f'#!/bin/bash\necho {name} "$@" >> asked\nexit {code}\n')
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    facts = {**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_JOB_ID": "7"}
    script = ["bash", str(ROOT / "examples" / "slurm_array.sh")]
    assert subprocess.run(script, cwd=tmp_path, env=facts, timeout=60).returncode == 0
    started, queued = (tmp_path / "asked").read_text().splitlines()
    assert "train.rl2 --resume-or-start" in started
    assert f"--run runs/ML10-{run}" in started
    assert queued == f"scontrol requeue 7_{task}"


@pytest.mark.parametrize(("code", "further"), [(0, False), (1, False), (1, True)])
def test_a_slurm_job_of_several_machines_goes_back_if_it_came_further(
    tmp_path: Path, code: int, further: bool
) -> None:
    """Else a run that fails at once would be queued for ever."""
    latest = "runs/ML10-short-seed1-shared/checkpoints/latest"
    save = f"mkdir -p $(dirname {latest}); echo 1 > {latest}" if further else ":"
    stand_ins = {"srun": f"{save}; exit {code}", "scontrol": "[ $1 = requeue ] || echo node1"}
    for name, action in stand_ins.items():
        (tmp_path / name).write_text(f'#!/bin/bash\necho {name} "$@" >> asked\n{action}\n')
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    facts = {**os.environ, "PATH": path, "SLURM_JOB_ID": "7", "SLURM_NNODES": "4"}
    script = ["bash", str(ROOT / "examples" / "slurm_learners.sh")]
    done = subprocess.run(script, cwd=tmp_path, env=facts, timeout=60)
    asked = (tmp_path / "asked").read_text()
    assert "--rdzv-endpoint node1:29500 -m -- train.rl2" in asked
    assert ("scontrol requeue 7" in asked) == further
    assert done.returncode == (0 if further else code)
