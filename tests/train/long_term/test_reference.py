"""L2, online EWC and Progress & Compress against what can be worked out by hand."""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from memory.behaviour import Behaviour
from train.long_term.compress import ProgressAndCompress, policy_divergence
from train.long_term.reference import L2, OnlineEWC, ReferenceConfig, fisher_diagonal, quadratic


def flat(agent) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in agent.parameters()])


def exact_fisher(agent, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """mean_t Σ_d (∂μ_d/∂θ)² / σ_d² + 2 (∂ log σ_d/∂θ)², one Jacobian row after the other."""
    weights = dict(agent.named_parameters())
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    outputs, _ = agent.unroll(inputs, agent.initial_state(inputs.shape[1]))
    variance = (2 * outputs.log_std).exp().detach()
    for index in np.ndindex(*outputs.mean.shape):
        rows = torch.autograd.grad(
            outputs.mean[index], weights.values(), retain_graph=True, allow_unused=True
        )
        for name, row in zip(weights, rows, strict=True):
            if row is not None:
                total[name] += row.square() / variance[index[-1]]
    steps = inputs.shape[0] * inputs.shape[1]
    mean = {name: value / steps for name, value in total.items()}
    mean["head.raw_log_std"] += 2.0
    return mean


@pytest.mark.parametrize("core", ["gru", "none"])
def test_fisher_is_the_gaussian_formula(make_learner, act, core) -> None:
    """Monte Carlo over actions against Jacobians; for a GRU too, whose steps share weights."""
    agent = make_learner(core).agent
    rollout = act(agent)
    exact = exact_fisher(agent, rollout.inputs)
    draws = [fisher_diagonal(agent, rollout, np.random.default_rng(n)) for n in range(25)]
    for name, expected in exact.items():
        found = torch.stack([draw[name] for draw in draws]).mean(dim=0)
        large = expected > 1e-3
        if name == "head.raw_log_std":
            assert found == pytest.approx(expected.numpy(), rel=0.3)
        elif large.any():
            # Single entries are noisy; what they sum to over a tensor is not.
            assert float(found[large].sum()) == pytest.approx(
                float(expected[large].sum()), rel=0.15
            )
            stacked = torch.stack((found[large].log(), expected[large].log()))
            if large.sum() > 20:
                assert torch.corrcoef(stacked)[0, 1] > 0.8


def test_fisher_has_a_floor_and_leaves_faulted_trials_out(make_learner, act) -> None:
    agent = make_learner().agent
    rollout = act(agent)
    found = fisher_diagonal(agent, rollout, np.random.default_rng(0))
    assert min(float(value.min()) for value in found.values()) >= 1e-5 * 0.999
    assert all(weight.grad is None for weight in agent.parameters())
    rollout.inputs[:, 2] = torch.nan
    rollout.usable[2] = False
    again = fisher_diagonal(agent, rollout, np.random.default_rng(0))
    assert all(torch.isfinite(value).all() for value in again.values())


def test_quadratic_by_hand() -> None:
    weights = {"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([[2.0]])}
    anchor = {"a": torch.tensor([1.0, 1.0]), "b": torch.tensor([[-1.0]])}
    importance = {"a": torch.tensor([0.5, 9.0]), "b": torch.tensor([[2.0]])}
    # ½ (.5 · 4 + 9 · 0 + 2 · 9)
    assert float(quadratic(weights, anchor, importance)) == pytest.approx(10.0)


class Line(torch.nn.Module):
    """One weight a dimension: two tasks are two quadratics ½ a (θ - c)²."""

    def __init__(self, at: list[float]) -> None:
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor(at))


@pytest.mark.parametrize("weight", [0.0, 0.5, 20.0])
def test_minimum_between_two_quadratics(weight) -> None:
    """Task 1 leaves θ* with curvature Ω; with task 2 the minimum is (a c + λ Ω θ*) / (a + λ Ω)."""
    agent = Line([1.0, -2.0])
    memory = OnlineEWC(agent, weight, 0.9)
    memory.anchor = {"theta": agent.theta.detach().clone()}
    memory.importance = {"theta": torch.tensor([4.0, 0.25])}
    a, c = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])
    optimiser = torch.optim.LBFGS(agent.parameters(), max_iter=50)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = 0.5 * (a * (agent.theta - c).square()).sum()
        pull = memory.loss(SimpleNamespace(agent=agent))  # type: ignore[arg-type]
        loss = loss if pull is None else loss + pull
        loss.backward()
        return loss

    optimiser.step(closure)
    held = weight * memory.importance["theta"]
    expected = (a * c + held * memory.anchor["theta"]) / (a + held)
    assert agent.theta.detach() == pytest.approx(expected.numpy(), abs=1e-3)


