"""The RL² agent: features → short-term memory → heads, with explicit state in and out."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
import tyro
from jaxtyping import Float, Int
from torch import Tensor, nn

from agents.acting.place_aims import AIM_NUMBERS
from agents.encoder import Encoder
from agents.heads import GaussianHead
from agents.input_layout import INPUT_DIM, LAYOUT_VERSION, WIDTHS
from agents.lifetime_recall import LifetimeReader
from agents.place_belief import PlaceBelief
from agents.posterior import AimedBody, TargetBelief
from agents.recall import Recall
from memory.behaviour import Behaviour
from memory.cores.core import Core
from memory.cores.registry import core_problems, find_core
from memory.cores.signals import SIGNALS
from memory.episodic import EpisodicMemory

SIZES = {
    "hidden": (1, 4096),
    "encoder": (1, 4096),
    "critic": (1, 4096),
    "read_every": (1, 50_000),
    "entries": (0, 1024),
    "targets": (0, 64),
    "components": (1, 64),
    "lifetime": (0, 1024),
    "read_at": (0, 50_000),
}
"""Least and most of each size of an agent: a file may ask for any."""


@dataclass(frozen=True)
class AgentConfig:
    """What the agent is made of."""

    core: str = "gru"
    """Short-term memory: gru, lstm, event (two clocks), attention (over attempts), hmt (segments),
    hrnn (for --missing), none (a memoryless MLP, the first baseline arm), or your own class as
    my_module:MyCore (see memory/cores/core.py)."""
    hidden: int = 128
    """Units of the short-term memory."""
    encoder: int = 128
    """Units of the tanh layer before it."""
    slopes: float = 0.3
    """Let it see how the reward changed per metre that hand and object moved in the last step,
    times this (0: not at all)."""
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
    read_every: int = 50
    """Steps between reads of episodic memory (arms episodic and hierarchical), besides those at the
    start of every later episode."""
    entries: tyro.conf.Suppress[int] = 0
    """Trials that episodic memory holds; set by the arm (`Config.network`), 0: none."""
    act: Literal["direct", "posterior"] = "direct"
    """What the policy acts on: the memory itself (plain RL²), or a target that is drawn from the
    belief at the start of each attempt (see agents/posterior.py). On ML suites a target is what
    comes to which place (see agents/place_belief.py)."""
    components: int = 6
    """Components of the belief over places (ML suites with --act posterior)."""
    targets: tyro.conf.Suppress[int] = 0
    """Targets that the belief tells apart; set by the suite, 0: it has none."""
    lifetime: tyro.conf.Suppress[int] = 0
    """Trials that the store of one lifetime holds, in arm episodic on suites with lifetimes; 0: it
    has none."""
    read_at: tyro.conf.Suppress[int] = 0
    """Step of a trial before which that store is read; set by the suite."""
    relevance_rate: float = 1.0
    """How many times as fast as other weights an agent of arm episodic learns, on RECALL suites,
    how much each input counts when contexts are compared; 20 by default on RECALL-scene suites."""
    inputs: tyro.conf.Suppress[int] = LAYOUT_VERSION
    """Version of the input's layout (`agents.input_layout`)."""

    @property
    def over_places(self) -> bool:
        """Whether it acts on what is to come to which place, and not on one of M targets."""
        return self.act == "posterior" and not self.targets

    @property
    def aims(self) -> int:
        """Numbers of an aim, or of a hidden target as the critic sees it; 0: there is none."""
        return AIM_NUMBERS if self.over_places else self.targets

    def problems(self) -> list[str]:
        """Everything wrong with these values."""
        found = [
            f"--{name.replace('_', '-')} must be from {least} to {most}, not {getattr(self, name)}"
            for name, (least, most) in SIZES.items()
            if not least <= getattr(self, name) <= most
        ]
        if not 0 <= self.slopes <= 100:
            found.append("--slopes must be from 0 (not at all) to 100")
        if not 0 < self.mean_limit <= 100:
            found.append("--mean-limit must be above 0 and at most 100")
        if not -20 <= self.log_std_min <= self.log_std_init <= self.log_std_max <= 5:
            found.append("need -20 <= --log-std-min <= --log-std-init <= --log-std-max <= 5")
        if not 0 < self.relevance_rate <= 1000:
            found.append("--relevance-rate must be above 0 and at most 1000")
        if self.inputs not in WIDTHS:
            found.append(f"agent.inputs must be one of {list(WIDTHS)}, not {self.inputs}")
        return found + core_problems(self.core)


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
    with one step; `agents.acting.numpy_actor` runs the same arithmetic in NumPy inside the workers.
    """

    def __init__(self, config: AgentConfig) -> None:
        super().__init__()
        self.config = config
        core = find_core(config.core)
        self.encoder = Encoder(
            config.encoder, slopes=config.slopes, inputs=config.inputs, signals=core.signals
        )
        self.memory = core(config.encoder + len(core.signals), config.hidden)
        self.belief: TargetBelief | PlaceBelief | None = None
        if config.targets:
            self.belief = TargetBelief(config.hidden, config.targets)
        elif config.over_places:
            self.belief = PlaceBelief(config.hidden, config.components)
        self.body: AimedBody | None = None
        if config.act == "posterior":
            self.body = AimedBody(self.encoder.layer.in_features, config.aims, config.hidden)
        self.head = GaussianHead(
            config.hidden,
            mean_limit=config.mean_limit,
            log_std_min=config.log_std_min,
            log_std_max=config.log_std_max,
            log_std_init=config.log_std_init,
        )
        self.recall: Recall | None = None
        if config.entries:
            self.recall = Recall(
                self.encoder, self.memory, entries=config.entries, every=config.read_every
            )
        self.reader: LifetimeReader | None = None
        if config.lifetime:
            self.reader = LifetimeReader(
                self.encoder.layer.in_features,
                self.memory.hidden,
                state=self.memory.state_width,
                place=self.memory.hidden_part,
                entries=config.lifetime,
                at=config.read_at,
                rate=config.relevance_rate,
            )

    @property
    def input_width(self) -> int:
        """Numbers of an input, with the aim where the policy acts on one."""
        return INPUT_DIM + (self.config.aims if self.body is not None else 0)

    def initial_state(
        self,
        trials: int,
        recall: Int[Tensor, " trial"] | None = None,
        store: Float[Tensor, "trial entry number"] | None = None,
    ) -> Float[Tensor, "trial state"]:
        """Cleared memory for `trials` trials.

        Args:
            trials: how many.
            recall: what of episodic memory each may see (`memory.episodic`); None: all of it.
            store: what each may recall of its lifetime (`memory.lifetimes`); None: nothing.
        """
        core = self.memory.initial_state(trials)
        if self.reader is not None:
            return self.reader.initial_state(core, store)
        return core if self.recall is None else self.recall.initial_state(core, recall)

    def unroll(
        self,
        inputs: Float[Tensor, "time trial input"],
        state: Float[Tensor, "trial state"],
    ) -> tuple[Unrolled, Float[Tensor, "trial state"]]:
        """Run over packed inputs (see `agents.input_layout`) from `state`.

        Args:
            inputs: packed inputs.
            state: memory before the first step.

        Returns:
            Policy outputs and the memory after the last step.
        """
        hidden, state = self.remember(inputs, state)
        return Unrolled(self.mean(hidden, inputs), self.head.log_std(), hidden), state

    def behaviour(self, outputs: Unrolled) -> Behaviour:
        """What it does and, where it acts on one of M targets, believes: what memory keeps."""
        scores = None
        if self.body is not None and isinstance(self.belief, TargetBelief):
            scores = self.belief(outputs.hidden)
        return Behaviour(outputs.mean, outputs.log_std, scores)

    def mean(
        self, hidden: Float[Tensor, "*batch hidden"], inputs: Float[Tensor, "*batch input"]
    ) -> Float[Tensor, "*batch action"]:
        """Mean actions: of the memory's output, or of the input and its aim (posterior)."""
        if self.body is not None:
            hidden = self.body(self.encoder.visible(inputs), inputs)
        return self.head(hidden)

    def remember(
        self,
        inputs: Float[Tensor, "time trial input"],
        state: Float[Tensor, "trial state"],
    ) -> tuple[Float[Tensor, "time trial hidden"], Float[Tensor, "trial state"]]:
        """`unroll` without the head: the memory's output at each step, and the state after."""
        if self.reader is not None:
            return self.reader(self.memory, self.encoder, inputs, state)
        features = self.encoder(inputs)
        if self.recall is None:
            return self.memory.unroll(features, state)
        return self.recall(self.memory, features, inputs, state)


