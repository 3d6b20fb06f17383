"""One step of a core as an ONNX graph, for workers, which have no torch."""

from __future__ import annotations

import copy
import importlib.util
import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

NEEDED = ("onnx", "onnxruntime", "onnxscript")


class CoreError(ValueError):
    """There is no such core, or it breaks the contract; the message says what to do."""


def missing_packages() -> list[str]:
    """Packages of the extra ``onnx`` that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


@torch.no_grad()
def one_step_graph(core: Any) -> bytes:
    """The graph's inputs are ``features``, ``state`` and the core's floating-point tensors by name.

    Its outputs are ``output`` and ``next``; the number of rows is free. Tensors of whole numbers
    become constants of the graph.

    Raises:
        CoreError: torch cannot trace the core's `unroll`, or a package is missing.
    """
    if missing := missing_packages():
        raise CoreError(
            f"workers run {type(core).__name__} as an ONNX graph and need {', '.join(missing)}: "
            "pip install -e '.[onnx]'"
        )
    core = copy.deepcopy(core).to("cpu", torch.float32).eval()
    step = _OneStep(core)
    names = [
        name for name, value in core.state_dict(keep_vars=True).items() if value.is_floating_point()
    ]
    weights = [core.state_dict()[name] for name in names]
    rows = torch.export.Dim("rows")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of torchvision's absence
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own parts
        try:
            program = torch.onnx.export(
                _WithWeights(step, names),
                (torch.zeros(2, core.inputs), torch.zeros(2, core.state_width), *weights),
                input_names=["features", "state", *names],
                output_names=["output", "next"],
                dynamic_shapes=({0: rows}, {0: rows}, tuple({} for _ in names)),
                dynamo=True,
                verbose=False,
            )
        except Exception as error:
            raise CoreError(
                f"torch cannot make an ONNX graph of {type(core).__name__}.unroll "
                f"({str(error).strip().splitlines()[0]}): simplify it, or write the step in NumPy "
                "and name it in `stepper`"
            ) from error
    assert program is not None
    return program.model_proto.SerializeToString()


class _OneStep(nn.Module):
    def __init__(self, core: Any) -> None:
        super().__init__()
        self.core = core

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        output, state = self.core.unroll(features[None], state)
        return output[0], state


class _WithWeights(nn.Module):
    """A step whose weights are inputs; it hides the step's own from the export."""

    def __init__(self, step: nn.Module, names: list[str]) -> None:
        super().__init__()
        self._hidden, self._names = [step], [f"core.{name}" for name in names]

    def forward(self, features: Tensor, state: Tensor, *weights: Tensor) -> Any:
        given = dict(zip(self._names, weights, strict=True))
        return torch.func.functional_call(self._hidden[0], given, (features, state))
