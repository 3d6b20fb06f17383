"""The contract of a core: the recurrent short-term memory, carried through a trial.

State goes in and comes out as one tensor. The module keeps nothing between calls, so a forward in
the wrong place cannot change the next one.
"""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from memory.cores.graph import one_step_graph


class Core(nn.Module, ABC):
    """Subclass it, register parameters in `__init__`, and define `state_width` and `unroll`.

    Workers step the core without torch. They run the function that `stepper` names. By default
    that is an ONNX graph of one step, which torch makes from `unroll`; so torch code is enough.

    Args:
        inputs: width F of the features, with its signals.
        hidden: width H of the output.
    """

    signals: ClassVar[tuple[str, ...]] = ()
    """Names in `memory.cores.signals.SIGNALS`: what it is told apart from the features, for a clock
    or a gate. They are the last numbers of the features, each 0 or 1."""

    stepper: ClassVar[str] = "graph"
    """Who steps it in workers: ``graph``, a name in `memory.cores.steps`, or ``module:function``.
    The function takes (weights, features, state), all NumPy, and gives (output, next state)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.inputs, self.hidden = inputs, hidden

    @property
    @abstractmethod
    def state_width(self) -> int:
        """S, the numbers of state per trial. All zeros are the cleared memory."""

    @abstractmethod
    def unroll(
        self, features: Float[Tensor, "time trial features"], state: Float[Tensor, "trial state"]
    ) -> tuple[Float[Tensor, "time trial hidden"], Float[Tensor, "trial state"]]:
        """Outputs of all steps from `state` on, and the state after the last one."""

    @property
    def hidden_part(self) -> slice:
        """The H numbers of the state into which a recalled memory is written."""
        return slice(0, self.hidden)

    def export(self) -> dict[str, Tensor]:
        """What the workers' step needs, by name; every tensor travels as float32."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    @functools.cached_property
    def graph(self) -> Tensor:
        """The ONNX graph of one step as bytes (uint8). It takes the weights as inputs.

        So one export, which takes seconds, serves as long as the core lives.
        """
        return torch.frombuffer(bytearray(one_step_graph(self)), dtype=torch.uint8)

    def initial_state(self, trials: int) -> Float[Tensor, "trial state"]:
        """The cleared memory with which every trial starts."""
        return next(self.parameters()).new_zeros(trials, self.state_width)


def initialise_gates(net: nn.Module, hidden: int) -> None:
    """Zero biases; for each gate an orthogonal recurrent and a Xavier input matrix of its own."""
    for name, weight in net.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(weight)
            continue
        for gate in weight.data.split(hidden):
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(gate)
            else:
                nn.init.xavier_uniform_(gate)


def exported_gates(net: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Weights of `torch.nn.GRU` or `torch.nn.LSTM` as `memory.cores.steps` multiplies by them.

    Args:
        net: the network.
        prefix: what their names begin with.
    """
    w = dict(net.named_parameters())
    return {
        f"{prefix}weight_ih": w["weight_ih_l0"].t(),
        f"{prefix}weight_hh": w["weight_hh_l0"].t(),
        f"{prefix}bias_ih": w["bias_ih_l0"],
        f"{prefix}bias_hh": w["bias_hh_l0"],
    }


def spans(due: Bool[Tensor, "time trial"]) -> Iterator[tuple[int, int]]:
    """First and last + 1 of the spans that begin where something is due in any trial.

    Between such steps a core with a slow part is an ordinary recurrent network.
    """
    starts = torch.nonzero(due.any(dim=1)).flatten().tolist()
    return itertools.pairwise(sorted({0, *starts, len(due)}))
