"""Strata from Python, as in a notebook: train an agent, evaluate it, plot what it learnt.

    python examples/train_evaluate_plot.py

trains on reach-v3 for 660,000 steps, a quarter of an hour on two cores. `--steps 20000` shows in a
minute that everything works. Further flags go to `train.rl2`.
"""

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from eval.api import evaluate
from eval.goals.results import Evaluation
from train.rl2 import main as train
from train.run.log import read_metrics


def plot(run: Path, evaluation: Evaluation) -> Path:
    """Draw training success, and success by episode on unseen goals, into `run`/summary.png."""
    rows = read_metrics(run)
    intervals = evaluation.policies["stochastic"].summary.mean.success
    by_episode = [interval.value for interval in intervals]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot([row["step"] for row in rows], [row["train/success"] for row in rows])
    left.set(xlabel="environment steps", ylabel="training success", ylim=(0, 1))
    right.plot(range(1, len(by_episode) + 1), by_episode, marker="o")
    right.set(xlabel="episode of the trial", ylabel="success on unseen goals", ylim=(0, 1.02))
    path = run / "summary.png"
    figure.savefig(path)
    plt.close(figure)
    return path


def main(argv: list[str] | None = None) -> Path:
    """Train, evaluate, plot. Returns the picture's path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=660_000, help="environment steps to train for")
    parser.add_argument("--goals", type=int, default=10, help="unseen goals to evaluate on")
    parser.add_argument("--run", type=Path, default=Path("runs/example"), help="a new folder")
    options, flags = parser.parse_known_args(argv)
    task = ["--suite", "ML1", "--task", "reach-v3"]
    code = train([*task, "--run", str(options.run), "--total-steps", str(options.steps), *flags])
    if code:
        raise SystemExit(code)
    bounds = dict.fromkeys(("untrained", "random", "scripted", "official"), False)
    found = evaluate(options.run, preset="quick", goals=options.goals, **bounds)
    return plot(options.run, found)


if __name__ == "__main__":
    print(main())
