"""Acting on an aim that is drawn from the belief: who reads what, and what is drawn."""

import numpy as np
import pytest
import torch

from agents.acting.aims import NOT_SHOWN, AimPlan
from agents.acting.forgetting import ForgettingActor
from agents.acting.numpy_actor import NumpyActor
from agents.input_layout import AIM, INPUT_DIM, OBS_DIM, PREV_DONE, PREV_REWARD
from agents.rl2 import AgentConfig, RL2Agent, actor_weights

TARGETS, STILL, HORIZON, ATTEMPTS, TRIALS = 3, 2, 6, 3, 40


@pytest.fixture
def agent() -> RL2Agent:
    torch.manual_seed(3)
    agent = RL2Agent(AgentConfig(act="posterior", targets=TARGETS, hidden=16, encoder=12))
    with torch.no_grad():
        for weight in agent.parameters():
            weight += 0.2 * torch.randn_like(weight)
    return agent


def plans(shown: int = NOT_SHOWN) -> list[AimPlan]:
    rng = np.random.default_rng(5)
    return [AimPlan(rng.random(ATTEMPTS), np.full(ATTEMPTS, shown), STILL) for _ in range(TRIALS)]


def run(agent: RL2Agent, aims: list[AimPlan], *, forget: bool = False, outcome: float = 0.0):
    """Inputs with their aims (T, B, input), actions' means (T, B, 4)."""
    rng = np.random.default_rng(7)
    weights = {name: weight.numpy() for name, weight in actor_weights(agent).items()}
    actor = NumpyActor(agent.memory.stepper, weights, TRIALS, deterministic=True, aims=aims)
    acting = ForgettingActor(actor) if forget else actor
    seen, means = [], []
    for t in range(ATTEMPTS * HORIZON):
        inputs = np.zeros((TRIALS, agent.input_width), dtype=np.float32)
        inputs[:, :OBS_DIM] = rng.standard_normal((TRIALS, OBS_DIM))
        inputs[:, PREV_DONE] = t > 0 and t % HORIZON == 0
        inputs[:, PREV_REWARD] = outcome * (t >= HORIZON and t % HORIZON < STILL)
        means.append(acting.act(inputs, np.zeros((TRIALS, 4), np.float32))[0])
        seen.append(inputs)
    return np.stack(seen), np.stack(means)


def test_workers_act_as_the_learner_thinks(agent) -> None:
    inputs, means = run(agent, plans())
    unrolled, _ = agent.unroll(torch.from_numpy(inputs), agent.initial_state(TRIALS))
    assert np.abs(unrolled.mean.detach().numpy() - means).max() < 1e-5


def test_an_aim_is_drawn_at_the_last_still_step_and_kept(agent) -> None:
    inputs, _ = run(agent, plans())
    aims = inputs[..., AIM].reshape(ATTEMPTS, HORIZON, TRIALS, TARGETS)
    assert (aims[:, : STILL - 1] == 0).all()
    assert (aims[:, STILL - 1 :].sum(axis=-1) == 1).all()
    assert (aims[:, STILL - 1 :] == aims[:, STILL - 1 : STILL]).all()


def test_aims_are_drawn_in_proportion_to_the_belief(agent) -> None:
    assert agent.belief is not None
    with torch.no_grad():
        agent.belief.out.weight.zero_()
        agent.belief.out.bias.copy_(torch.tensor([0.6, 0.3, 0.1]).log())
    inputs, _ = run(agent, plans())
    share = inputs[..., AIM].reshape(ATTEMPTS, HORIZON, TRIALS, TARGETS)[:, -1].mean(axis=(0, 1))
    assert np.abs(share - [0.6, 0.3, 0.1]).max() < 0.13  # three standard errors of 120 draws
    with torch.no_grad():
        agent.belief.out.bias.copy_(torch.tensor([-50.0, 0.0, -50.0]))
    inputs, _ = run(agent, plans())
    assert (inputs[..., AIM][HORIZON - 1] == [0, 1, 0]).all()


def test_practice_shows_the_target(agent) -> None:
    inputs, _ = run(agent, plans(shown=2))
    assert (inputs[HORIZON - 1, :, AIM] == [0, 0, 1]).all()


