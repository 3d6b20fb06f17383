"""What long-term memory may do to the PPO update: pull, up to its cap."""

import copy

import pytest
import torch

from tests.train.algorithms.learners import Pull, changed, rng, weights_of


def test_a_pull_is_learnt_from(make_learner, act) -> None:
    """A pull on one weight moves that weight."""
    plain, pulled = make_learner(), make_learner()
    plain.update(act(plain.agent), rng())
    pull = Pull(lambda: 100 * pulled.agent.head.mean.bias.sum())
    metrics = pulled.update(act(pulled.agent), rng(), pull)
    assert (pulled.agent.head.mean.bias < plain.agent.head.mean.bias).all()
    assert metrics["pull_ratio"] > 1
    assert -1 <= metrics["pull_cosine"] <= 1


def test_without_a_pull_the_update_is_the_flat_agents(make_learner, act) -> None:
    """Bit for bit: no long-term memory, one that has nothing to add, and one that adds zero."""
    results = []
    for kind in range(3):
        learner = make_learner()
        loss = (lambda: None) if kind == 1 else lambda at=learner: 0 * at.agent.head.mean.bias.sum()
        found = learner.update(act(learner.agent), rng(), Pull(loss) if kind else None)
        results.append((weights_of(learner), found["loss"], found["grad_norm"]))
    for weights, loss, norm in results[1:]:
        assert changed(results[0][0], weights) == set()
        assert (loss, norm) == results[0][1:]


@pytest.mark.parametrize("cap", [0.0, 0.25, 1e9])
def test_the_pull_is_capped(make_learner, act, cap: float) -> None:
    """Its gradient is at most `cap` times as long as PPO's; a shorter one is left as it is."""
    learner = make_learner(max_grad_norm=1e5)
    weights = learner.groups[0]

    def gradients() -> torch.Tensor:
        return torch.cat(
            [(torch.zeros_like(w) if w.grad is None else w.grad).ravel() for w in weights]
        )

    def own() -> torch.Tensor:
        return learner.agent.head.mean.weight.square().sum() + learner.belief.out.bias.sum()

    def pull() -> torch.Tensor:
        return 3 * learner.agent.memory.net.weight_hh_l0.sum()

    state = copy.deepcopy(learner.agent.state_dict())
    learner._step(own())
    alone = gradients()
    learner.agent.load_state_dict(state)
    found = learner._step(own(), pull(), cap)
    added = gradients() - alone
    longest = 3 * len(learner.agent.memory.net.weight_hh_l0.ravel()) ** 0.5
    torch.testing.assert_close(added.norm(), (cap * alone.norm()).clamp(max=longest))
    assert found["pull_ratio"] == pytest.approx(float(longest / alone.norm()), rel=1e-4)
    assert float(found["pull_cosine"]) == 0.0
    if cap:
        hh = added.abs() > 0
        assert int(hh.sum()) == learner.agent.memory.net.weight_hh_l0.numel()


def test_the_view_is_the_minibatch(make_learner, act) -> None:
    """Every stretch is seen once a pass, with the inputs, starts and outputs it stands for."""
    learner = make_learner(epochs=2, minibatches=3)
    rollout = act(learner.agent)
    rollout.usable[2] = False
    pull = Pull(lambda: None)
    learner.update(rollout, rng(), pull)
    assert [(v.epoch, v.number, v.count) for v in pull.views] == [
        (epoch, number, 3) for epoch in range(2) for number in range(3)
    ]
    first = pull.views[:3]
    cut, kept = first[0].cut, first[0].rollout
    assert all(view.rollout is kept for view in pull.views)
    assert [view.cut is cut for view in pull.views] == 3 * [True] + 3 * [False]  # cut anew
    assert kept.inputs.shape[1] == 5
    seen = torch.cat([view.index for view in first])
    assert seen.sort().values.tolist() == list(range(cut.count))
    for view in first:
        assert torch.equal(view.inputs, cut.cut(kept.inputs)[:, view.index])
        assert torch.equal(view.mask, cut.cut(torch.ones(21, 5))[:, view.index])
        column = cut.cut(torch.arange(5.0).expand(21, -1))[0, view.index]
        assert view.trials.tolist() == column.tolist()
        again, _ = make_learner().agent.unroll(view.inputs, view.starts)
        if view is first[0]:
            torch.testing.assert_close(view.outputs.mean, again.mean)
        assert view.outputs.mean.requires_grad
        assert view.outputs.hidden.shape == (cut.length, len(view.index), 12)