def test_l2_holds_all_weights_alike(make_learner, act) -> None:
    agent = make_learner().agent
    memory = L2(agent, 0.3)
    memory.end_phase(agent, act(agent), np.random.default_rng(0))
    moved = copy.deepcopy(agent)
    with torch.no_grad():
        for weight in moved.parameters():
            weight += 0.1
    pull = memory.loss(SimpleNamespace(agent=moved))  # type: ignore[arg-type]
    assert float(pull) == pytest.approx(0.3 / 2 * len(flat(agent)) * 0.01, rel=1e-4)


def test_online_ewc_decays_what_is_older(make_learner, act) -> None:
    """Ω_2 = γ Ω_1 + F_2, and the anchor is the last phase's."""
    agent = make_learner().agent
    rollout = act(agent)
    memory = OnlineEWC(agent, 1.0, 0.25)
    memory.end_phase(agent, rollout, np.random.default_rng(0))
    first = fisher_diagonal(agent, rollout, np.random.default_rng(0))
    assert all(torch.equal(memory.importance[name], first[name]) for name in first)
    with torch.no_grad():
        agent.head.mean.bias += 0.5
    second = fisher_diagonal(agent, rollout, np.random.default_rng(1))
    memory.end_phase(agent, rollout, np.random.default_rng(1))
    for name, value in second.items():
        assert torch.allclose(memory.importance[name], 0.25 * first[name] + value)
    assert torch.equal(memory.anchor["head.mean.bias"], agent.head.mean.bias)


MAKERS = [lambda agent: L2(agent, 0.5), lambda agent: OnlineEWC(agent, 5.0, 0.9)]


@pytest.mark.parametrize("make", [*MAKERS, lambda agent: OnlineEWC(agent, 0.0, 0.9)])
def test_nothing_is_held_before_the_first_boundary(make_learner, act, make) -> None:
    """Then PPO's step is its own, bit for bit; with weight 0 it is so for ever."""
    learners = [make_learner(), make_learner()]
    rollout, memory = act(learners[0].agent), make(learners[1].agent)
    for phase in range(2 if memory.weight == 0 else 1):
        learners[0].update(rollout, np.random.default_rng(phase))
        learners[1].update(rollout, np.random.default_rng(phase), memory)
        assert torch.equal(flat(learners[0].agent), flat(learners[1].agent))
        memory.end_phase(learners[1].agent, rollout, np.random.default_rng(9))


@pytest.mark.parametrize("make", [lambda a: L2(a, 1e4), lambda a: OnlineEWC(a, 1e6, 0.9)])
def test_a_strong_pull_keeps_the_policy_where_it_was(make_learner, act, make) -> None:
    moved = []
    for held in (False, True):
        learner = make_learner(epochs=4, learning_rate=1e-3)
        memory = make(learner.agent)
        rollout = act(learner.agent)
        if held:
            memory.end_phase(learner.agent, rollout, np.random.default_rng(0))
        before = flat(learner.agent)
        for n in range(5):
            learner.update(rollout, np.random.default_rng(n), memory)
        moved.append(float((flat(learner.agent) - before).norm()))
    assert moved[1] < 0.5 * moved[0]
    assert memory.consolidate(learner.agent, rollout, np.random.default_rng(0))["memory/pull"] > 0


