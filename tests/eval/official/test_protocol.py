"""Our agent behind Meta-World's protocol: what it is shown and what it keeps."""

from typing import Any

import numpy as np
import pytest
import torch
from metaworld.evaluation import metalearning_evaluation

from agents.acting.numpy_actor import NumpyActor
from agents.input_layout import OBS_DIM, PREV_ACTION, PREV_DONE, PREV_REWARD, REWARD_CHANGE
from agents.rl2 import AgentConfig, RL2Agent
from envs.metaworld.suites import Suite
from envs.pool.pool import Policy
from envs.trials.trial import Trial, TrialRunner
from eval.official.meta_evaluation import OfficialPlan, official_envs
from eval.official.protocol import OFFICIAL_DIM, OfficialAgent
from train.collect import acting_policy

HORIZON, ADAPTATION = 5, 2
# Placed at least 0.15 m apart in the plane, else the task redraws for ever
REACH = ((0.0, 0.6, 0.02, 0.1, 0.8, 0.1), (0.0, 0.6, 0.02, -0.1, 0.8, 0.2))
CUSTOM = Suite("custom", 1, train={"reach-v3": REACH[:1]}, test={"reach-v3": REACH})


def make_agent(core: str = "gru", log_std: float = -20.0) -> RL2Agent:
    """With the least σ, so that stochastic actions are the mean to float32 round-off."""
    torch.manual_seed(0)
    config = AgentConfig(
        core=core,  # type: ignore[arg-type]
        hidden=6,
        encoder=5,
        log_std_min=-20.0,
        log_std_init=log_std,
    )
    agent = RL2Agent(config)
    with torch.no_grad():
        agent.head.mean.weight.mul_(100)  # actions worth comparing
    return agent


def stub_reward(step: int) -> np.ndarray:
    return step**2 / 50 * np.array([1.0, 1.5])


class StubEnvs:
    """Two environments as Meta-World shows them: SAME_STEP autoreset, info in the observation.

    Environment 0 never succeeds; 1 succeeds at the third step of each episode. The reward of the
    n-th step of all is n²/50, and half as much more in environment 1.
    """

    num_envs = 2

    def __init__(self) -> None:
        self.terminates, self.steps = False, 0

    def get_attr(self, name: str) -> tuple[Any, ...]:
        return {
            "task_name": ("SawyerReachEnvV3", "SawyerReachEnvV3"),
            "terminate_on_success": (self.terminates,) * 2,
        }[name]

    def call(self, name: str, *arguments: Any) -> None:
        if name == "toggle_terminate_on_success":
            self.terminates = arguments[0]

    def reset(self) -> tuple[np.ndarray, dict]:
        self.clock = np.zeros(2, dtype=int)
        return self._observe(np.zeros((2, 6))), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        self.clock += 1
        self.steps += 1
        reward = stub_reward(self.steps)
        success = (self.clock >= 3) & np.array([False, True])
        ended = success & self.terminates
        cut = self.clock == HORIZON
        done = ended | cut
        self.clock[done] = 0
        shown = np.column_stack([actions, reward / 10, np.zeros(2)]) * ~done[:, None]
        infos = {"final_info": {"episode": {"r": reward}, "success": success}}
        return self._observe(shown), reward, ended, cut, infos  # type: ignore[return-value]

    def _observe(self, shown: np.ndarray) -> np.ndarray:
        obs = np.full((2, OBS_DIM), 0.1) + 0.1 * self.clock[:, None]
        return np.hstack([obs, shown])


