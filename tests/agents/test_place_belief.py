"""A belief over (part, place): its likelihood, its samples, and who reads what."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from agents.acting.numpy_actor import NumpyActor
from agents.acting.place_aims import CENTRE, UNIT, PlacePlan, aim_at, drawn
from agents.input_layout import AIM, INPUT_DIM, OBS_DIM, PREV_DONE
from agents.place_belief import PlaceBelief
from agents.rl2 import AgentConfig, RL2Agent, actor_weights
from eval.agent import TrainedAgent

HORIZON, EPISODES, TRIALS = 5, 3, 12
# Two components: chances .75 and .25 of the hand's .9 and .2, spreads 10^(x - 1) × 3^x in units.
SCORES = np.array(
    [
        *(np.log(3.0), np.log(9.0), 1.0, 0.0, -1.0, 0.0, 0.0, 0.0),
        *(0.0, np.log(0.25), -2.0, 0.5, 0.0, *([np.log(3.0)] * 3)),
    ],
    dtype=np.float32,
)
SPREADS = 0.1 * 30**0.5, 0.1 * 30**0.75


@pytest.fixture
def agent() -> RL2Agent:
    torch.manual_seed(3)
    agent = RL2Agent(AgentConfig(act="posterior", hidden=16, encoder=12, components=3))
    with torch.no_grad():
        for weight in agent.parameters():
            weight += 0.2 * torch.randn_like(weight)
    return agent


def run(agent: RL2Agent, shown: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs with their aims (T, B, input), actions' means (T, B, 4)."""
    rng = np.random.default_rng(7)
    weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
    aims = [PlacePlan((row,), shown) for row in range(TRIALS)]
    actor = NumpyActor(agent.memory.stepper, weights, TRIALS, deterministic=True, aims=aims)
    seen, means = [], []
    for t in range(EPISODES * HORIZON):
        inputs = np.zeros((TRIALS, agent.input_width), dtype=np.float32)
        inputs[:, :OBS_DIM] = rng.standard_normal((TRIALS, OBS_DIM))
        inputs[:, PREV_DONE] = t > 0 and t % HORIZON == 0
        means.append(actor.act(inputs, np.zeros((TRIALS, 4), np.float32))[0])
        seen.append(inputs)
    return np.stack(seen), np.stack(means)


def test_the_likelihood_is_that_of_the_mixture() -> None:
    belief = PlaceBelief(4, 2)
    with torch.no_grad():
        belief.out.bias.copy_(torch.from_numpy(SCORES))
    place = np.array([0.8, 0.1, -0.7])
    first = 0.75 * norm.pdf(place, [1, 0, -1], SPREADS[0]).prod()
    second = 0.25 * norm.pdf(place, [-2, 0.5, 0], SPREADS[1]).prod()
    for hand, by_hand in (
        (1.0, 0.9 * first + 0.2 * second),
        (0.0, 0.1 * first + 0.8 * second),
    ):
        truth = torch.tensor([[hand, *place]], dtype=torch.float32)
        error = belief.errors(torch.zeros(1, 4), truth)
        assert error.item() == pytest.approx(-np.log(by_hand), abs=1e-4)
    assert belief.likeliest(torch.zeros(1, 4)).tolist() == [[1, 1, 0, -1]]


def test_samples_have_the_frequencies_of_the_mixture() -> None:
    rng = np.random.default_rng(0)
    aims = np.stack([drawn(SCORES, rng.random(2), rng.standard_normal(3)) for _ in range(4000)])
    first = aims[:, 1] > -0.4  # the components lie 3 units apart, with spreads of .5 and 1.3
    assert first.mean() == pytest.approx(0.75, abs=0.06)
    assert aims[:, 0].mean() == pytest.approx(0.75 * 0.9 + 0.25 * 0.2, abs=0.03)
    assert aims[:, 1:].mean(axis=0) == pytest.approx([0.25, 0.125, -0.75], abs=0.1)
    assert aims[:, 2].var() == pytest.approx(
        0.75 * SPREADS[0] ** 2 + 0.25 * SPREADS[1] ** 2 + 0.75 * 0.25 * 0.5**2, rel=0.1
    )


def test_workers_act_as_the_learner_thinks(agent) -> None:
    inputs, means = run(agent)
    unrolled, _ = agent.unroll(torch.from_numpy(inputs), agent.initial_state(TRIALS))
    assert np.abs(unrolled.mean.detach().numpy() - means).max() < 1e-5


def test_an_aim_is_drawn_anew_at_each_episodes_start_from_what_is_then_believed(agent) -> None:
    inputs, _ = run(agent)
    aims = inputs[..., AIM].reshape(EPISODES, HORIZON, TRIALS, 4)
    assert (aims == aims[:, :1]).all()
    hidden = agent.unroll(torch.from_numpy(inputs), agent.initial_state(TRIALS))[0].hidden
    scores = agent.belief(hidden[::HORIZON]).detach().numpy()
    for episode in range(EPISODES):
        for row in range(TRIALS):
            expected = PlacePlan((row,)).aim(scores[episode, row], episode)
            assert aims[episode, 0, row] == pytest.approx(expected, abs=1e-3)
    assert not np.allclose(aims[0], aims[1])


def test_practice_shows_the_truth_and_the_memory_does_not_read_it(agent) -> None:
    truth = aim_at(True, CENTRE + UNIT * np.array((1, 0, -1)))
    assert truth == pytest.approx([1, 1, 0, -1])
    inputs, means = run(agent, truth)
    assert (inputs[..., AIM] == truth).all()
    own, others = run(agent)
    start = agent.initial_state(TRIALS)
    one, two = (agent.unroll(torch.from_numpy(x), start)[0].hidden for x in (inputs, own))
    assert torch.equal(one, two)
    assert not np.allclose(means, others)


def test_the_belief_loss_alone_teaches_the_memory(agent) -> None:
    inputs = torch.from_numpy(run(agent)[0])
    outputs, _ = agent.unroll(inputs, agent.initial_state(TRIALS))
    outputs.mean.sum().backward(retain_graph=True)
    assert all(weight.grad is None for weight in agent.memory.parameters())
    agent.belief.errors(outputs.hidden, torch.zeros(*outputs.hidden.shape[:2], 4)).sum().backward()
    assert all(weight.grad is not None for weight in agent.memory.parameters())


def test_it_acts_in_a_loop_of_ones_own(agent) -> None:
    acting = TrainedAgent(agent, seed=1)
    assert agent.input_width == INPUT_DIM + 4
    first = [acting.act(np.zeros(OBS_DIM), 0.0, done) for done in (False, False, True)]
    acting.reset()
    again = acting.act(np.zeros(OBS_DIM))
    assert np.isfinite([*first, again]).all()
