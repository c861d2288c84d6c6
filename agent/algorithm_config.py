"""Which algorithm a run learns with, and both its sides: the learner's and the actor's."""

from importlib import import_module
from typing import Any

import msgspec
import torch

from agent.algorithm import Algorithm, Policy
from agent.chunks import ChunkedPolicy, chunk_spec
from agent.config import Config, InputError, explain
from agent.transition import TransitionSpec


class AlgorithmConfig(Config):
    """Which algorithm with which parameters.

    Attributes:
        name: For people and reports.
        algorithm: Dotted path of the class.
        config: Parameters, read strictly into the class's own `Config`.
        needs_init: Whether it is meant for a run that begins with another one's policy.
        chunk: Actions that are decided on at once and executed one after the other, see `agent.sequences`.
    """

    name: str
    algorithm: str
    config: dict[str, Any] = {}
    needs_init: bool = False
    chunk: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.chunk < 1:
            raise ValueError(f"algorithm.chunk {self.chunk} must be at least 1")


def load_algorithm(choice: AlgorithmConfig) -> tuple[Any, Any]:
    """The class and its config.

    Raises:
        InputError: There is no such class, or it does not know a parameter.
    """
    module, _, name = choice.algorithm.rpartition(".")
    try:
        algorithm = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise InputError(
            f"There is no algorithm {choice.algorithm!r}; give the dotted path of a class, such as agent.sac.SAC."
        ) from None
    if not (isinstance(algorithm, type) and hasattr(algorithm, "Config")):
        raise InputError(f"{choice.algorithm!r} is not an algorithm; give a class such as agent.sac.SAC.")
    try:
        return algorithm, msgspec.convert(choice.config, algorithm.Config, strict=False)
    except msgspec.ValidationError as error:
        why = explain(error, algorithm.Config, choice.config, choice.algorithm)
        raise InputError(f"algorithm.config: {why}") from None


def needs_rewards(choice: AlgorithmConfig) -> bool:
    """Whether recorded data must have rewards. One whose config has a true `needs_no_rewards` never reads them.

    Raises:
        InputError: See `load_algorithm`.
    """
    _, config = load_algorithm(choice)
    return not getattr(config, "needs_no_rewards", False)


def ends_recorded_anew(choice: AlgorithmConfig) -> bool:
    """Whether it decides itself what ends a recorded episode: then its config has a true `ends_recorded_anew`.

    Raises:
        InputError: See `load_algorithm`.
    """
    _, config = load_algorithm(choice)
    return getattr(config, "ends_recorded_anew", False)


def make_policy(choice: AlgorithmConfig, spec: TransitionSpec, seed: int) -> Policy:
    """The actor's side of an algorithm.

    Args:
        choice: Names it.
        spec: Layout of what the actor observes and does.
        seed: Of the noise.
    """
    algorithm, config = load_algorithm(choice)
    policy: Policy = algorithm.make_policy(config, chunk_spec(spec, choice.chunk), seed)
    return policy if choice.chunk == 1 else ChunkedPolicy(policy, spec)


def make_algorithm(
    choice: AlgorithmConfig, spec: TransitionSpec, device: torch.device, seed: int
) -> Algorithm:
    """The learner's side of an algorithm; arguments as of `make_policy`."""
    algorithm, config = load_algorithm(choice)
    made: Algorithm = algorithm(config, chunk_spec(spec, choice.chunk), device, seed)
    return made
