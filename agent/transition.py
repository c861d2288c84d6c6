"""One step of experience, as one fixed-size record.

The same numpy record is what the actor sends, the log keeps on disk and the replay samples: no conversion
between them, and its layout (`TransitionSpec`) is what two processes compare before they talk.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agent.config import InputError

Observation = dict[str, NDArray[Any]]
Records = NDArray[np.void]
"""Structured array of transitions, dtype `TransitionSpec.dtype`, shape (N,)."""
PRIVILEGED = "privileged"
"""Key of what only a twin knows: a vector that critics may see, and no policy (arXiv:1710.06542)."""


class Provenance(IntEnum):
    """Who produced a transition."""

    ROBOT = 0
    TWIN = 1
    HUMAN = 2
    DEMONSTRATION = 3


@dataclass(frozen=True)
class TransitionSpec:
    """Layout of a transition for given spaces.

    Fields of the record: `observation.<key>` and `next_observation.<key>` per observation key, `action` (the
    *executed* one), `reward`, `terminated` (no bootstrap), `truncated` (bootstrap), `intervened`, `provenance`,
    `policy_version`, `episode`, `step`.

    Attributes:
        observation_space: Boxes by key.
        action_space: A Box.
        dtype: The record.
    """

    observation_space: gymnasium.spaces.Dict
    action_space: gymnasium.spaces.Box
    dtype: np.dtype[np.void]

    @classmethod
    def of(
        cls, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]
    ) -> "TransitionSpec":
        """The layout for an environment's spaces.

        A plain Box observation (Pendulum, locomotion) is taken as the single key `state`.

        Raises:
            InputError: The spaces are not Boxes.
        """
        if isinstance(observation_space, gymnasium.spaces.Box):
            observation_space = gymnasium.spaces.Dict({"state": observation_space})
        if not (
            isinstance(observation_space, gymnasium.spaces.Dict)
            and all(isinstance(s, gymnasium.spaces.Box) for s in observation_space.values())
            and isinstance(action_space, gymnasium.spaces.Box)
        ):
            raise InputError(
                f"Observation space {observation_space} with action space {action_space} cannot be learned from; "
                "use Box actions and a Box or a flat Dict of Boxes as observation."
            )
        # Float observations are float32 throughout: what the networks read.
        parts = [
            (key, np.uint8 if space.dtype == np.uint8 else np.float32, space.shape)
            for key, space in observation_space.items()
        ]
        fields: list[tuple[Any, ...]] = [(f"observation.{k}", t, s) for k, t, s in parts]
        fields += [(f"next_observation.{k}", t, s) for k, t, s in parts]
        fields += [
            ("action", np.float32, action_space.shape),
            ("reward", np.float32),
            ("terminated", np.bool_),
            ("truncated", np.bool_),
            ("intervened", np.bool_),
            ("provenance", np.uint8),
            ("policy_version", np.int64),
            ("episode", np.int64),
            ("step", np.int32),
        ]
        return cls(observation_space, action_space, np.dtype(fields))

    @property
    def observation_keys(self) -> tuple[str, ...]:
        """Keys of the observation in record order."""
        return tuple(self.observation_space.keys())

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Those whose values are camera images, (H, W, 3) of uint8."""
        return tuple(
            key for key in self.observation_keys if self.dtype[f"observation.{key}"].base == np.uint8
        )

    @property
    def is_privileged(self) -> bool:
        """Whether there is something that a policy must not see."""
        return PRIVILEGED in self.observation_keys

    def seen(self) -> "TransitionSpec":
        """The layout of what a policy sees: without what is privileged."""
        if not self.is_privileged:
            return self
        spaces = {key: space for key, space in self.observation_space.items() if key != PRIVILEGED}
        return TransitionSpec.of(gymnasium.spaces.Dict(spaces), self.action_space)

    def description(self) -> dict[str, str]:
        """Readable layout: field -> type and shape. Equal descriptions mean interchangeable records."""
        return describe_layout(self.dtype)

    def observation(self, raw: Any) -> Observation:
        """An environment's observation as a dict of arrays of the record's types."""
        values = raw if isinstance(raw, dict) else {"state": raw}
        return {k: np.asarray(values[k], self.dtype[f"observation.{k}"].base) for k in self.observation_keys}

    def record(
        self,
        *,
        observation: Observation,
        action: NDArray[np.float32],
        reward: float,
        next_observation: Observation,
        terminated: bool,
        truncated: bool,
        intervened: bool = False,
        provenance: Provenance = Provenance.TWIN,
        policy_version: int = 0,
        episode: int = 0,
        step: int = 0,
    ) -> Records:
        """One transition, shape (1,)."""
        row = np.zeros(1, self.dtype)
        for key in self.observation_keys:
            row[f"observation.{key}"] = observation[key]
            row[f"next_observation.{key}"] = next_observation[key]
        row["action"], row["reward"] = action, reward
        row["terminated"], row["truncated"], row["intervened"] = terminated, truncated, intervened
        row["provenance"], row["policy_version"], row["episode"], row["step"] = (
            provenance,
            policy_version,
            episode,
            step,
        )
        return row


def count_actions(spec: TransitionSpec) -> int:
    """A, if a tanh-squashed policy can fill the action space.

    Raises:
        InputError: It cannot.
    """
    if not (np.all(spec.action_space.low == -1) and np.all(spec.action_space.high == 1)):
        raise InputError(
            f"Action space {spec.action_space} must be Box(-1, 1): use gymnasium's RescaleAction."
        )
    return int(spec.action_space.shape[0])


def describe_layout(dtype: np.dtype[np.void]) -> dict[str, str]:
    """Type and shape per field of a record, in record order, for example `{"action": "<f4[4]"}`."""
    assert dtype.names is not None
    return {name: f"{dtype[name].base.str}{list(dtype[name].shape)}" for name in dtype.names}


def differing_fields(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """What differs between two descriptions, one readable line per field."""
    return [
        f"{name}: {ours.get(name, 'absent')} here, {theirs.get(name, 'absent')} there"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]


def differing_layout(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """What keeps records of one layout from being read as the other: fields, else their order."""
    if ours == theirs and list(ours) != list(theirs):
        return [f"order of fields: {', '.join(ours)} here, {', '.join(theirs)} there"]
    return differing_fields(ours, theirs)