def test_the_memory_does_not_read_the_aim(agent) -> None:
    """In practice it is the truth: a memory that read it would learn to know nothing else."""
    inputs = torch.from_numpy(run(agent, plans())[0])
    other = inputs.clone()
    other[..., AIM] = other[..., AIM].roll(1, dims=-1)
    start = agent.initial_state(TRIALS)
    one, two = (agent.unroll(x, start)[0] for x in (inputs, other))
    assert torch.equal(one.hidden, two.hidden)
    assert not torch.allclose(one.mean, two.mean)


def test_the_policy_does_not_read_the_memory(agent) -> None:
    """So the belief loss alone teaches the memory."""
    inputs = torch.from_numpy(run(agent, plans())[0])
    agent.unroll(inputs, agent.initial_state(TRIALS))[0].mean.sum().backward()
    assert all(weight.grad is None for weight in agent.memory.parameters())
    assert agent.encoder.layer.weight.grad is None
    assert agent.body is not None
    assert agent.body.first.weight.grad is not None


def test_a_forgetting_agent_starts_each_attempt_anew(agent) -> None:
    """Its belief in the second attempt is that of an agent that has seen no first one."""
    assert agent.belief is not None
    forgotten, _ = run(agent, plans(), forget=True)
    kept, _ = run(agent, plans())
    assert not np.array_equal(forgotten[HORIZON:], kept[HORIZON:])
    second = torch.from_numpy(forgotten[HORIZON : 2 * HORIZON])
    hidden = agent.unroll(second, agent.initial_state(TRIALS))[0].hidden[STILL - 1]
    chances = torch.softmax(agent.belief(hidden), dim=-1).cumsum(dim=-1).detach().numpy()
    draws = np.array([plan.draws[1] for plan in plans()])
    drawn = (chances < draws[:, None]).sum(axis=-1)
    assert (forgotten[2 * HORIZON - 1, :, AIM].argmax(axis=-1) == drawn).mean() > 0.97


def test_a_forgetting_agent_is_told_no_outcome(agent) -> None:
    """An agent that always tries the same first would know from it what it tried."""
    _, won = run(agent, plans(), forget=True, outcome=1.0)
    _, lost = run(agent, plans(), forget=True, outcome=-1.0)
    assert np.array_equal(won, lost)
    assert not np.array_equal(run(agent, plans(), outcome=1.0)[1], lost)


def test_an_agent_without_memory_is_told_no_outcome(monkeypatch) -> None:
    """An aim is held through an attempt: one that follows the last outcome would remember it.

    Seen, the outcome lets a habit win without memory: try the first target, then the second after
    a failure and the first again after a success.
    """
    agent = RL2Agent(
        AgentConfig(core="none", act="posterior", targets=TARGETS, hidden=16, encoder=12)
    )
    with torch.no_grad():
        for weight in agent.parameters():
            weight += 0.5 * torch.randn_like(weight)
    won, lost = (run(agent, plans(), outcome=o) for o in (1.0, -1.0))
    assert np.array_equal(won[1], lost[1])
    assert not won[0][..., PREV_REWARD].any()  # so nothing that learns from inputs sees it either
    monkeypatch.setattr(NumpyActor, "_hides", lambda self: False)
    won, lost = (run(agent, plans(), outcome=o) for o in (1.0, -1.0))
    assert not np.array_equal(won[0][..., AIM], lost[0][..., AIM])


def test_the_belief_is_read_even_where_the_memory_acts_itself() -> None:
    """So that a memory failure and an exploration failure look different in plain RL² too."""
    agent = RL2Agent(AgentConfig(targets=TARGETS, hidden=16, encoder=12))
    assert agent.belief is not None
    assert agent.input_width == INPUT_DIM
    hidden = torch.zeros(2, 5, 16)
    truth = torch.ones(2, 5, dtype=torch.long)
    entropy = agent.belief.errors(hidden, truth)
    assert torch.allclose(entropy, torch.tensor(TARGETS).float().log().expand(2, 5))
    assert agent.belief.knew(hidden, truth, hidden[..., :0])["belief_right"].shape == (2, 5)
