"""What keys and buttons mean, as YAML says it: `w: +x`, `g: toggle`, `enter: success`."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.devices.reading import AXES, GripperRequest
from robot_env.teleoperator import Event

DEADMAN = "deadman"
NOTHING = "none"
_GRIPPER = {"open": GripperRequest.OPEN, "close": GripperRequest.CLOSE, "toggle": GripperRequest.TOGGLE}
_WAYS = {
    "x": "away/back",
    "y": "arm's left/right",
    "z": "up/down",
    "roll": "roll",
    "pitch": "pitch",
    "yaw": "turn",
}
ROTATIONS = {_WAYS[name] for name in AXES[3:]}
"""What keys are explained by that turn the tool."""
GRIPPER_WORDS = {f"{word} gripper" for word in _GRIPPER}
"""What keys are explained by that move the fingers."""
_DIRECTIONS = {
    f"{sign}{name}": value * np.eye(6)[axis]
    for axis, name in enumerate(AXES)
    for sign, value in (("+", 1.0), ("-", -1.0))
}

Key = TypeVar("Key", bound=Hashable)


class Bindings(Generic[Key]):
    """Meanings by key or button.

    Args:
        words: Key -> meaning: `+x` to `-yaw`, `open`, `close`, `toggle`, `deadman`, an `Event`, or `none`.
        where: The key of the configuration, for messages.
        turns: Whether a key may deflect; buttons of a device that has axes do not.

    Raises:
        InputError: A meaning does not exist.

    Attributes:
        directions: Key -> unit deflection, linear then angular, shape (6,).
        gripper: Key -> what is asked for.
        events: Key -> what is said.
        deadman: Keys without one of which nothing moves; empty if there is none.
    """

    def __init__(self, words: Mapping[Key, str], where: str, turns: bool = True) -> None:
        self.directions: dict[Key, NDArray[np.float64]] = {}
        self.gripper: dict[Key, GripperRequest] = {}
        self.events: dict[Key, Event] = {}
        deadman = set()
        self._words = dict(words)
        known = {*_GRIPPER, *Event, DEADMAN, NOTHING, *(_DIRECTIONS if turns else ())}
        for key, word in words.items():
            if word not in known:
                raise InputError(
                    f"{where} binds {key!r} to {word!r}; choose from {', '.join(sorted(known))}."
                )
            if word in _DIRECTIONS:
                self.directions[key] = _DIRECTIONS[word]
            elif word in _GRIPPER:
                self.gripper[key] = _GRIPPER[word]
            elif word == DEADMAN:
                deadman.add(key)
            elif word != NOTHING:
                self.events[key] = Event(word)
        self.deadman = frozenset(deadman)

    @property
    def help(self) -> dict[str, str]:
        """Keys -> what they do, for people; the two keys of an axis stand together."""
        found = {}
        for name, way in _WAYS.items():
            keys = [str(k) for sign in "+-" for k, word in self._words.items() if word == f"{sign}{name}"]
            if keys:
                found["/".join(keys)] = way
        for key, word in self._words.items():
            if word != NOTHING and word not in _DIRECTIONS:
                found[str(key)] = f"{word} gripper" if word in _GRIPPER else word
        return found

    def request(self, pressed: Iterable[Key]) -> GripperRequest | None:
        """What the last of these presses asks of the gripper."""
        requests = [self.gripper[key] for key in pressed if key in self.gripper]
        return requests[-1] if requests else None

    def said(self, pressed: Iterable[Key]) -> list[Event]:
        """The events of these presses, in order."""
        return [self.events[key] for key in pressed if key in self.events]
