"""Policy head and critic: right densities, honest units, and privileges that can be taken away."""

import pytest
import torch
from torch.distributions import Independent, Normal

from agents.heads import GOAL_DIM, Critic, GaussianHead, gaussian_entropy, gaussian_log_prob
from agents.input_layout import ACTION_DIM, OBS_DIM
from agents.rl2 import AgentConfig, RL2Agent, actor_weights

TASKS, TIME, TRIALS, HIDDEN = 3, 6, 7, 5
TASK_IDS = torch.tensor([0, 1, 2, 0, 1, 1, 0])


def make_critic(*, privileged: bool) -> Critic:
    torch.manual_seed(0)
    critic = Critic(
        TASKS,
        goal_mean=torch.randn(TASKS, GOAL_DIM),
        goal_scale=1 + torch.rand(TASKS, GOAL_DIM),
        memory_width=HIDDEN,
        width=16,
        privileged=privileged,
    )
    with torch.no_grad():  # its output layer starts at zero, where everything would look equal
        critic.out.weight.normal_()
        critic.out.bias.normal_()
    return critic


def critic_inputs(critic: Critic, *, hidden: torch.Tensor | None = None, seed: int = 1, **changes):
    torch.manual_seed(seed)
    arguments = {
        "obs": torch.randn(TIME, TRIALS, OBS_DIM),
        "hidden": torch.randn(TIME, TRIALS, HIDDEN) if hidden is None else hidden,
        "task_ids": TASK_IDS,
        "goals": torch.randn(TRIALS, GOAL_DIM),
        "clock": torch.rand(TIME, 2),
    }
    return critic.inputs(**{**arguments, **changes})


def test_densities_are_those_of_torch() -> None:
    torch.manual_seed(0)
    mean, action = torch.randn(TIME, TRIALS, ACTION_DIM), torch.randn(TIME, TRIALS, ACTION_DIM)
    log_std = torch.tensor([-2.0, -0.3, 0.0, 0.7])
    normal = Independent(Normal(mean, log_std.exp().expand_as(mean)), 1)
    torch.testing.assert_close(gaussian_log_prob(action, mean, log_std), normal.log_prob(action))
    torch.testing.assert_close(gaussian_entropy(log_std), normal.entropy()[0, 0])


def make_head(mean_limit: float = 3.0) -> GaussianHead:
    return GaussianHead(
        HIDDEN, mean_limit=mean_limit, log_std_min=-2.0, log_std_max=0.7, log_std_init=0.0
    )


@pytest.mark.parametrize("limit", [1.0, 3.0])
def test_mean_and_deviation_are_bounded(limit: float) -> None:
    """Whatever the memory says, the mean stays in its bounds and σ where noise is no skill."""
    torch.manual_seed(0)
    head = make_head(limit)
    furthest = head(1e6 * torch.randn(100, HIDDEN)).abs().max()
    torch.testing.assert_close(furthest, torch.tensor(limit))
    with torch.no_grad():
        head.raw_log_std.copy_(torch.tensor([-9.0, -1.0, 0.5, 9.0]))
    torch.testing.assert_close(head.log_std(), torch.tensor([-2.0, -1.0, 0.5, 0.7]))


def test_deviation_at_its_bound_can_come_back() -> None:
    """Clamping alone kills the gradient beyond the bound; `project` is what keeps it alive."""
    head = make_head()
    with torch.no_grad():
        head.raw_log_std.fill_(0.9)
    (gradient,) = torch.autograd.grad(head.log_std().sum(), head.raw_log_std)
    assert (gradient == 0).all()
    head.project()
    (gradient,) = torch.autograd.grad(head.log_std().sum(), head.raw_log_std)
    assert (gradient == 1).all()


def test_moving_statistics_do_not_move_predictions() -> None:
    """PopArt: what the critic says in reward units stays while its targets' scale changes.

    Only the tasks in the batch may change at all.
    """
    critic = make_critic(privileged=True)
    inputs, ids = critic_inputs(critic), TASK_IDS.expand(TIME, -1)
    for rewards, tasks in ((50.0, [0, 1]), (0.01, [1]), (3000.0, [0])):
        before = critic.to_reward_units(critic(inputs, ids), ids)
        weights = critic.out.weight.clone()
        columns = torch.isin(TASK_IDS, torch.tensor(tasks))
        targets = rewards * (1 + torch.rand(TIME, int(columns.sum())))
        critic.update_targets(targets, TASK_IDS[columns])
        after = critic.to_reward_units(critic(inputs, ids), ids)
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
        for task in range(TASKS):
            assert torch.equal(critic.out.weight[task], weights[task]) == (task not in tasks)


