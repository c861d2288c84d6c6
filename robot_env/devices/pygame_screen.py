"""SDL through pygame: loaded late, in the order in which a window and a gamepad do not get into each other's way."""

import os
from typing import Any

from controllers.config import InputError

_WITHOUT_WINDOWS = ("dummy", "offscreen", "evdev", "KMSDRM")


def load_pygame() -> Any:
    """The package.

    Raises:
        InputError: It is not installed.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    # A hand is on the gamepad while the eyes are on another window, or there is none.
    os.environ.setdefault("SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS", "1")
    try:
        import pygame
    except ImportError as error:
        raise InputError(
            f"Gamepads and windows need pygame ({error}): pip install 'journeyman[teleop]'."
        ) from None
    return pygame


def start_events(pygame: Any) -> None:
    """Let SDL take in events, with a display only if there already is one."""
    if not pygame.display.get_init():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        pygame.display.init()


def require_display(pygame: Any) -> None:
    """Start SDL with a real display.

    Raises:
        InputError: There is none.
    """
    advice = "start this where windows can be shown (DISPLAY or WAYLAND_DISPLAY is set), or use the terminal instead"
    try:
        if not pygame.display.get_init():
            pygame.display.init()
    except pygame.error as error:
        raise InputError(f"A window needs a display, and there is none ({error}): {advice}.") from None
    driver = pygame.display.get_driver()
    if driver in _WITHOUT_WINDOWS:
        raise InputError(f"A window needs a display, but SDL found only its driver {driver!r}: {advice}.")
