"""Tensors by name, as checkpoints and weights hold them: one flat dict of several modules and optimisers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from agent.config import InputError

Tensors = dict[str, Tensor]


def as_floats(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Single numbers by name. Together, since a GPU is waited for once for each that is fetched."""
    if not metrics:
        return {}
    values: list[float] = torch.stack([value.detach().float() for value in metrics.values()]).tolist()
    return dict(zip(metrics, values, strict=True))


def above(prefix: str, state: Mapping[str, Tensor]) -> Tensors:
    """The same tensors with `prefix` before their names."""
    return {f"{prefix}{name}": value for name, value in state.items()}


def below(prefix: str, state: Mapping[str, Tensor]) -> Tensors:
    """Those whose names begin with `prefix`, named by what follows it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def take_over(module: torch.nn.Module, name: str, state: Mapping[str, Tensor]) -> None:
    """Load the network called `name` of a checkpoint into a module.

    Raises:
        InputError: It is of another architecture; the message names the first tensor that differs.
    """
    own, theirs = module.state_dict(), below(f"{name}.", state)
    for key in sorted(own.keys() | theirs.keys()):
        shapes = [list(tensors[key].shape) if key in tensors else None for tensors in (own, theirs)]
        if shapes[0] != shapes[1]:
            here, there = ("absent" if shape is None else f"of shape {shape}" for shape in shapes)
            raise InputError(
                f"The checkpoint is of another architecture: {name}.{key} is {there} in it and {here} in this run; use "
                "the same algorithm or one of its kind, hidden_sizes, layer_norm, critics, critic_head, observations."
            )
    module.load_state_dict(theirs)


def detached(state: Mapping[str, Tensor]) -> Tensors:
    """Copies on the CPU that later updates leave alone."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}


def optimizer_state(optimizer: torch.optim.Optimizer) -> Tensors:
    """What an optimiser remembers of each parameter, as `<number>.<slot>`."""
    slots = optimizer.state_dict()["state"]
    return {f"{index}.{slot}": value for index, of_one in slots.items() for slot, value in of_one.items()}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Take over what `optimizer_state` gave, and leave it as it is: torch would go on in these very tensors."""
    slots: dict[int, Tensors] = {}
    for name, value in state.items():
        index, slot = name.split(".")
        slots.setdefault(int(index), {})[slot] = value.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
