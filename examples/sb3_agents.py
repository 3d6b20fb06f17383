"""Agents of stable-baselines3 and sb3-contrib on Strata's trials.

    python examples/sb3_agents.py --agent ppo
    python examples/sb3_agents.py --agent recurrent-ppo        (pip install -e '.[bench]')

One Gymnasium episode is one trial: a task with a hidden goal, and several episodes of it. The
observation is Strata's packed RL² input, so a recurrent agent can find the goal out. PPO without
memory cannot, and is the memoryless comparison.
"""

import argparse
import importlib

from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from envs.metaworld.suites import make_suite
from envs.trials.trial import Trial
from envs.trials.trial_env import TrialEnv
from eval.api import evaluate
from eval.own_agents.sb3 import SB3Agent


def training_trials(goals: int, episodes: int, horizon: int) -> list[Trial]:
    """Trials of reach-v3, one for each of `goals` training goals."""
    suite = make_suite("ML1", task="reach-v3", seed=1, train_goals=goals)
    return suite.evaluation_trials("train", goals=goals, episodes=episodes, horizon=horizon, seed=1)


def make_agent(name: str, env: TrialEnv, steps: int) -> BaseAlgorithm:
    """PPO, or sb3-contrib's RecurrentPPO, with updates of `steps` environment steps."""
    if name == "ppo":
        return PPO("MlpPolicy", env, n_steps=steps, batch_size=steps, device="cpu", seed=1)
    recurrent = importlib.import_module("sb3_contrib").RecurrentPPO
    return recurrent("MlpLstmPolicy", env, n_steps=steps, batch_size=steps, device="cpu", seed=1)


def main(argv: list[str] | None = None) -> list[float]:
    """Train, then measure by Strata's evaluator. Returns success on unseen goals by episode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", choices=("ppo", "recurrent-ppo"), default="ppo")
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps to train for")
    parser.add_argument("--goals", type=int, default=50, help="goals to train and to measure on")
    parser.add_argument("--episodes", type=int, default=4, help="episodes of a trial")
    parser.add_argument("--horizon", type=int, default=125, help="steps of an episode")
    options = parser.parse_args(argv)
    env = TrialEnv(training_trials(options.goals, options.episodes, options.horizon))
    agent = make_agent(options.agent, env, min(options.steps, 2000)).learn(options.steps)
    env.close()
    found = evaluate(
        SB3Agent(agent), suite="ML1", task="reach-v3", goals=options.goals,
        episodes=options.episodes, horizon=options.horizon, random=False, scripted=False,
    )  # fmt: skip
    measured = next(iter(found.policies.values()))
    return [interval.value for interval in measured.summary.mean.success]


if __name__ == "__main__":
    for number, success in enumerate(main(), start=1):
        print(f"episode {number}: success {success:.2f}")
