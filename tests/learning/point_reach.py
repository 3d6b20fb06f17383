"""A point-mass copy of reach: what the recipe is searched on, minutes instead of hours.

The hand follows a target that the action moves by up to 1 cm a step, the goal is hidden, and the
reward is reach-v3's (10 at the goal, a long tail around it). Agent, PPO and inputs are the real
ones; only the physics is replaced. ``python -m tests.learning.point_reach --ppo.belief 0``
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan

import numpy as np
import torch
import tyro

from agents.acting.numpy_actor import NumpyActor
from agents.belief import Belief, goal_statistics
from agents.heads import Critic
from agents.input_layout import INPUT_DIM, pack
from agents.rl2 import AgentConfig, RL2Agent
from envs.pool.shared_rollout import TrialBatch
from envs.trials.trial import Trial
from train.algorithms.ppo import PPO
from train.algorithms.ppo_config import PPOConfig
from train.algorithms.rollout import Rollout, pad_goals
from train.collect import acting_policy

START = np.array([0.0, 0.6, 0.2])
GOALS = (np.array([-0.1, 0.8, 0.05]), np.array([0.1, 0.9, 0.3]))
ARENA = (np.array([-0.5, 0.4, 0.05]), np.array([0.5, 1.0, 0.5]))
RADIUS, FOLLOW = 0.05, 0.3  # metres; share of the way to its target that the hand moves each step


@dataclass(frozen=True)
class Search:
    """One run of the search."""

    seed: int = 1
    iterations: int = 30
    trials: int = 40
    episodes: int = 2
    horizon: int = 250
    reward_change: bool = True
    """Show the agent the change of the reward as well as its level."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)


def run_trials(actor: NumpyActor, trials: list[Trial], *, reward_change: bool) -> TrialBatch:
    """All trials in lockstep, as `envs.pool.worker` runs them on the simulator."""
    steps, count, horizon = trials[0].steps, len(trials), trials[0].horizon
    arrays = {name: np.zeros(shape, kind) for name, kind, shape in TrialBatch.spec(steps, count)}
    goal = np.array([trial.goal for trial in trials])
    noise = np.stack([trial.noise() for trial in trials], axis=1)
    margin = np.linalg.norm(goal - START, axis=1)
    inputs = np.zeros((count, INPUT_DIM), np.float32)
    obs = np.zeros((count, 39))
    hand = target = before = np.tile(START, (count, 1))
    last: np.ndarray | None = None
    obs[:, 0:3], obs[:, 18:21] = hand, before
    for row in range(count):
        pack(obs[row], np.zeros(4, np.float32), 0.0, False, out=inputs[row])
    for t in range(steps):
        arrays["inputs"][t] = inputs
        arrays["actions"][t], arrays["log_probs"][t] = actor.act(inputs, noise[t])
        action = np.clip(arrays["actions"][t], -1.0, 1.0)
        before, target = hand, np.clip(target + 0.01 * action[:, :3], *ARENA)
        hand = hand + FOLLOW * (target - hand)
        distance = np.linalg.norm(hand - goal, axis=1)
        reward = 10.0 / ((3.0 * np.maximum(distance - RADIUS, 0.0) / margin) ** 2 + 1.0)
        arrays["rewards"][t], arrays["successes"][t] = reward, distance < RADIUS
        change = np.zeros(count) if last is None or not reward_change else reward - last
        done = (t + 1) % horizon == 0
        last = None if done else reward
        if done:
            hand = target = before = np.tile(START, (count, 1))
        obs[:, 0:3], obs[:, 18:21] = hand, before
        for row in range(count):
            pack(obs[row], action[row], reward[row], done, change[row], out=inputs[row])
    return TrialBatch(**arrays)


def main(search: Search) -> None:
    """Train and print success at any step and at the last step, by episode of the trial."""
    torch.manual_seed(search.seed)
    rng = np.random.default_rng(search.seed)
    goals = rng.uniform(*GOALS, size=(50, 3))
    mean, scale = goal_statistics(pad_goals(goals.tolist()).unsqueeze(0))
    agent, hidden = RL2Agent(search.agent), search.agent.hidden
    critic = Critic(
        1,
        goal_mean=mean,
        goal_scale=scale,
        memory_width=hidden,
        width=search.agent.critic,
        privileged=search.agent.privileged_critic,
    )
    belief = Belief(1, goal_mean=mean, goal_scale=scale, hidden=hidden)
    ppo = PPO(agent, critic, belief, search.ppo)
    for iteration in range(search.iterations):
        trials = [
            Trial(
                "point-reach",
                tuple(goals[rng.integers(50)]),
                0,
                "train",
                search.episodes,
                search.horizon,
                int(rng.integers(2**63)),
            )
            for _ in range(search.trials)
        ]
        policy = acting_policy(agent)
        actor = NumpyActor(policy.core, policy.weights, len(trials))
        batch = run_trials(actor, trials, reward_change=search.reward_change)
        rollout = Rollout.from_batch(batch, trials, ["point-reach"])
        ppo.set_progress(iteration / search.iterations)
        learnt = ppo.update(rollout, np.random.default_rng([search.seed, iteration]))
        agent.encoder.normaliser.update(rollout.usable_obs())
        any_step = rollout.success_by_episode().mean(dim=1).tolist()
        last_step = rollout.last_step_success().mean(dim=1).tolist()
        print(
            f"steps={(iteration + 1) * rollout.rewards.numel()}",
            "success=" + "/".join(f"{value:.2f}" for value in any_step),
            "last_step=" + "/".join(f"{value:.2f}" for value in last_step),
            f"belief={learnt.get('belief_loss', nan):.3f} kl={learnt['kl_last']:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Search, description=__doc__))
