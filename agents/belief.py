"""The belief: training-only readouts that teach the memory to infer the hidden task.

Supervising the recurrent state with the task variables that only the trainer knows makes task
inference a regression instead of a discovery of reinforcement learning (Humplik et al. 2019,
"Meta reinforcement learning as task inference", arXiv 1905.06424). The policy never sees the goal,
nor this readout; at evaluation the belief does not exist.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from agents.heads import GOAL_DIM


class Belief(nn.Module):
    """Linear predictions, from the memory's output, of each task's goal and of the kind of task.

    Linear, so that what it can read the policy's own linear head can read too.

    Args:
        tasks: number of training tasks N.
        goal_mean, goal_scale: (N, 6) standardisation of each task's goals.
        hidden: width H of the memory's output.
        kinds: kinds of task to tell apart; 0: none.
    """

    goal_mean: Tensor
    goal_scale: Tensor
    varies: Tensor

    def __init__(
        self,
        tasks: int,
        *,
        goal_mean: Float[Tensor, "task goal"],
        goal_scale: Float[Tensor, "task goal"],
        hidden: int,
        kinds: int = 0,
    ) -> None:
        super().__init__()
        self.tasks = tasks
        self.out = nn.Linear(hidden, tasks * GOAL_DIM)
        self.kind = nn.Linear(hidden, kinds) if kinds else None
        for readout in filter(None, (self.out, self.kind)):
            nn.init.zeros_(readout.weight)
            nn.init.zeros_(readout.bias)
        self.register_buffer("goal_mean", goal_mean)
        self.register_buffer("goal_scale", goal_scale)
        varies = (goal_scale * SMALLEST_SPREAD < 0.99).float()  # less than 1, but for round-off
        self.register_buffer("varies", varies / varies.sum(-1, keepdim=True).clamp(min=1.0))

    def kind_errors(
        self, hidden: Float[Tensor, "step n hidden"], kinds: Int[Tensor, " n"]
    ) -> Float[Tensor, "step n"]:
        """Cross-entropy of the trials' kinds, in nats: log(kinds) is a guess, 0 is certainty."""
        assert self.kind is not None
        scores = self.kind(hidden).flatten(0, 1)
        wanted = kinds.expand(len(hidden), -1).flatten()
        return functional.cross_entropy(scores, wanted, reduction="none").reshape(hidden.shape[:2])

    def errors(
        self,
        hidden: Float[Tensor, "step n hidden"],
        goals: Float[Tensor, "n goal"],
        task_ids: Int[Tensor, " n"],
    ) -> Float[Tensor, "step n"]:
        """Mean squared error over the coordinates in which the task's goals differ.

        In units of the goals' own variance: 1 is a guess of the mean goal, 0 is certainty.
        """
        predicted = self.out(hidden).unflatten(-1, (self.tasks, GOAL_DIM))
        index = task_ids[None, :, None, None].expand(*hidden.shape[:2], 1, GOAL_DIM)
        predicted = predicted.gather(2, index).squeeze(2)
        target = (goals - self.goal_mean[task_ids]) * self.goal_scale[task_ids]
        return ((predicted - target).square() * self.varies[task_ids]).sum(-1)


SMALLEST_SPREAD = 1e-3  # metres; coordinates that spread less count as constant


def goal_statistics(
    goals: Float[Tensor, "task n goal"],
) -> tuple[Float[Tensor, "task goal"], Float[Tensor, "task goal"]]:
    """Mean and 1 / standard deviation of each task's goals, the latter at most 1 / (1 mm)."""
    return goals.mean(dim=1), 1 / torch.clamp(goals.std(dim=1, correction=0), min=SMALLEST_SPREAD)
