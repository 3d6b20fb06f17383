"""Divergence of what agents do and believe, against torch's own."""

import torch

from memory.behaviour import Behaviour, divergence


def test_actions_and_beliefs_add_up() -> None:
    torch.manual_seed(0)
    p, q = (Behaviour(torch.randn(4, 3, 2), torch.randn(2), torch.randn(4, 3, 5)) for _ in "pq")
    normal, drawn = torch.distributions.Normal, torch.distributions.Categorical
    kl = torch.distributions.kl_divergence
    actions = kl(normal(p.mean, p.log_std.exp()), normal(q.mean, q.log_std.exp())).sum(dim=-1)
    beliefs = kl(drawn(logits=p.scores), drawn(logits=q.scores))
    read = torch.zeros(4, 3)
    read[2, 1] = 4.0
    torch.testing.assert_close(divergence(p, q, read), actions + read * beliefs)
    torch.testing.assert_close(divergence(p, q), actions)


def test_some_steps_are_those_of_policy_and_belief() -> None:
    done = Behaviour(torch.randn(4, 3, 2), torch.randn(2), torch.randn(4, 3, 5))
    part = done.changed(lambda x: x[1:3, [0, 2]])
    assert part.scores is not None
    assert part.mean.shape == (2, 2, 2)
    assert part.scores.shape == (2, 2, 5)
    assert part.log_std is done.log_std
