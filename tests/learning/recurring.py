"""A bandit whose contexts come back: what only a memory that outlives the trial can use.

Every trial shows a context, a random pattern, and hides a sign that belongs to it. In each episode
the second action pays 10 if its first number has that sign. Contexts are new all the time, so the
weights cannot know their signs; but some come again a few iterations later. After Ritter et al.
2018 (arXiv 1805.09692), "barcode" bandits. ``python -m tests.learning.recurring --arm short``
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import torch
import tyro

from agents.acting.numpy_actor import NumpyActor
from agents.belief import Belief, goal_statistics
from agents.heads import Critic
from agents.input_layout import INPUT_DIM, OBS_DIM, pack
from agents.rl2 import AgentConfig, RL2Agent
from envs.pool.shared_rollout import TrialBatch
from envs.trials.trial import Trial
from memory.cascade import CascadeConfig
from train.algorithms.ppo import PPO
from train.algorithms.ppo_config import PPOConfig
from train.algorithms.rollout import Rollout, pad_goals
from train.collect import acting_policy
from train.long_term.arms import ARMS, network
from train.long_term.config import MemoryConfig
from train.long_term.episodic import with_recall
from train.long_term.level import LevelSetting
from train.long_term.stack import Stack, make_stack

EPISODES, HORIZON, BITS = 2, 2, 16
TASK = "recurring-bandit"


@dataclass(frozen=True)
class Search:
    """One training on the recurring bandit."""

    arm: str = "episodic"
    seed: int = 1
    iterations: int = 100
    trials: int = 64
    lag: int = 4
    """A context comes back up to so many iterations after it was new."""
    agent: AgentConfig = field(
        default_factory=lambda: AgentConfig(
            hidden=48, encoder=48, critic=48, read_every=1, mean_limit=1.0
        )
    )
    ppo: PPOConfig = field(
        default_factory=lambda: PPOConfig(
            learning_rate=5e-3,
            final_learning_rate=1e-3,
            anneal=1.0,
            critic_learning_rate=5e-3,
            minibatches=4,
            bptt=4,
            belief=1.0,
        )
    )
    memory: MemoryConfig = field(
        default_factory=lambda: MemoryConfig(
            reservoir=1,
            recent=384,
            reencode_every=5,
            recent_exclusion=0.0,
            cascade=CascadeConfig(half_lives=(3.0, 10.0)),
        )
    )


Context = tuple[int, float]
"""The seed of its pattern, and its sign."""


def pattern(context: Context) -> np.ndarray:
    """The barcode of a context, (BITS,) of ±1."""
    return np.random.default_rng(context[0]).choice([-1.0, 1.0], BITS)


def new_contexts(count: int, rng: np.random.Generator) -> list[Context]:
    """Contexts that nobody has met, half of either sign."""
    return [(int(rng.integers(2**31)), 1.0 - 2.0 * (i % 2)) for i in range(count)]


def trials_of(contexts: list[Context], rng: np.random.Generator) -> list[Trial]:
    """One trial in each context."""
    return [
        Trial(TASK, (sign, 0.0, 0.0), number, "train", EPISODES, HORIZON, int(rng.integers(2**63)))
        for number, sign in contexts
    ]


def run_trials(actor: NumpyActor, trials: list[Trial]) -> TrialBatch:
    """All trials in lockstep, packed as `envs.trials.trial` packs them."""
    steps, count = EPISODES * HORIZON, len(trials)
    arrays = {name: np.zeros(shape, kind) for name, kind, shape in TrialBatch.spec(steps, count)}
    sign = np.array([trial.goal[0] for trial in trials])
    noise = np.stack([trial.noise() for trial in trials], axis=1)
    inputs, action = np.zeros((count, INPUT_DIM), np.float32), np.zeros((count, 4), np.float32)
    obs, reward = np.zeros((count, OBS_DIM)), np.zeros(count)
    obs[:, HORIZON : HORIZON + BITS] = [pattern((t.goal_index, t.goal[0])) for t in trials]
    for t in range(steps):
        step = t % HORIZON
        obs[:, :HORIZON] = np.eye(HORIZON)[step]
        for row in range(count):
            pack(
                obs[row],
                action[row],
                reward[row],
                t > 0 and step == 0,
                reward[row],
                out=inputs[row],
            )
        arrays["inputs"][t] = inputs
        arrays["actions"][t], arrays["log_probs"][t] = actor.act(inputs, noise[t])
        counts = step == 1
        action = np.clip(arrays["actions"][t], -1, 1) * counts
        reward = 10.0 * counts * (np.sign(arrays["actions"][t, :, 0]) == sign)
        arrays["rewards"][t], arrays["successes"][t] = reward, reward > 0
    return TrialBatch(**arrays)


def collect(agent: RL2Agent, trials: list[Trial], *, deterministic: bool = False) -> Rollout:
    """The agent's trials, acted by the NumPy path as in the workers."""
    policy = acting_policy(agent)
    actor = NumpyActor(
        policy.core,
        policy.weights,
        len(trials),
        deterministic=deterministic,
        recall=[trial.recall for trial in trials],
    )
    return Rollout.from_batch(run_trials(actor, trials), trials, [TASK])


