"""Heads: a bounded diagonal Gaussian policy and a critic with one normalised output per task."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agents.input_layout import ACTION_DIM, OBS_DIM

GOAL_DIM = 6  # Meta-World's rand_vec has 3 or 6 numbers; shorter ones are padded with zeros
LOG_TWO_PI = math.log(2 * math.pi)


class GaussianHead(nn.Module):
    """Bounded mean, state-independent bounded standard deviation.

    Bounds keep exploration alive and keep noise from being mistaken for skill: with an unbounded
    σ a policy can succeed at reach-like tasks by chance. The mean may leave the action box, which
    clips what is sampled: far outside of it an action is certain although σ is shared by all
    states, as a pull or a firm grip needs.

    Args:
        inputs: width of the memory's output.
        mean_limit: bound of the mean, by tanh; 1 keeps it inside the box.
        log_std_min, log_std_max, log_std_init: bounds and start of log σ.
    """

    def __init__(
        self,
        inputs: int,
        *,
        mean_limit: float,
        log_std_min: float,
        log_std_max: float,
        log_std_init: float,
    ) -> None:
        super().__init__()
        self.mean_limit = mean_limit
        self.bounds = (log_std_min, log_std_max)
        self.mean = nn.Linear(inputs, ACTION_DIM)
        nn.init.orthogonal_(self.mean.weight, 0.01)
        nn.init.zeros_(self.mean.bias)
        self.raw_log_std = nn.Parameter(torch.full((ACTION_DIM,), log_std_init))

    def log_std(self) -> Float[Tensor, " action"]:
        """Log σ, clamped to its bounds."""
        return self.raw_log_std.clamp(*self.bounds)

    def forward(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch action"]:
        """Mean action in (-mean_limit, mean_limit)."""
        return self.mean_limit * torch.tanh(self.mean(hidden) / self.mean_limit)

    def project(self) -> None:
        """Clamp the parameter itself after an optimiser step, so that its gradient never dies."""
        with torch.no_grad():
            self.raw_log_std.clamp_(*self.bounds)


def gaussian_log_prob(
    action: Float[Tensor, "*batch action"],
    mean: Float[Tensor, "*batch action"],
    log_std: Float[Tensor, " action"],
) -> Float[Tensor, "*batch"]:
    """Log N(action; mean, σ²) of the unclipped action."""
    z = (action - mean) * torch.exp(-log_std)
    return -0.5 * (z * z + LOG_TWO_PI).sum(-1) - log_std.sum(-1)


def gaussian_entropy(log_std: Float[Tensor, " action"]) -> Float[Tensor, ""]:
    """Differential entropy, in nats."""
    return (log_std + 0.5 * (1 + LOG_TWO_PI)).sum(-1)


class Critic(nn.Module):
    """State value with one output per task, in units normalised per task (PopArt).

    The critic serves training only. It may see what the policy must not (task, goal, step of the
    episode, episode of the trial); without privileges it sees the policy's memory instead.
    Targets are normalised per task and the output layer is rescaled whenever the statistics move,
    so its predictions in reward units do not jump (van Hasselt et al. 2016, arXiv 1602.07714).

    Args:
        tasks: number of training tasks N.
        goal_mean, goal_scale: (N, 6) standardisation of each task's goals.
        memory_width: H of the memory, used only without privileges.
        width: units of each of the two hidden layers.
        privileged: whether task, goal and time are inputs.
        aims: numbers of an aim; it sees the true one and the agent's own, if privileged.
    """

    target_mean: Tensor
    target_std: Tensor
    target_count: Tensor
    goal_mean: Tensor
    goal_scale: Tensor

    def __init__(
        self,
        tasks: int,
        *,
        goal_mean: Float[Tensor, "task goal"],
        goal_scale: Float[Tensor, "task goal"],
        memory_width: int,
        width: int,
        privileged: bool,
        aims: int = 0,
    ) -> None:
        super().__init__()
        self.tasks, self.privileged = tasks, privileged
        extra = GOAL_DIM + tasks + 2 + 2 * aims if privileged else memory_width
        first, second = nn.Linear(OBS_DIM + extra, width), nn.Linear(width, width)
        for layer in (first, second):
            nn.init.orthogonal_(layer.weight, 2**0.5)
            nn.init.zeros_(layer.bias)
        self.body = nn.Sequential(first, nn.Tanh(), second, nn.Tanh())
        self.out = nn.Linear(width, tasks)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("goal_mean", goal_mean)
        self.register_buffer("goal_scale", goal_scale)
        self.register_buffer("target_mean", torch.zeros(tasks))
        self.register_buffer("target_std", torch.ones(tasks))
        self.register_buffer("target_count", torch.zeros(tasks))

    def inputs(
        self,
        obs: Float[Tensor, "time trial obs"],
        hidden: Float[Tensor, "time trial hidden"] | None,
        task_ids: Int[Tensor, " trial"],
        goals: Float[Tensor, "trial goal"],
        clock: Float[Tensor, "time 2"],
        hints: Float[Tensor, "time trial hint"] | None = None,
    ) -> Float[Tensor, "time trial critic"]:
        """Assemble the critic's input from normalised observations and either privileges or memory.

        Args:
            obs: normalised observations.
            hidden: the memory's output, detached; needed only without privileges.
            task_ids: index of each trial's task.
            goals: each trial's goal, padded to 6 numbers.
            clock: fraction of the episode and of the trial gone at each step, each in [0, 1).
            hints: true target and aim at each step, where there are hidden targets.
        """
        time, trials = obs.shape[:2]
        if not self.privileged:
            assert hidden is not None
            return torch.cat((obs, hidden.detach()), dim=-1)
        goal = (goals - self.goal_mean[task_ids]) * self.goal_scale[task_ids]
        one_hot = nn.functional.one_hot(task_ids, self.tasks).to(obs.dtype)
        constant = torch.cat((goal, one_hot), dim=-1).expand(time, -1, -1)
        times = (2 * clock - 1).unsqueeze(1).expand(-1, trials, -1)
        more = () if hints is None else (hints,)
        return torch.cat((obs, constant, times, *more), dim=-1)

    def forward(
        self, inputs: Float[Tensor, "*batch critic"], task_ids: Int[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Normalised value of each row's own task; see `to_reward_units`."""
        values = self.out(self.body(inputs))
        return values.gather(-1, task_ids.unsqueeze(-1)).squeeze(-1)

    def to_reward_units(
        self, values: Float[Tensor, "*batch"], task_ids: Int[Tensor, "*#batch"]
    ) -> Float[Tensor, "*batch"]:
        """Value in units of discounted reward."""
        return values * self.target_std[task_ids] + self.target_mean[task_ids]

    def normalise_targets(
        self, targets: Float[Tensor, "*batch"], task_ids: Int[Tensor, "*#batch"]
    ) -> Float[Tensor, "*batch"]:
        """Inverse of `to_reward_units`."""
        return (targets - self.target_mean[task_ids]) / self.target_std[task_ids]

    @torch.no_grad()
    def update_targets(
        self,
        targets: Float[Tensor, "time trial"],
        task_ids: Int[Tensor, " trial"],
        rate: float = 0.1,
    ) -> None:
        """Move each task's statistics towards this batch's and rescale the outputs to match."""
        for task in task_ids.unique().tolist():
            batch = targets[:, task_ids == task]
            self.target_count[task] += 1
            step = max(rate, 1 / float(self.target_count[task]))
            mean, std = self.target_mean[task].clone(), self.target_std[task].clone()
            new_mean = mean + step * (batch.mean() - mean)
            second = std**2 + mean**2
            second = second + step * (batch.square().mean() - second)
            new_std = (second - new_mean**2).clamp(min=1e-4).sqrt()
            self.out.weight[task] *= std / new_std
            self.out.bias[task] = (std * self.out.bias[task] + mean - new_mean) / new_std
            self.target_mean[task], self.target_std[task] = new_mean, new_std