class Recorder(OfficialAgent):
    """Keeps what the agent is shown at every step, its memory before it, and what it does."""

    def __init__(self, policy: Policy, environments: int = 2) -> None:
        self.inputs: list[np.ndarray] = []
        self.states: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        super().__init__(policy, environments, seed=0)

    def _pack(self, observations: np.ndarray) -> np.ndarray:
        packed = super()._pack(observations)
        self.inputs.append(packed.copy())
        self.states.append(self._actor.state.copy())
        return packed

    def adapt_action(self, observations: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        actions, extra = super().adapt_action(observations)
        self.actions.append(actions)
        return actions, extra

    def eval_action(self, observations: np.ndarray) -> np.ndarray:
        self.actions.append(super().eval_action(observations))
        return self.actions[-1]


def drive(agent: Recorder, envs: Any, *, evals: int = 2, episodes: int = 3) -> None:
    metalearning_evaluation(
        agent,  # type: ignore[arg-type]
        envs,
        num_evals=evals,
        adaptation_episodes=ADAPTATION,
        evaluation_episodes=episodes,
    )


@pytest.fixture(scope="module", params=["gru", "lstm", "none"])
def driven(request: pytest.FixtureRequest) -> tuple[Recorder, RL2Agent]:
    agent = make_agent(request.param)
    recorder = Recorder(acting_policy(agent))
    drive(recorder, StubEnvs())
    return recorder, agent


# Steps of one round: 10 of adaptation; then environment 1 succeeds after 3, 6 and 9 steps, but the
# third finished episode is that of environment 0 or 1 after 6: 3 (env 1), 5 (env 0), 6 (env 1).
ROUND, ADAPT = 16, ADAPTATION * HORIZON


def test_the_agent_sees_how_its_adaptation_episodes_end(
    driven: tuple[Recorder, RL2Agent],
) -> None:
    inputs, actions = np.stack(driven[0].inputs), np.stack(driven[0].actions)
    assert len(inputs) == 2 * ROUND
    for start in (0, ROUND):
        np.testing.assert_array_equal(inputs[start, :, OBS_DIM:], 0)  # a trial starts
        boundary = start + HORIZON
        np.testing.assert_array_equal(inputs[boundary, :, PREV_DONE], 1)
        reward, before = stub_reward(boundary), stub_reward(boundary - 1)
        np.testing.assert_allclose(inputs[boundary, :, PREV_REWARD], reward / 10, rtol=1e-6)
        change = np.minimum(reward - before, 3)
        np.testing.assert_allclose(inputs[boundary, :, REWARD_CHANGE], change, rtol=1e-5)
        np.testing.assert_array_equal(inputs[boundary + 1, :, REWARD_CHANGE], 0)
        np.testing.assert_array_equal(inputs[boundary, :, PREV_ACTION], actions[boundary - 1])
        others = np.delete(inputs[start : start + ADAPT], HORIZON, axis=0)
        np.testing.assert_array_equal(others[:, :, PREV_DONE], 0)


def test_every_evaluation_episode_starts_as_the_next_of_the_trial(
    driven: tuple[Recorder, RL2Agent],
) -> None:
    """Frozen memory, and the input that adaptation left unseen; the other episode goes on."""
    recorder = driven[0]
    inputs, states = np.stack(recorder.inputs), np.stack(recorder.states)
    for start in (0, ROUND):
        end = start + ADAPT
        starts = [(end, 0), (end, 1), (end + 3, 1), (end + 5, 0)]
        for step, row in starts:
            np.testing.assert_array_equal(states[step, row], states[end, row])
            np.testing.assert_array_equal(inputs[step, row], inputs[end, row])
            assert inputs[step, row, PREV_DONE] == 1
            last = stub_reward(end)[row]
            assert inputs[step, row, PREV_REWARD] == pytest.approx(last / 10)
        for step in range(end, start + ROUND):
            for row in range(2):
                if (step, row) not in starts:
                    assert inputs[step, row, PREV_DONE] == 0
                    seen, before = stub_reward(step)[row], stub_reward(step - 1)[row]
                    assert inputs[step, row, PREV_REWARD] == pytest.approx(seen / 10)
                    change = 0 if (step - 1, row) in starts else seen - before
                    assert inputs[step, row, REWARD_CHANGE] == pytest.approx(change, abs=1e-5)
                    np.testing.assert_array_equal(
                        inputs[step, row, PREV_ACTION], recorder.actions[step - 1][row]
                    )


def assert_same(actions: np.ndarray, mean: torch.Tensor) -> None:
    """As the simulator takes them: clipped to the box."""
    np.testing.assert_allclose(actions.clip(-1, 1), mean.clamp(-1, 1).numpy(), atol=1e-5)


def test_actions_equal_one_unroll_of_the_agent(driven: tuple[Recorder, RL2Agent]) -> None:
    recorder, agent = driven
    inputs = torch.from_numpy(np.stack(recorder.inputs))
    actions = np.stack(recorder.actions)
    assert np.abs(actions).max() > 0.1
    for start in (0, ROUND):
        end = start + ADAPT
        with torch.no_grad():
            adapted, memory = agent.unroll(inputs[start:end], agent.initial_state(2))
            first, _ = agent.unroll(inputs[end : end + 3], memory)
            second, _ = agent.unroll(inputs[end + 3 : end + 6], memory)
            other, _ = agent.unroll(inputs[end : end + 5], memory)
        assert_same(actions[start:end], adapted.mean)
        assert_same(actions[end : end + 3, 1], first.mean[:, 1])
        assert_same(actions[end + 3 : end + 6, 1], second.mean[:, 1])
        assert_same(actions[end : end + 5, 0], other.mean[:, 0])


def test_adaptation_explores_and_evaluation_does_not() -> None:
    agents = [Recorder(acting_policy(make_agent(log_std=0.0))) for _ in range(2)]
    observations = np.zeros((2, OFFICIAL_DIM))
    for agent in agents:
        agent.eval_action(observations)
        agent.init()
        agent.adapt_action(observations)
    quiet, loud = agents[0].actions
    assert np.abs(quiet - loud).max() > 0.1
    assert np.abs(loud).max() <= 1
    np.testing.assert_array_equal(agents[1].actions, agents[0].actions)  # of equal seeds


def test_evaluation_shows_the_last_action_as_the_simulator_took_it() -> None:
    """A mean may lie outside the box, and training never showed an action that does."""
    agent = make_agent()
    with torch.no_grad():
        agent.head.mean.bias.copy_(torch.tensor([9.0, -9.0, 9.0, 0.0]))
    recorder = Recorder(acting_policy(agent))
    drive(recorder, StubEnvs(), evals=1)
    shown = np.stack(recorder.inputs)[ADAPT + 1 :, :, PREV_ACTION]
    assert np.abs(shown).max() == 1
    assert np.abs(recorder.actions).max() == 1


def test_observations_without_rewards_are_refused() -> None:
    agent = OfficialAgent(acting_policy(make_agent()), 2, seed=0)
    with pytest.raises(ValueError, match="recurrent_info_in_obs=True"):
        agent.adapt_action(np.zeros((2, OBS_DIM)))


def test_on_the_simulator_the_protocol_shows_what_a_trial_shows() -> None:
    """Two adaptation episodes and one of evaluation are one trial of three episodes."""
    policy = acting_policy(make_agent())
    recorder = Recorder(policy)
    plan = OfficialPlan(rounds=1, environments=2, goals=2, horizon=HORIZON)
    with official_envs(CUSTOM, "test", plan) as envs:
        drive(recorder, envs, evals=1, episodes=1)
        vectors = [env.unwrapped._last_rand_vec for env in envs.envs]  # type: ignore[attr-defined]
    assert sorted(map(tuple, vectors)) == sorted(REACH)
    for row, vector in enumerate(vectors):
        runner, actor = TrialRunner("reach-v3"), NumpyActor("gru", policy.weights, 1)
        goal = tuple(map(float, vector))
        inputs = runner.begin(Trial("reach-v3", goal, 0, "test", 3, HORIZON, 0))
        for shown in recorder.inputs:
            np.testing.assert_allclose(shown[row], inputs, atol=1e-4)
            runner.step(actor.mean(inputs[None])[0])


def test_a_repeating_agent_repeats_its_best_attempt_in_every_evaluation_episode() -> None:
    """To round-off: rewards are read from Meta-World's observation there, divided by ten."""
    recorder = Recorder(acting_policy(make_agent(log_std=0.0), attempts=ADAPTATION))
    plan = OfficialPlan(rounds=1, environments=2, goals=2, horizon=HORIZON)
    with official_envs(CUSTOM, "test", plan) as envs:
        drive(recorder, envs, evals=1, episodes=3)
    assert len(recorder.actions) == (ADAPTATION + 2) * HORIZON
    shape = (ADAPTATION + 2, HORIZON, 2)
    actions = np.reshape(recorder.actions, (*shape, 4))
    seen = np.stack(recorder.inputs)[1 : ADAPT + 1, :, PREV_REWARD]
    earned = seen.reshape(ADAPTATION, HORIZON, 2).sum(axis=1)
    for row, best in enumerate(earned.argmax(axis=0)):
        assert (actions[0, :, row] != actions[1, :, row]).any()
        for episode in actions[ADAPTATION:]:
            np.testing.assert_allclose(episode[:, row], actions[best, :, row], atol=1e-5)
