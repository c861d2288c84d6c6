"""A keyboard as a device: in a terminal, which says what is pressed but not what is released."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Any, Protocol

import numpy as np

from robot_env.devices.bindings import Bindings
from robot_env.devices.driving import DriveConfig, ReadingTeleoperator, read_device_config
from robot_env.devices.reading import Reading
from robot_env.devices.terminal import Terminal
from robot_env.env import RobotEnv
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import Event


class KeyboardConfig(DriveConfig):
    """A keyboard in a terminal.

    A key that is held repeats itself after a while, and that is all that a terminal tells. So a press moves for
    `press_s`, a small step; a key that repeats moves until it has not come for `repeat_s`: like a cursor in a text.

    Attributes:
        keys: Name of a key -> what it means, see `Bindings`.
        press_s: How long one press deflects. As long as the keyboard waits before it repeats (often 0.5), a held key
            moves without a pause, and a short press moves far.
        repeat_s: So long after its last repetition a key counts as held.
        deadman_s: Where a key is bound to `deadman`: so long after the last key the dead man has let go.
        terminal: Path of the terminal; null is the one that the program was started in.
        linger_s: Longer than a keyboard takes to repeat, or a held key would let go of the arm before that.
    """

    keys: dict[str, str] = {}
    press_s: float = 0.04
    repeat_s: float = 0.15
    deadman_s: float = 2.0
    terminal: str | None = None
    linger_s: float = 0.8

    def __post_init__(self) -> None:
        """Refuse times that cannot be meant."""
        super().__post_init__()
        for name in ("press_s", "repeat_s", "deadman_s"):
            if not 0.0 < getattr(self, name) < inf:
                raise ValueError(f"{name} {getattr(self, name)} must be positive and finite")


class KeySource(Protocol):
    """Where pressed keys come from: see `Terminal`."""

    def open(self) -> None:
        """Begin to listen."""
        ...

    def read(self) -> list[str]:
        """Names of the keys pressed since the last call."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Keyboard:
    """Implements `robot_env.devices.hand.Device`.

    Args:
        config: See there.
        source: Of key presses.
        now_s: Time of the hand.
    """

    name = "the keyboard"
    hint = "press a key in its terminal"
    problem = ""

    def __init__(
        self, config: KeyboardConfig, source: KeySource, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._bindings: Bindings[str] = Bindings(config.keys, "device.config.keys")
        self.help: Mapping[str, str] = self._bindings.help
        self._source = source
        self._now_s = now_s
        self._seen_s: dict[str, float] = {}
        self._fresh: set[str] = set()
        self._held: str | None = None
        self._held_until_s = self._deadman_until_s = -inf
        self._asked: list[str] = []
        self._said: list[str] = []

    def open(self) -> None:
        """Begin to listen."""
        self._source.open()

    def read(self) -> Reading:
        """The keys that count as held now.

        Raises:
            RobotUnavailableError: The terminal is gone.
        """
        self._take()
        now_s = self._now_s()
        # What was pressed since the last reading moves once, however long ago that was.
        moving = self._fresh | ({self._held} if self._held and now_s <= self._held_until_s else set())
        self._fresh.clear()
        deflection = sum((self._bindings.directions[key] for key in moving), np.zeros(6))
        request = self._bindings.request(self._asked)
        self._asked.clear()
        deadman = now_s <= self._deadman_until_s if self._bindings.deadman else None
        return Reading(deflection[:3], deflection[3:], request, deadman)

    def get_events(self) -> tuple[Event, ...]:
        """What was said since the last call."""
        with suppress(RobotUnavailableError):  # For `read` to say.
            self._take()
        events = self._bindings.said(self._said)
        self._said.clear()
        return tuple(events)

    def close(self) -> None:
        """Give the terminal back."""
        self._source.close()

    def _take(self) -> None:
        """Take in what was pressed."""
        for key in self._source.read():
            now_s = self._now_s()
            is_repeated = now_s - self._seen_s.get(key, -inf) <= self._config.repeat_s
            self._seen_s[key] = now_s
            if key in self._bindings.directions:
                self._fresh.add(key)
                # The one before is held no longer: a keyboard repeats only the last.
                hold_s = self._config.repeat_s if is_repeated else self._config.press_s
                self._held, self._held_until_s = key, now_s + hold_s
            elif not is_repeated:
                self._asked.append(key)
                self._said.append(key)
            if key in self._bindings.deadman or now_s <= self._deadman_until_s:
                self._deadman_until_s = now_s + self._config.deadman_s


def make_keyboard(env: RobotEnv, config: Mapping[str, Any]) -> ReadingTeleoperator:
    """Factory named by `device=keyboard`.

    Raises:
        InputError: `config` is not a `KeyboardConfig`.
    """
    chosen = read_device_config(KeyboardConfig, config)
    return ReadingTeleoperator(Keyboard(chosen, Terminal(chosen.terminal)), chosen, env.task.action)
