"""A window with pictures that takes keys: unlike a terminal it knows which are held, and several at once."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_env.devices.bindings import Bindings
from robot_env.devices.driving import DriveConfig, ReadingTeleoperator, read_device_config
from robot_env.devices.pygame_screen import load_pygame, require_display
from robot_env.devices.reading import Reading
from robot_env.env import RobotEnv
from robot_env.teleoperator import Event

Image = NDArray[np.uint8]

_SIZE = (960, 480)
_DRAW_EVERY_S = 0.05
_MOST_CHANGES = 100
_RENAMED = {"return": "enter"}


class WindowKeyboardConfig(DriveConfig):
    """A keyboard in a window.

    Attributes:
        keys: Name of a key -> what it means, see `Bindings`.
    """

    keys: dict[str, str] = {}


class Window:
    """One window for pictures and keys; whoever opens it last but one keeps it open. For the main thread.

    Args:
        start_display: Starts SDL's video, or says why not.
    """

    def __init__(self, start_display: Callable[[Any], None] = require_display) -> None:
        self._start_display = start_display
        self._pygame: Any = None
        self._surface: Any = None
        self._users = 0
        self._drawn_s = 0.0
        self._changes: list[tuple[str, bool]] = []
        self.is_closed_by_person = False

    def open(self) -> None:
        """Show it.

        Raises:
            InputError: There is no pygame, or no display.
        """
        if self._users == 0:
            pygame = self._pygame = load_pygame()
            self._start_display(pygame)
            self._surface = pygame.display.set_mode(_SIZE, pygame.RESIZABLE)
            pygame.display.set_caption("journeyman")
        self._users += 1

    def close(self) -> None:
        """Let go of it; the last one closes it."""
        if self._users == 0:
            return
        self._users -= 1
        if self._users == 0:
            self._pygame.display.quit()

    def show(self, images: Sequence[Image]) -> None:
        """Draw images, RGB, side by side."""
        now_s = time.monotonic()
        if self._users == 0 or not images or now_s - self._drawn_s < _DRAW_EVERY_S:
            return
        self._drawn_s = now_s
        pygame, surface = self._pygame, self._surface
        width, height = surface.get_width() // len(images), surface.get_height()
        surface.fill((0, 0, 0))
        for number, image in enumerate(images):
            scale = min(width / image.shape[1], height / image.shape[0])
            size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
            picture = pygame.surfarray.make_surface(image.swapaxes(0, 1))
            surface.blit(pygame.transform.scale(picture, size), (number * width, 0))
        pygame.display.flip()
        self._take()

    def changes(self) -> list[tuple[str, bool]]:
        """Keys that went down (true) or up since the last call, oldest first.

        Keys that are held when another window takes over go up: their release is never heard of.
        """
        if self._users:
            self._take()
        changes, self._changes = self._changes, []
        return changes

    def _take(self) -> None:
        pygame = self._pygame
        wanted = [pygame.KEYDOWN, pygame.KEYUP, pygame.WINDOWFOCUSLOST, pygame.QUIT]
        for event in pygame.event.get(wanted):
            if event.type == pygame.QUIT:
                self.is_closed_by_person = True
            elif event.type == pygame.WINDOWFOCUSLOST:
                self._changes.append(("", False))
            else:
                name = pygame.key.name(event.key).replace(" ", "_")
                self._changes.append((_RENAMED.get(name, name), event.type == pygame.KEYDOWN))
        del self._changes[:-_MOST_CHANGES]  # Who only looks at pictures never asks for keys.


class WindowKeyboard:
    """Implements `robot_env.devices.hand.Device`.

    Args:
        config: See there.
        window: Takes the keys.
    """

    name = "the keyboard"
    hint = "click on its window"
    problem = ""

    def __init__(self, config: WindowKeyboardConfig, window: Window) -> None:
        self._bindings: Bindings[str] = Bindings(config.keys, "device.config.keys")
        self.help: Mapping[str, str] = self._bindings.help
        self._window = window
        self._is_open = False
        self._held: set[str] = set()
        self._fresh: set[str] = set()
        self._asked: list[str] = []
        self._said: list[str] = []

    def open(self) -> None:
        """Show the window."""
        if not self._is_open:
            self._window.open()
            self._is_open = True

    def read(self) -> Reading:
        """The keys that are held now, or were pressed since the last reading."""
        self._take()
        moving = {key for key in self._held | self._fresh if key in self._bindings.directions}
        deflection = sum((self._bindings.directions[key] for key in moving), np.zeros(6))
        self._fresh.clear()
        request = self._bindings.request(self._asked)
        self._asked.clear()
        deadman = bool(self._bindings.deadman & self._held) if self._bindings.deadman else None
        return Reading(deflection[:3], deflection[3:], request, deadman)

    def get_events(self) -> tuple[Event, ...]:
        """What was said since the last call; who closes the window quits."""
        self._take()
        events = self._bindings.said(self._said)
        self._said.clear()
        if self._window.is_closed_by_person:
            self._window.is_closed_by_person = False
            events.append(Event.QUIT)
        return tuple(events)

    def close(self) -> None:
        """Let go of the window."""
        if self._is_open:
            self._window.close()
            self._is_open = False
        self._held.clear()

    def _take(self) -> None:
        for key, is_down in self._window.changes():
            if not key:
                self._held.clear()
            elif is_down:
                self._held.add(key)
                self._fresh.add(key)
                self._asked.append(key)
                self._said.append(key)
            else:
                self._held.discard(key)


WINDOW = Window()
"""There is one display, and SDL has one window: pictures and keys share it."""


def make_window_keyboard(env: RobotEnv, config: Mapping[str, Any]) -> ReadingTeleoperator:
    """Factory named by `device=keyboard_window`.

    Raises:
        InputError: `config` is not a `WindowKeyboardConfig`.
    """
    chosen = read_device_config(WindowKeyboardConfig, config)
    return ReadingTeleoperator(WindowKeyboard(chosen, WINDOW), chosen, env.task.action)