@torch.no_grad()
def actor_weights(agent: RL2Agent) -> dict[str, Tensor]:
    """The weights that `agents.acting` needs, with the normaliser, as float32 CPU tensors.

    They are copies: what acted stays what it was while the agent learns.
    """
    weights = {
        **_net_weights(agent.encoder, agent.memory),
        "head.weight": agent.head.mean.weight,
        "head.bias": agent.head.mean.bias,
        "head.limit": torch.tensor([agent.head.mean_limit]),
        "head.log_std": agent.head.log_std(),
    }
    if agent.belief is not None:
        weights |= {"belief.weight": agent.belief.out.weight, "belief.bias": agent.belief.out.bias}
    if agent.config.over_places:
        weights["belief.components"] = torch.tensor([float(agent.config.components)])
    if agent.body is not None:
        weights |= {f"body.{name}": w for name, w in agent.body.state_dict().items()}
    if agent.reader is not None:
        weights |= {f"reader.{name}": w for name, w in agent.reader.named_parameters()}
        weights["reader.relevance"] = agent.reader.effective_relevance()
        weights["reader.at"] = torch.tensor([float(agent.reader.at)])
    if agent.recall is not None:
        slow, store = agent.recall, agent.recall.store
        weights |= {
            f"recall.{name}": w for name, w in _net_weights(slow.encoder, slow.memory).items()
        }
        weights |= {
            **store_weights(store, store),
            "recall.every": torch.tensor([float(slow.every)]),
            "recall.gate": store.gate,
            "recall.gate_bias": store.gate_bias,
            "recall.sharpness": torch.exp(-store.log_temperature)[None],
            "recall.null": store.null[None],
        }
    return {name: _shipped(w) for name, w in weights.items()}