# ---------------------------------------------------------------------------- Progress & Compress


def divergence(teacher, student, inputs) -> float:
    with torch.no_grad():
        done = [
            p.behaviour(p.unroll(inputs, p.initial_state(inputs.shape[1]))[0])
            for p in (teacher, student)
        ]
    return float(policy_divergence(*done))


def disturb(agent, seed: int, size: float = 0.5) -> None:
    """Stands for a phase's learning."""
    torch.manual_seed(seed)
    with torch.no_grad():
        agent.head.mean.weight += size * torch.randn_like(agent.head.mean.weight)


def test_divergence_by_hand() -> None:
    def done(mean: float, log_std: float) -> Behaviour:
        return Behaviour(torch.full((2, 3, 1), mean), torch.tensor([log_std]))

    same = policy_divergence(done(0.2, -1.0), done(0.2, -1.0))
    assert float(same) == pytest.approx(0, abs=1e-7)
    # log(σ₂/σ₁) + (σ₁² + (μ₁ - μ₂)²) / 2 σ₂² - ½ with σ₁ = 1, σ₂ = e, difference 2
    expected = 1 + (1 + 4) / (2 * np.exp(2)) - 0.5
    assert float(policy_divergence(done(1.0, 0.0), done(-1.0, 1.0))) == pytest.approx(expected)


def test_compressing_brings_the_base_to_the_active_column(make_learner, act) -> None:
    agent = make_learner().agent
    rollout = act(agent)
    memory = ProgressAndCompress(agent, ReferenceConfig(compress_epochs=150, compress_rate=3e-3))
    disturb(agent, 1)
    before = divergence(agent, memory.base, rollout.inputs)
    active = copy.deepcopy(agent)
    memory.end_phase(agent, rollout, np.random.default_rng(0))
    after = divergence(active, memory.base, rollout.inputs)
    assert after < 0.2 * before
    assert memory.divergence == pytest.approx(after, rel=1e-4)
    assert torch.equal(flat(agent), flat(memory.base))
    assert memory.loss(None) is None  # type: ignore[arg-type]


def test_without_a_sound_trial_the_active_column_goes_on_as_it_is(make_learner, act) -> None:
    agent = make_learner().agent
    rollout = act(agent)
    memory = ProgressAndCompress(agent, ReferenceConfig())
    disturb(agent, 1)
    active, base = flat(agent).clone(), flat(memory.base).clone()
    spoilt = dataclasses.replace(rollout, usable=torch.zeros_like(rollout.usable))
    memory.end_phase(agent, spoilt, np.random.default_rng(0))
    assert torch.equal(flat(agent), active)
    assert torch.equal(flat(memory.base), base)
    assert not memory.fisher


def test_the_base_is_held_and_the_active_column_is_not(make_learner, act) -> None:
    """With an immense λ the second compression cannot move the base; with none it moves freely."""
    moved = {}
    for ewc in (0.0, 1e9):
        agent = make_learner().agent
        rollout = act(agent)
        config = ReferenceConfig(ewc=ewc, compress_epochs=30, compress_rate=1e-3)
        memory = ProgressAndCompress(agent, config)
        disturb(agent, 1)
        memory.end_phase(agent, rollout, np.random.default_rng(0))
        first = flat(memory.base)
        disturb(agent, 2)
        assert not torch.equal(flat(agent), first)
        memory.end_phase(agent, rollout, np.random.default_rng(1))
        moved[ewc] = float((flat(memory.base) - first).norm())
    assert moved[1e9] < 0.1 * moved[0.0]