def test_first_statistics_standardise_the_targets_per_task() -> None:
    """Tasks differ in reward by orders of magnitude; to the critic they must look alike."""
    critic = make_critic(privileged=True)
    scale = torch.tensor([1.0, 100.0, 10000.0])[TASK_IDS]
    torch.manual_seed(3)
    targets = scale * (2 + torch.randn(TIME, TRIALS))
    critic.update_targets(targets, TASK_IDS)
    normalised = critic.normalise_targets(targets, TASK_IDS)
    for task in range(TASKS):
        part = normalised[:, task == TASK_IDS]
        assert abs(float(part.mean())) < 1e-3
        assert float(part.std(correction=0)) == pytest.approx(1.0, abs=1e-3)
    torch.testing.assert_close(critic.to_reward_units(normalised, TASK_IDS), targets)


def test_statistics_settle() -> None:
    """The first batches weigh equally, later ones 10 % each: one odd batch cannot capsize them."""
    critic = make_critic(privileged=True)
    ids = torch.zeros(4, dtype=torch.long)
    for value in (10.0, 20.0, 30.0):
        critic.update_targets(torch.full((2, 4), value), ids)
    assert float(critic.target_mean[0]) == pytest.approx(20.0, rel=1e-4)
    for _ in range(20):
        critic.update_targets(torch.full((2, 4), 20.0), ids)
    critic.update_targets(torch.full((2, 4), 120.0), ids)
    assert float(critic.target_mean[0]) == pytest.approx(30.0, rel=1e-3)


@pytest.mark.parametrize("change", ["task_ids", "goals", "clock"])
def test_privileges_can_be_taken_away(change: str) -> None:
    """Switched off, task, goal and time are no inputs of the critic; switched on, they are."""
    values = {
        "task_ids": TASK_IDS.flip(0) * 0 + 2,
        "goals": torch.full((TRIALS, GOAL_DIM), 0.7),
        "clock": torch.full((TIME, 2), 0.7),
    }
    plain, rich = make_critic(privileged=False), make_critic(privileged=True)
    changed = {change: values[change]}
    assert torch.equal(critic_inputs(plain), critic_inputs(plain, **changed))
    assert not torch.equal(critic_inputs(rich), critic_inputs(rich, **changed))


def test_the_critic_does_not_train_the_memory() -> None:
    """Without privileges the critic reads the policy's memory, but its loss must not shape it."""
    critic = make_critic(privileged=False)
    hidden = torch.randn(TIME, TRIALS, HIDDEN, requires_grad=True)
    inputs = critic_inputs(critic, hidden=hidden)
    assert not torch.equal(inputs, critic_inputs(critic, hidden=hidden + 1))
    critic(inputs, TASK_IDS.expand(TIME, -1)).sum().backward()
    assert hidden.grad is None
    assert critic.body[0].weight.grad is not None


def test_each_task_has_its_own_output() -> None:
    critic = make_critic(privileged=True)
    inputs = critic_inputs(critic)
    values = critic(inputs, TASK_IDS.expand(TIME, -1))
    everything = critic.out(critic.body(inputs))
    for trial, task in enumerate(TASK_IDS.tolist()):
        assert torch.equal(values[:, trial], everything[:, trial, task])


def test_the_policy_holds_nothing_of_the_critic() -> None:
    """Task and goal reach the critic alone: no weight is shared, none is sent to the workers."""
    agent = RL2Agent(AgentConfig(hidden=HIDDEN, encoder=4))
    critic = make_critic(privileged=True)
    policy = {weight.data_ptr() for weight in agent.parameters()}
    assert policy.isdisjoint(weight.data_ptr() for weight in critic.parameters())
    sent = sum(weight.numel() for weight in actor_weights(agent).values())
    own = sum(p.numel() for p in agent.parameters()) + 2 * OBS_DIM  # and the normaliser
    own += 5  # and the scale of slopes, the bound of the mean, and three places in the state
    assert sent == own
