"""A task that cannot be solved without remembering across the episodes of a trial.

Each trial hides a sign. Only the first action of an episode counts: it pays 10 and is a success if
its first number has that sign. All other steps are fillers without reward, and of the action only
what counted is shown, so that at the start of the next episode the input says nothing of what
happened in the last one, nor can a policy leave itself notes in its own actions.
"""

from __future__ import annotations

import numpy as np
import torch

from agents.acting.numpy_actor import NumpyActor
from agents.belief import Belief, goal_statistics
from agents.heads import Critic
from agents.input_layout import INPUT_DIM, OBS_DIM, pack
from agents.rl2 import AgentConfig, RL2Agent
from envs.pool.shared_rollout import TrialBatch
from envs.trials.trial import Trial
from train.algorithms.ppo import PPO
from train.algorithms.ppo_config import PPOConfig
from train.algorithms.rollout import Rollout, pad_goals
from train.collect import acting_policy

EPISODES, HORIZON = 3, 4
TASK = "hidden-sign"
GOALS = ((-1.0, 0.0, 0.0), (1.0, 0.0, 0.0))


def make_trials(count: int, rng: np.random.Generator) -> list[Trial]:
    """Half of them of either sign."""
    return [
        Trial(TASK, GOALS[i % 2], i % 2, "train", EPISODES, HORIZON, int(rng.integers(2**63)))
        for i in range(count)
    ]


def run_trials(actor: NumpyActor, trials: list[Trial]) -> TrialBatch:
    """All trials in lockstep, packed as `envs.trials.trial` packs them."""
    steps, count = EPISODES * HORIZON, len(trials)
    arrays = {name: np.zeros(shape, kind) for name, kind, shape in TrialBatch.spec(steps, count)}
    sign = np.array([trial.goal[0] for trial in trials])
    noise = np.stack([trial.noise() for trial in trials], axis=1)
    inputs, action = np.zeros((count, INPUT_DIM), np.float32), np.zeros((count, 4), np.float32)
    reward = last = np.zeros(count)
    for t in range(steps):
        step = t % HORIZON
        obs = np.eye(1, OBS_DIM, step)[0]
        change = reward - last if step > 1 else np.zeros(count)
        for row in range(count):
            pack(obs, action[row], reward[row], t > 0 and step == 0, change[row], out=inputs[row])
        arrays["inputs"][t] = inputs
        arrays["actions"][t], arrays["log_probs"][t] = actor.act(inputs, noise[t])
        counts = step == 0
        action = np.clip(arrays["actions"][t], -1, 1) * counts
        last, reward = reward, 10.0 * counts * (np.sign(arrays["actions"][t, :, 0]) == sign)
        arrays["rewards"][t], arrays["successes"][t] = reward, reward > 0
    return TrialBatch(**arrays)


def collect(agent: RL2Agent, trials: list[Trial], *, deterministic: bool = False) -> Rollout:
    """The agent's trials, acted by the NumPy path as in the workers."""
    policy = acting_policy(agent)
    actor = NumpyActor(policy.core, policy.weights, len(trials), deterministic=deterministic)
    return Rollout.from_batch(run_trials(actor, trials), trials, [TASK])


def train(
    config: AgentConfig, ppo: PPOConfig, *, iterations: int, trials: int, seed: int = 1
) -> RL2Agent:
    """The loop of `train.rl2` without its simulators."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    mean, scale = goal_statistics(pad_goals(GOALS).unsqueeze(0))
    agent, goals = RL2Agent(config), {"goal_mean": mean, "goal_scale": scale}
    critic = Critic(
        1,
        **goals,
        memory_width=config.hidden,
        width=config.critic,
        privileged=config.privileged_critic,
    )
    learner = PPO(agent, critic, Belief(1, **goals, hidden=config.hidden), ppo)
    for iteration in range(iterations):
        rollout = collect(agent, make_trials(trials, rng))
        learner.set_progress(iteration / iterations)
        learner.update(rollout, rng)
        agent.encoder.normaliser.update(rollout.usable_obs())
    return agent


def success_by_episode(agent: RL2Agent, *, trials: int = 400, seed: int = 99) -> list[float]:
    """On fresh trials, acting by the mean."""
    fresh = make_trials(trials, np.random.default_rng(seed))
    return collect(agent, fresh, deterministic=True).success_by_episode().mean(dim=1).tolist()
