"""What an agent does and believes at each step: all that long-term memory compares and keeps.

Of an agent that acts on a target drawn from its belief (`agents.posterior`) the actions alone are
half of what it can do: they say how it moves once it knows where to. What it would look for next,
the belief, is the other half, and is kept beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from memory.gaussian import gaussian_kl


@dataclass(frozen=True)
class Behaviour:
    """Policy and belief along some steps of some trials.

    Attributes:
        mean: mean actions.
        log_std: log standard deviations, the same for all trials or of each.
        scores: of the hidden targets, whose softmax is the belief; None where none is acted on.
            They are read at some steps only.
    """

    mean: Float[Tensor, "time trial action"]
    log_std: Float[Tensor, "*#trial action"]
    scores: Float[Tensor, "time trial target"] | None = None

    def changed(self, change: Callable[[Tensor], Tensor]) -> Behaviour:
        """With `change` of what is given step by step, e.g. some of the steps."""
        scores = None if self.scores is None else change(self.scores)
        return Behaviour(change(self.mean), self.log_std, scores)


def divergence(
    p: Behaviour, q: Behaviour, read: Float[Tensor, "time trial"] | None = None
) -> Float[Tensor, "time trial"]:
    """KL(p ‖ q) in nats at each step: of the actions, and of the beliefs where they are read.

    Actions are compared under the aim that stands in the input.

    Args:
        p: what is to be kept, or is moved.
        q: what it is compared with; with a belief if `p` has one.
        read: how much the belief counts at each step; None: nowhere.
    """
    kl = gaussian_kl(p.mean, p.log_std, q.mean, q.log_std)
    if read is None or p.scores is None or q.scores is None:
        return kl
    old, new = p.scores.log_softmax(dim=-1), q.scores.log_softmax(dim=-1)
    return kl + read * (old.exp() * (old - new)).sum(dim=-1)
