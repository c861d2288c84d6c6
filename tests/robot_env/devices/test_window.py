"""Keys with key-up, in a window of SDL; without a display it is a window that nobody sees."""

import numpy as np
import pytest

from controllers.config import InputError
from robot_env.devices.pygame_screen import load_pygame, require_display, start_events
from robot_env.devices.reading import GripperRequest
from robot_env.devices.window import Window, WindowKeyboard, WindowKeyboardConfig, make_window_keyboard
from robot_env.teleoperator import Event

pygame = pytest.importorskip("pygame")

KEYS = {"w": "+x", "s": "-x", "a": "+y", "g": "toggle", "enter": "success", "q": "quit", "up": "+z"}


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    window = Window(start_events)
    window.open()
    pygame.event.clear()
    yield window
    window.close()


@pytest.fixture
def keyboard(window):
    keyboard = WindowKeyboard(WindowKeyboardConfig(keys=KEYS), window)
    keyboard.open()
    yield keyboard
    keyboard.close()


def down(*keys):
    for key in keys:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))


def up(*keys):
    for key in keys:
        pygame.event.post(pygame.event.Event(pygame.KEYUP, key=key))


def test_keys_are_held_until_they_are_released_several_at_once(keyboard):
    down(pygame.K_w, pygame.K_a)
    for _ in range(3):
        np.testing.assert_array_equal(keyboard.read().linear, [1, 1, 0])
    down(pygame.K_s)
    np.testing.assert_array_equal(keyboard.read().linear, [0, 1, 0])
    up(pygame.K_w, pygame.K_s, pygame.K_a)
    assert not keyboard.read().linear.any()


def test_a_press_between_two_readings_moves_once(keyboard):
    down(pygame.K_UP)
    up(pygame.K_UP)
    keyboard.get_events()
    np.testing.assert_array_equal(keyboard.read().linear, [0, 0, 1])
    assert not keyboard.read().linear.any()


def test_gripper_and_events(keyboard):
    down(pygame.K_g, pygame.K_RETURN)
    assert keyboard.get_events() == (Event.SUCCESS,)
    assert keyboard.read().gripper is GripperRequest.TOGGLE
    assert keyboard.read().gripper is None


def test_who_closes_the_window_quits(keyboard):
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert keyboard.get_events() == (Event.QUIT,)
    assert keyboard.get_events() == ()


def test_a_window_that_loses_the_keys_lets_go(keyboard):
    down(pygame.K_w)
    assert keyboard.read().linear.any()
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    assert not keyboard.read().linear.any()


def test_a_dead_man_is_a_key_that_is_held(window):
    keyboard = WindowKeyboard(WindowKeyboardConfig(keys={**KEYS, "space": "deadman"}), window)
    keyboard.open()
    assert keyboard.read().deadman is False
    down(pygame.K_SPACE)
    assert keyboard.read().deadman is True
    up(pygame.K_SPACE)
    assert keyboard.read().deadman is False
    keyboard.close()


def test_pictures_are_drawn_side_by_side_as_they_are(window):
    red, blue = np.zeros((2, 60, 80, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    window.show([red, blue])
    surface = pygame.display.get_surface()
    width, height = surface.get_size()
    assert surface.get_at((width // 4, height // 4))[:3] == (255, 0, 0)
    assert surface.get_at((3 * width // 4, height // 4))[:3] == (0, 0, 255)


def test_pictures_and_keys_share_it(window, keyboard):
    window.open()
    keyboard.close()
    keyboard.close()
    window.show([np.zeros((6, 8, 3), np.uint8)])
    window.close()
    down(pygame.K_w)
    assert window.changes() == [("w", True)]


def test_without_a_display_it_says_what_to_do(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.quit()
    with pytest.raises(InputError, match="needs a display, but SDL found only its driver 'dummy'"):
        require_display(load_pygame())
    monkeypatch.setenv("SDL_VIDEODRIVER", "absent")
    pygame.display.quit()
    with pytest.raises(InputError, match=r"needs a display, and there is none .*use the terminal"):
        require_display(load_pygame())


def test_a_configuration_that_cannot_be_meant(make_env):
    with pytest.raises(InputError, match="binds 'w' to 'fly'"):
        make_window_keyboard(make_env(), {"keys": {"w": "fly"}})
