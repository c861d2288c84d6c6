"""The contracts of learning: what a learner asks of an algorithm and an actor of a policy."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from agent.frames import Convert
from agent.parallel.share import Share
from agent.tensors import Tensors
from agent.transition import Observation

Batch = dict[str, torch.Tensor]
"""Transitions by field name (see `TransitionSpec`), each tensor of shape (N, ...)."""


class Transitions(NamedTuple):
    """A batch as losses take it: observations as they are learned from, everything else of shape (B, ...).

    Attributes:
        observation: By key.
        action: Shape (B, A).
        reward: Shape (B,).
        next_observation: By key.
        not_terminated: 1 where the return goes on, shape (B,).
        mc_return: Discounted return to go, shape (B,), for an algorithm that asked for it (`NeedsReturns`).
        weight: How much each counts in the critics' loss, shape (B,); None where all do alike.
        discount: What the next value counts for, shape (B,), if the next observations are several steps later.
    """

    observation: Tensors
    action: torch.Tensor
    reward: torch.Tensor
    next_observation: Tensors
    not_terminated: torch.Tensor
    mc_return: torch.Tensor | None = None
    weight: torch.Tensor | None = None
    discount: torch.Tensor | None = None

    def rows(self, rows: slice) -> "Transitions":
        """Some of them."""

        def of(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: values[rows] for key, values in value.items()}
            return None if value is None else value[rows]

        return Transitions(*map(of, self))


class Policy(Protocol):
    """What an actor needs of an algorithm."""

    def act(self, observation: Observation, deterministic: bool) -> NDArray[np.float32]:
        """Choose an action in [-1, 1], shape (A,), for one observation."""
        ...

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take over what `Algorithm.policy_weights` gave."""
        ...


class Algorithm(Protocol):
    """An off-policy learner. One algorithm, one file, its config in it (SAC's beside it, since others build on it).

    A class that implements this has an attribute `Config`, is made by `(config, spec, device, seed)`, and has a
    method `make_policy(config, spec, seed)` that makes the actor's side of it without critics. If it has an attribute
    `demonstrations_only` that is true, it is not run on what the policy did itself. If it has an attribute
    `takes_discount` that is true, its config has a `discount`, and in targets the next value counts for the batch's
    field `discount` instead, shape (N,), where there is one: then the next observation is several steps later.
    If its config has `of_recorded_rewards` that is not empty, it takes rewards as they were recorded for more than its
    updates, and is not run with a reward that is paid anew in these (`RewardLearner`); the entries are what to set in
    the config so that it does not.
    """

    batch_size: int
    """Transitions per critic update."""
    utd_ratio: int
    """Critic updates per call of `update`, which the learner makes at most once per environment step."""

    def update(self, batch: Batch) -> dict[str, float]:
        """Learn from `utd_ratio * batch_size` transitions; critic update k uses the k-th slice of `batch_size`.

        Returns:
            Metrics for people.
        """
        ...

    def policy_weights(self) -> Tensors:
        """What the actor needs, and nothing else: no critics, no optimisers."""
        ...

    def state_dict(self) -> Tensors:
        """Everything that learning depends on, flat: networks, targets, optimisers, random state."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        ...


@runtime_checkable
class KeepsFeatures(Protocol):
    """An algorithm that may need no more of a camera image than features which never change."""

    kept_of_frames: Convert | None
    """What the replay keeps instead of images, and puts into batches under their names; None for the images."""


@runtime_checkable
class LearnsOffline(Protocol):
    """An algorithm that may learn from recorded data before its policy is published for the first time.

    One that learns from nothing else, and needs no environment steps, does all its learning so.
    """

    batch_size: int
    """Transitions per call of `learn_offline`."""
    offline_updates: int
    """Calls of it; 0 for none. Its config has this key, too: more than 0 is refused without demonstrations."""

    def learn_offline(self, batch: Batch) -> dict[str, float]:
        """Learn from `batch_size` transitions of recorded data; returns metrics for people."""
        ...


@runtime_checkable
class BeginsFrom(Protocol):
    """An algorithm that may begin with the networks of another run, of this algorithm or another one."""

    def begin_from(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over what `Algorithm.state_dict` of another run holds that this one has, too; at least the actor.

        Optimisers and random draws begin anew.

        Raises:
            InputError: A network is of another architecture; the message names the tensor.
        """
        ...


@runtime_checkable
class NeedsReturns(Protocol):
    """An algorithm whose batches have a field `mc_return`: what an episode earned from a transition on."""

    returns_discount: float | None
    """Gamma of the returns; None for batches without them."""


@runtime_checkable
class TellsErrors(Protocol):
    """An algorithm that may learn from what it was most wrong about (`learner.sampling.kind=prioritised`).

    Its batches have a field `weight` then: how much a transition counts in the critics' loss.
    """

    def take_errors(self) -> torch.Tensor | None:
        """How far the critics were from their targets, for each transition of batches with weights, shape (N,).

        Of all updates since it was last asked, in order; None if there were none.
        """
        ...


class SplitsBatches(Protocol):
    """An algorithm that several processes may make updates of together, each from its part of every batch.

    The gradients that it steps by are means over a batch, so those of whole batches are means of those of the parts.
    Nothing else that it keeps depends on a batch. What a subclass makes of it is not known: each class says for itself
    that it is one, by a static method `needs_whole_batches(config) -> str | None` of its own, which tells what in a
    config keeps it from being one.
    """

    batch_size: int
    """Transitions per update, of its part from `learn_from` on."""

    def learn_from(self, share: Share) -> None:
        """Learn from parts of batches, with its part (`Share.own`) of the random numbers for whole ones."""
        ...

    def optimizers(self) -> Iterable[torch.optim.Optimizer]:
        """All that step by such gradients."""
        ...


@runtime_checkable
class Plans(Protocol):
    """A policy that decides on more than its next action."""

    def replan(self) -> None:
        """Decide anew at the next call of `act`: something else was done, or an episode begins."""
        ...


def replan(policy: Policy) -> None:
    """Let a policy decide anew; most do at every step."""
    if isinstance(policy, Plans):
        policy.replan()


class RewardLearner(Protocol):
    """A reward that keeps learning beside the algorithm, from what the policy does (VICE, GAIL).

    The learner asks it before every block of updates: what is stored keeps the reward that it came with.
    """

    def update(self, batch: Batch) -> dict[str, float]:
        """Learn from a batch, whose field `provenance` tells demonstrations; returns metrics for people."""
        ...

    def relabel(self, batch: Batch) -> Batch:
        """The batch with other rewards and terminations."""
        ...

    def state_dict(self) -> Tensors:
        """Everything that its learning depends on, flat."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        ...
