"""Losses with their gradients as functions: what is compiled as one graph, without a tape between two halves of it."""

import shutil
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from agent.config import InputError

Gradients = tuple[Tensor | None, ...]
"""As the parameters that they are of; None for one that the loss does not depend on."""
LossWithGradients = Callable[..., tuple[Tensor, Any, Gradients]]
"""Returns a loss, anything beside it, and gradients."""


class WithGradients:
    """Called as `loss` is: returns that without its tape, what `loss` returns beside it, and the gradients.

    An object and no closure, since a copy of an algorithm is to learn with its own parameters, unless it is compiled.

    Args:
        loss: Returns a scalar, and anything beside it.
        parameters: What gradients are wanted of; nothing is computed for others.
    """

    def __init__(
        self, loss: Callable[..., tuple[Tensor, Any]], parameters: Iterable[torch.nn.Parameter]
    ) -> None:
        self._loss, self._parameters = loss, list(parameters)

    def __call__(self, *inputs: Any) -> tuple[Tensor, Any, Gradients]:
        """See above."""
        loss, beside = self._loss(*inputs)
        return loss.detach(), beside, torch.autograd.grad(loss, self._parameters, allow_unused=True)


def compiled(function: WithGradients, device: torch.device) -> LossWithGradients:
    """The same by torch.compile, which takes its time at the first call.

    Raises:
        InputError: It needs a C++ compiler on a CPU, and there is none.
    """
    if device.type == "cpu" and not any(shutil.which(compiler) for compiler in ("g++", "clang++")):
        raise InputError(
            "algorithm.config.compile is true, but torch.compile finds no C++ compiler: install one (sudo apt-get "
            "install g++; journeyman doctor says what else is missing), or set algorithm.config.compile=false."
        )
    # Else the graph ends at torch.autograd.grad, and what goes from one to the next costs a tenth of a small update, as
    # with torch before 2.11, which does not know this.
    if hasattr(torch._dynamo.config, "trace_autograd_ops"):
        torch._dynamo.config.trace_autograd_ops = True
    return torch.compile(function.__call__)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down a loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def follow(optimizer: torch.optim.Optimizer, gradients: Gradients) -> None:
    """One step by gradients, in the order of the optimiser's parameters."""
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    for parameter, gradient in zip(parameters, gradients, strict=True):
        # As `backward` lays it out: fused Adam on a CPU takes numbers in the order in which they lie in memory.
        if gradient is not None and gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient
    optimizer.step()
