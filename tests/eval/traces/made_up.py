"""Recordings of made-up trials: what is measured is known, and nothing is simulated."""

import numpy as np

from agents.input_layout import INPUT_DIM, PREV_DONE, PREV_REWARD
from agents.rl2 import AgentConfig, RL2Agent
from eval.traces.recording import KIND, SCHEMA, Recording

HORIZON, EPISODES, STILL, OPTIONS = 12, 3, 3, 2
SEEN = 8  # numbers of an observation that vary
TASKS = ["reach-v3"]


def make_agent(
    core: str = "gru", *, hidden: int = 8, entries: int = 0, act: str = "direct"
) -> RL2Agent:
    config = AgentConfig(
        core=core, hidden=hidden, encoder=8, entries=entries, targets=OPTIONS, act=act, slopes=0.0,
        read_every=4,
    )  # type: ignore[arg-type]  # fmt: skip
    return RL2Agent(config).eval()


def make_recording(
    *,
    trials: int = 60,
    units: int = 8,
    options: int = OPTIONS,
    seed: int = 0,
    width: int = INPUT_DIM,
) -> Recording:
    """Noise for inputs and states; an outcome is shown in the still steps as FORK shows it."""
    rng = np.random.default_rng(seed)
    steps = EPISODES * HORIZON
    targets = np.repeat(rng.integers(options, size=(trials, 1)), EPISODES, axis=1)
    choices = rng.integers(options, size=(trials, EPISODES))
    outcomes = choices == targets
    inputs = np.zeros((steps, trials, width), dtype=np.float32)
    inputs[..., :SEEN] = rng.standard_normal((steps, trials, SEEN))
    for episode in range(1, EPISODES):
        begin = episode * HORIZON
        inputs[begin, :, PREV_DONE] = 1.0
        inputs[begin : begin + STILL, :, PREV_REWARD] = np.where(outcomes[:, episode - 1], 1, -1)
    facts = {
        "kind": KIND, "schema": SCHEMA, "episodes": EPISODES, "horizon": HORIZON, "still": STILL,
        "options": options, "counted": options, "tasks": TASKS,
    }  # fmt: skip
    return Recording(
        facts=facts,
        inputs=inputs,
        actions=np.zeros((steps, trials, 4), np.float32),
        choices=choices.astype(np.int8),
        targets=targets.astype(np.int8),
        outcomes=outcomes,
        scenes=np.zeros(trials, np.int16),
        layout=rng.uniform(-0.02, 0.02, (trials, 6)).astype(np.float32),
        states={"L0": rng.standard_normal((steps, trials, units)).astype(np.float32)},
    )
