"""A gamepad at this machine, through SDL, which knows the layout of most and gives all of them the same names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from controllers.config import InputError
from robot_env.devices.bindings import Bindings
from robot_env.devices.driving import DriveConfig, ReadingTeleoperator, read_device_config
from robot_env.devices.pygame_screen import load_pygame, start_events
from robot_env.devices.reading import Reading
from robot_env.env import RobotEnv
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import Event

STICKS = ("leftx", "lefty", "rightx", "righty", "triggerleft", "triggerright")
BUTTONS = (
    "a", "b", "x", "y", "back", "guide", "start", "leftstick", "rightstick", "leftshoulder", "rightshoulder",
    "dpad_up", "dpad_down", "dpad_left", "dpad_right",
)  # fmt: skip
_FULL = 32767.0


class GamepadConfig(DriveConfig):
    """A gamepad.

    Attributes:
        name: Part of the name of the gamepad to use, where there are several.
        sticks: Axis of SDL -> direction in which its positive way moves; to the right and downwards are positive.
        buttons: Button of SDL -> what it means, see `Bindings`.
        dead_zone: As far as a worn stick strays at rest.
    """

    name: str = ""
    sticks: dict[str, str] = {}
    buttons: dict[str, str] = {}
    dead_zone: float = 0.15

    def __post_init__(self) -> None:
        """Refuse what no gamepad has."""
        super().__post_init__()
        for kind, given, known in (("stick", self.sticks, STICKS), ("button", self.buttons, BUTTONS)):
            for name in given:
                if name not in known:
                    raise ValueError(f"there is no {kind} {name!r}; choose from {', '.join(known)}")


class Gamepad:
    """Implements `robot_env.devices.hand.Device`. Pulled out, it is gone; plugged in again, it goes on.

    Args:
        config: See there.
    """

    name = "the gamepad"
    hint = "plug it in"
    problem = ""

    def __init__(self, config: GamepadConfig) -> None:
        self._wanted = config.name
        self._sticks: Bindings[str] = Bindings(config.sticks, "device.config.sticks")
        self._buttons: Bindings[str] = Bindings(config.buttons, "device.config.buttons")
        self.help: Mapping[str, str] = self._sticks.help | self._buttons.help
        self._pygame: Any = None
        self._controller: Any = None
        self._asked: list[str] = []
        self._said: list[str] = []

    def open(self) -> None:
        """Find the gamepad.

        Raises:
            InputError: There is none, or SDL does not know its layout.
        """
        if self._controller is not None:
            return
        pygame = self._pygame = load_pygame()
        start_events(pygame)
        controllers = _controllers()
        controllers.init()
        pygame.event.pump()
        self._controller, others = self._find()
        if self._controller is None:
            named = f" {self._wanted!r}" if self._wanted else ""
            there = f", only {', '.join(others)}" if others else ""
            raise InputError(
                f"There is no gamepad{named} whose layout SDL knows{there}: plug it in and see that "
                "`ls -l /dev/input/event*` lets you read it; for another layout set SDL_GAMECONTROLLERCONFIG."
            )

    def read(self) -> Reading:
        """Its sticks and buttons now.

        Raises:
            RobotUnavailableError: It is pulled out.
        """
        self._take()
        controller = self._controller
        if controller is None or not controller.attached():
            self._controller, _ = self._find()  # It may be back.
            if self._controller is None:
                raise RobotUnavailableError("The gamepad is gone: plug it in.")
            controller = self._controller
        deflection = np.zeros(6)
        for stick, direction in self._sticks.directions.items():
            deflection += direction * max(-1.0, controller.get_axis(self._number("AXIS", stick)) / _FULL)
        for button, direction in self._buttons.directions.items():
            deflection += direction * self._is_down(button)
        request = self._buttons.request(self._asked)
        self._asked.clear()
        deadman = any(map(self._is_down, self._buttons.deadman)) if self._buttons.deadman else None
        return Reading(deflection[:3], deflection[3:], request, deadman)

    def get_events(self) -> tuple[Event, ...]:
        """What was said since the last call."""
        self._take()
        events = self._buttons.said(self._said)
        self._said.clear()
        return tuple(events)

    def close(self) -> None:
        """Let go of it."""
        if self._controller is not None:
            self._controller.quit()
            self._controller = None

    def _take(self) -> None:
        """Take in presses, however short they were."""
        pygame = self._pygame
        if pygame is None:
            return
        names = {self._number("BUTTON", name): name for name in BUTTONS}
        for event in pygame.event.get([pygame.CONTROLLERBUTTONDOWN]):
            if event.button in names:
                self._asked.append(names[event.button])
                self._said.append(names[event.button])

    def _find(self) -> tuple[Any, list[str]]:
        """The gamepad, or None, and the names of what else is there."""
        controllers, others = _controllers(), []
        for index in range(controllers.get_count()):
            name = str(controllers.name_forindex(index))
            if controllers.is_controller(index) and self._wanted.lower() in name.lower():
                return controllers.Controller(index), []
            others.append(name)
        return None, others

    def _is_down(self, button: str) -> bool:
        return bool(self._controller.get_button(self._number("BUTTON", button)))

    def _number(self, kind: str, name: str) -> int:
        return int(getattr(self._pygame, f"CONTROLLER_{kind}_{name.upper()}"))


def make_gamepad(env: RobotEnv, config: Mapping[str, Any]) -> ReadingTeleoperator:
    """Factory named by `device=gamepad`.

    Raises:
        InputError: `config` is not a `GamepadConfig`.
    """
    chosen = read_device_config(GamepadConfig, config)
    return ReadingTeleoperator(Gamepad(chosen), chosen, env.task.action)


def _controllers() -> Any:
    import pygame._sdl2.controller

    return pygame._sdl2.controller