@pytest.mark.parametrize("kind", ["l2", "ewc", "compress"])
def test_what_is_remembered_survives_a_checkpoint(make_learner, act, kind) -> None:
    def make(agent):
        config = ReferenceConfig(compress_epochs=2)
        if kind == "compress":
            return ProgressAndCompress(agent, config)
        return L2(agent, 0.1) if kind == "l2" else OnlineEWC(agent, 1.0, 0.9)

    agent = make_learner().agent
    rollout = act(agent)
    memory = make(agent)
    disturb(agent, 3)
    memory.end_phase(agent, rollout, np.random.default_rng(0))
    other = make(make_learner(seed=5).agent)
    other.restore({n: v.clone() for n, v in memory.tensors().items()}, memory.state())
    assert memory.tensors().keys() == other.tensors().keys()
    assert all(torch.equal(v, other.tensors()[n]) for n, v in memory.tensors().items())
    copies = [copy.deepcopy(agent) for _ in range(2)]
    for one, store in zip(copies, (memory, other), strict=True):
        store.end_phase(one, rollout, np.random.default_rng(4))
    assert torch.equal(flat(copies[0]), flat(copies[1]))
    with pytest.raises((KeyError, ValueError, RuntimeError)):
        other.restore({"entries.key": torch.zeros(3)}, {})


@pytest.mark.parametrize("make", MAKERS)
def test_what_a_checkpoint_brings_back_joins_the_agent_on_its_device(
    make_learner, act, make
) -> None:
    """Tensors are restored to the CPU; `meta` stands in for a GPU."""
    agent = make_learner().agent
    memory = make(agent)
    memory.end_phase(agent, act(agent), np.random.default_rng(0))
    memory.restore(memory.tensors(), memory.state())
    loss = memory.loss(SimpleNamespace(agent=agent.to("meta")))
    assert loss.device.type == "meta"
    assert {value.device.type for value in memory.tensors().values()} == {"meta"}


FORGED = [
    (lambda kept: kept.pop("anchor.head.mean.bias"), r"anchor\.head\.mean\.bias is missing"),
    (lambda kept: kept.update({"anchor.x": torch.zeros(1)}), r"anchor\.x does not belong here"),
    (lambda kept: kept.update({"x": torch.zeros(1)}), "x does not belong here"),
    (
        lambda kept: kept.update({"anchor.head.mean.bias": torch.zeros(9)}),
        r"anchor\.head\.mean\.bias must be float32 of shape \(4,\)",
    ),
    (
        lambda kept: kept.update(
            {name: value.double() for name, value in kept.items() if "mean.bias" in name}
        ),
        "not float64",
    ),
    (lambda kept: kept["importance.head.mean.bias"].fill_(torch.inf), "must be finite"),
    (lambda kept: kept["importance.head.mean.bias"].fill_(-1.0), "must not be negative"),
]


@pytest.mark.parametrize(("change", "says"), FORGED, ids=[says for _, says in FORGED])
@pytest.mark.parametrize("make", MAKERS)
def test_what_is_no_memory_of_this_agent_is_refused(make_learner, act, make, change, says) -> None:
    """Anchor and importance of one another's shapes were taken, whatever the agent's were."""
    agent = make_learner().agent
    memory = make(agent)
    memory.end_phase(agent, act(agent), np.random.default_rng(0))
    kept = {name: value.clone() for name, value in memory.tensors().items()}
    change(kept)
    other = make(agent)
    with pytest.raises(ValueError, match=says):
        other.restore(kept, {})
    assert other.tensors() == {}


def test_an_untouched_memory_can_be_saved_too(make_learner) -> None:
    memory = OnlineEWC(make_learner().agent, 1.0, 0.9)
    memory.restore(memory.tensors(), memory.state())
    assert memory.loss(SimpleNamespace(agent=None)) is None  # type: ignore[arg-type]


def test_problems_name_the_flags() -> None:
    assert ReferenceConfig().problems() == []
    bad = ReferenceConfig(ewc=-1, ewc_decay=2, l2=-1, compress_epochs=0, compress_rate=0)
    flags = ("--ewc ", "--ewc-decay", "--l2", "--compress-epochs", "--compress-rate")
    found = bad.problems()
    assert len(found) == len(flags)
    assert all(problem.startswith(flag) for problem, flag in zip(found, flags, strict=True))