def store_weights(store: EpisodicMemory, reader: EpisodicMemory) -> dict[str, Tensor]:
    """What is recalled from `store` by the reader of an agent, by its names among the weights."""
    return {
        "recall.centre": store.centre,
        "recall.keys": store.keys,
        "recall.values": store.values @ reader.from_value.T,
        "recall.all": store.filled,
        "recall.old": store.filled & ~store.recent,
    }


def _shipped(w: Tensor) -> Tensor:
    kind = torch.uint8 if w.dtype == torch.uint8 else torch.float32  # bytes are a core's graph
    return w.detach().to("cpu", kind, copy=True).contiguous()


def _net_weights(encoder: Encoder, memory: Core) -> dict[str, Tensor]:
    core = memory.export()
    if memory.stepper == "graph":
        core["graph"] = memory.graph
    place = memory.hidden_part
    told = [float(SIGNALS.index(name)) for name in encoder.signals]
    return {
        **({"signals": torch.tensor(told)} if told else {}),
        "slopes": torch.tensor([encoder.slopes]),
        "obs.mean": encoder.normaliser.mean,
        "obs.scale": encoder.normaliser.scale(),
        "encoder.weight": encoder.layer.weight,
        "encoder.bias": encoder.layer.bias,
        "state": torch.tensor([float(memory.state_width), place.start, place.stop]),
        **{f"core.{name}": weight for name, weight in core.items()},
    }


def blank_agent(config: AgentConfig) -> RL2Agent:
    """An agent without numbers, for questions about its shape."""
    with torch.device("meta"):
        return RL2Agent(config)


@functools.lru_cache(maxsize=64)  # an agent without numbers takes milliseconds, too
def parameter_count(config: AgentConfig) -> int:
    """Learnt parameters of an agent."""
    return sum(w.numel() for w in blank_agent(config).parameters() if w.requires_grad)
