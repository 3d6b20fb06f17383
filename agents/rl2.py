"""The RL² agent: features → short-term memory → heads, with explicit state in and out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from agents.features import Encoder
from agents.heads import GaussianHead
from memory.short_term import Core, ShortTermMemory


@dataclass(frozen=True)
class AgentConfig:
    """What the agent is made of."""

    core: Core = "gru"
    """Short-term memory: gru, lstm, or none (a memoryless MLP, the first baseline arm)."""
    hidden: int = 128
    """Units of the short-term memory."""
    encoder: int = 128
    """Units of the tanh layer before it."""
    mean_limit: float = 3.0
    """Bound of the mean action; the box is [-1, 1], so beyond 1 an action gets certain."""
    log_std_min: float = -2.0
    """Lower bound of the exploration noise's log standard deviation."""
    log_std_max: float = 0.7
    """Upper bound of the same."""
    log_std_init: float = 0.0
    """Its start."""
    critic: int = 128
    """Units of each of the critic's two layers."""
    privileged_critic: bool = True
    """Show the critic (never the policy) task, goal and time during training."""

    def problems(self) -> list[str]:
        """Everything wrong with these values."""
        found = [
            f"--{name} must be at least 1"
            for name in ("hidden", "encoder", "critic")
            if getattr(self, name) < 1
        ]
        if not 0 < self.mean_limit <= 100:
            found.append("--mean-limit must be above 0 and at most 100")
        if not -20 <= self.log_std_min <= self.log_std_init <= self.log_std_max <= 5:
            found.append("need -20 <= --log-std-min <= --log-std-init <= --log-std-max <= 5")
        return found


@dataclass(frozen=True)
class Unrolled:
    """What one unroll gives: time-major tensors.

    Attributes:
        mean: mean actions, before they are clipped to the box.
        log_std: log standard deviation per action dimension.
        hidden: output of the short-term memory.
    """

    mean: Float[Tensor, "time trial action"]
    log_std: Float[Tensor, " action"]
    hidden: Float[Tensor, "time trial hidden"]


class RL2Agent(nn.Module):
    """A policy whose recurrent state is carried across the episodes of a trial.

    Duan et al. 2016 (arXiv 1611.02779), Wang et al. 2016 (arXiv 1611.05763). Acting is `unroll`
    with one step; `agents.acting` runs the same arithmetic in NumPy inside the workers.
    """

    def __init__(self, config: AgentConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.memory = ShortTermMemory(config.core, config.encoder, config.hidden)
        self.head = GaussianHead(
            config.hidden,
            mean_limit=config.mean_limit,
            log_std_min=config.log_std_min,
            log_std_max=config.log_std_max,
            log_std_init=config.log_std_init,
        )

    def initial_state(self, trials: int) -> Float[Tensor, "trial state"]:
        """Cleared memory for `trials` trials."""
        return self.memory.initial_state(trials)

    def unroll(
        self,
        inputs: Float[Tensor, "time trial input"],
        state: Float[Tensor, "trial state"],
        new_trial: Bool[Tensor, "time trial"] | None = None,
    ) -> tuple[Unrolled, Float[Tensor, "trial state"]]:
        """Run over packed inputs (see `agents.step_input`) from `state`.

        Args:
            inputs: packed inputs, 46 numbers a step.
            state: memory before the first step.
            new_trial: steps at which a trial starts and memory is cleared; None: none does.

        Returns:
            Policy outputs and the memory after the last step.
        """
        hidden, state = self.memory(self.encoder(inputs), state, new_trial)
        return Unrolled(self.head(hidden), self.head.log_std(), hidden), state

    def recur(
        self, inputs: Float[Tensor, "time trial input"], state: Float[Tensor, "trial state"]
    ) -> Float[Tensor, "trial state"]:
        """Only the memory after the last step: what a later stretch starts from."""
        return self.memory(self.encoder(inputs), state)[1]


@torch.no_grad()
def actor_weights(agent: RL2Agent) -> dict[str, Tensor]:
    """The weights that `agents.acting` needs, with the normaliser, as float32 CPU tensors."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    core = (
        {"core.weight": agent.memory.net.weight, "core.bias": agent.memory.net.bias}
        if agent.config.core == "none"
        else {f"core.{name}": getattr(agent.memory.net, name) for name in names}
    )
    weights = {
        "obs.mean": agent.encoder.normaliser.mean,
        "obs.scale": agent.encoder.normaliser.scale(),
        "encoder.weight": agent.encoder.layer.weight,
        "encoder.bias": agent.encoder.layer.bias,
        **core,
        "head.weight": agent.head.mean.weight,
        "head.bias": agent.head.mean.bias,
        "head.limit": torch.tensor([agent.head.mean_limit]),
        "head.log_std": agent.head.log_std(),
    }
    return {name: w.detach().to("cpu", torch.float32).contiguous() for name, w in weights.items()}