@dataclass
class Learner:
    """Agent, trainer and long-term memory of one arm."""

    agent: RL2Agent
    ppo: PPO
    long_term: Stack | None

    def update(
        self, rollout: Rollout, rng: np.random.Generator, *, learn: bool = True
    ) -> dict[str, float]:
        """One iteration's learning and consolidation; without `learn` only the latter."""
        metrics = {}
        if learn:
            metrics = self.ppo.update(rollout, rng, self.long_term)
            self.agent.encoder.normaliser.update(rollout.usable_obs())
        if self.long_term is not None:
            metrics |= self.long_term.consolidate(self.agent, rollout, rng)
        return metrics


def make_learner(
    name: str,
    agent: AgentConfig,
    ppo: PPOConfig,
    memory: MemoryConfig,
    *,
    goals: list[tuple[float, ...]],
    tasks: int = 1,
    episodes: int = EPISODES,
    horizon: int = HORIZON,
) -> Learner:
    """As `train.run.state.initialise` makes it, for tasks that are no Meta-World."""
    arm = ARMS[name]
    config = network(arm, agent, memory)
    policy = RL2Agent(config)
    mean, scale = goal_statistics(pad_goals(goals).expand(tasks, -1, -1))
    statistics = {"goal_mean": mean, "goal_scale": scale}
    critic = Critic(
        tasks, **statistics, memory_width=config.hidden, width=config.critic, privileged=True
    )
    trainer = PPO(policy, critic, Belief(tasks, **statistics, hidden=config.hidden), ppo)
    long_term = None
    if arm.long_term:
        setting = LevelSetting(policy, memory, ppo.learning_rate, ppo.bptt, episodes, horizon)
        long_term = make_stack(arm, setting)
    return Learner(policy, trainer, long_term)


def train(search: Search, *, report: bool = False) -> Learner:
    """Half of each iteration's contexts are new, half come back."""
    torch.manual_seed(search.seed)
    rng = np.random.default_rng(search.seed)
    learner = make_learner(
        search.arm, search.agent, search.ppo, search.memory, goals=[(-1.0,) * 3, (1.0,) * 3]
    )
    met: list[list[Context]] = []
    half = search.trials // 2
    for iteration in range(search.iterations):
        known = [context for past in met[-search.lag :] for context in past]
        chosen = rng.permutation(len(known))[:half] if known else []
        contexts = [known[i] for i in chosen] + new_contexts(search.trials - len(chosen), rng)
        met.append(contexts[len(chosen) :])
        trials = with_recall(trials_of(contexts, rng), search.memory)
        rollout = collect(learner.agent, trials)
        learner.ppo.set_progress(iteration / search.iterations)
        metrics = learner.update(rollout, rng)
        if report and iteration % 10 == 9:
            success = rollout.success_by_episode()
            back, new = success[:, : len(chosen)].mean(dim=1), success[:, len(chosen) :].mean(dim=1)
            found = {n: round(v, 3) for n, v in metrics.items() if n in ("belief_loss", "kl")}
            print(iteration + 1, "recurring", back.tolist(), "new", new.tolist(), found, flush=True)
    return learner


def first_episodes(
    learner: Learner, *, trials: int = 100, seed: int = 99
) -> dict[str, list[float]]:
    """Success by episode in contexts met once before, and in new ones, acting by the mean.

    The meeting before is one more iteration, consolidated but not learnt from.
    """
    rng = np.random.default_rng(seed)
    contexts = new_contexts(trials, rng)
    learner.update(collect(learner.agent, trials_of(contexts, rng)), rng, learn=False)
    found = {}
    for name, chosen in (("recurring", contexts), ("new", new_contexts(trials, rng))):
        rollout = collect(learner.agent, trials_of(chosen, rng), deterministic=True)
        found[name] = rollout.success_by_episode().mean(dim=1).tolist()
    hidden = [dataclasses.replace(trial, recall=0) for trial in trials_of(contexts, rng)]
    rollout = collect(learner.agent, hidden, deterministic=True)
    found["store hidden"] = rollout.success_by_episode().mean(dim=1).tolist()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(first_episodes(train(tyro.cli(Search, description=__doc__), report=True)))
