"""Policies are checked before the robot feels them: their weights on arrival, and every action."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from agent.algorithm import Policy
from agent.divergence import not_finite
from agent.tensors import Tensors
from agent.transition import Observation, TransitionSpec
from agent.transport.client import ActorClient
from agent.weights import decode_weights

_MOST_WORDS = 200


class UnfitActionError(RuntimeError):
    """A policy gave what no robot can do; the message says what.

    Attributes:
        policy: Which one.
    """

    exit_code = 1

    def __init__(self, message: str, policy: Policy) -> None:
        super().__init__(message)
        self.policy = policy


class UnfitObservationError(RuntimeError):
    """A policy gave no action because of what it was shown; the message says what."""

    exit_code = 1


class UnfitWeightsError(ValueError):
    """Weights that cannot be acted by; the message says why."""


def fit_action(
    policy: Policy, observation: Observation, spec: TransitionSpec, *, deterministic: bool
) -> NDArray[np.float32]:
    """What a policy chooses, shape (A,), all of it finite.

    Args:
        policy: To ask.
        observation: What it sees.
        spec: Layout of actions.
        deterministic: Without noise.

    Raises:
        UnfitObservationError: The action is not finite, and neither is the observation.
        UnfitActionError: The action is of another shape, or not finite.
    """
    action = np.asarray(policy.act(observation, deterministic=deterministic))
    if action.shape != spec.action_space.shape:
        raise UnfitActionError(
            f"an action of shape {action.shape} instead of {spec.action_space.shape}", policy
        )
    if not np.isfinite(action).all():
        bad = [key for key, value in observation.items() if not np.isfinite(value).all()]
        if bad:
            raise UnfitObservationError(f"The observation of {', '.join(bad)} is not finite.")
        raise UnfitActionError("an action that is not finite", policy)
    return action


class Gate(Protocol):
    """Decides which weights may be acted by, in its own time."""

    def judge(self, newest: tuple[int, bytes] | None) -> tuple[int, bytes] | str | None:
        """Take version and weights that arrived, if any did; returns at once.

        Returns:
            Version and weights that may be acted by from now on; a sentence that says why some may not; or None.
        """
        ...


@dataclass
class Agent:
    """One of those that an actor acts for: a policy, and the learner that improves it.

    Attributes:
        policy: Takes the published weights.
        client: The way to its learner.
        policy_version: Of the weights that it acts by; -1 before the first.
        gate: What new weights have to pass; None if that is nothing.
        is_fit: Whether it may act: not before the first weights, and not after an unfit action before newer ones.
    """

    policy: Policy
    client: ActorClient
    policy_version: int = -1
    gate: Gate | None = None
    is_fit: bool = False
    _weights: Tensors | None = None
    _refused: set[int] = field(default_factory=set)

    def take_new_weights(self) -> str | None:
        """Act by the newest weights from now on, if there are newer ones and they are fit.

        Returns:
            Why the newest weights are refused, a sentence, once for each version; None otherwise.
        """
        newest = self.client.latest_weights()
        if self.gate is not None:
            verdict = self.gate.judge(newest)
            if isinstance(verdict, str):
                return verdict
            newest = verdict
        if newest is None:
            return None
        version, payload = newest
        try:
            self._load(payload)
        except UnfitWeightsError as error:
            if version in self._refused:
                return None
            self._refused.add(version)
            acts_by = f"it goes on by version {self.policy_version}" if self.is_fit else "it waits for others"
            return f"Policy version {version} is refused: {error}; {acts_by}."
        self.policy_version, self.is_fit = version, True
        return None

    def _load(self, payload: bytes) -> None:
        """Load weights, all or none of them."""
        try:
            weights = decode_weights(payload)
        except SafetensorError as error:
            raise UnfitWeightsError(f"these are no weights ({_in_short(error)})") from None
        if broken := not_finite(weights):
            raise UnfitWeightsError(f"{broken[0]} is not finite")
        if self._weights is not None:
            _compare(weights, self._weights)
        try:
            self.policy.load_weights(weights)
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            if self._weights is not None:
                self.policy.load_weights(self._weights)  # A part of the new ones may be loaded.
            raise UnfitWeightsError(f"it does not fit this policy ({_in_short(error)})") from None
        self._weights = weights


def _compare(weights: Tensors, known: Tensors) -> None:
    """See that weights have the names and shapes of those before.

    Raises:
        UnfitWeightsError: They have not; the first difference is named.
    """
    for name in sorted(weights.keys() | known.keys()):
        shapes = [list(tensors[name].shape) if name in tensors else None for tensors in (weights, known)]
        if shapes[0] != shapes[1]:
            new, old = ("absent" if shape is None else f"of shape {shape}" for shape in shapes)
            raise UnfitWeightsError(f"{name} is {new} in it and {old} in the one before")


def _in_short(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}..."
