"""A gamepad through SDL: a virtual one, which SDL takes for real."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from robot_env.devices.gamepad import Gamepad, GamepadConfig, make_gamepad
from robot_env.devices.reading import GripperRequest
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import Event

pygame = pytest.importorskip("pygame")

STICKS = {"lefty": "-x", "leftx": "-y", "righty": "-z", "rightx": "-yaw"}
BUTTONS = {
    "leftshoulder": "deadman",
    "a": "close",
    "b": "open",
    "start": "success",
    "back": "failure",
    "guide": "quit",
}
_GAMEPAD, _AXES, _BUTTONS = 1, 6, 15


class VirtualGamepad:
    """SDL's own stand-in for hardware, plugged in and out."""

    def __init__(self, sdl):
        self._sdl = sdl
        sdl.SDL_JoystickOpen.restype = ctypes.c_void_p
        sdl.SDL_JoystickSetVirtualAxis.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int16]
        sdl.SDL_JoystickSetVirtualButton.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint8]
        self._index = None

    def plug_in(self):
        self._index = self._sdl.SDL_JoystickAttachVirtual(_GAMEPAD, _AXES, _BUTTONS, 0)
        assert self._index >= 0
        self._joystick = self._sdl.SDL_JoystickOpen(self._index)
        self._sdl.SDL_JoystickUpdate()

    def pull_out(self):
        if self._index is not None:
            self._sdl.SDL_JoystickDetachVirtual(self._index)
            self._index = None

    def push(self, stick, value):
        number = getattr(pygame, f"CONTROLLER_AXIS_{stick.upper()}")
        self._sdl.SDL_JoystickSetVirtualAxis(self._joystick, number, round(32767 * value))
        self._sdl.SDL_JoystickUpdate()

    def press(self, button, is_down=True):
        number = getattr(pygame, f"CONTROLLER_BUTTON_{button.upper()}")
        self._sdl.SDL_JoystickSetVirtualButton(self._joystick, number, is_down)
        self._sdl.SDL_JoystickUpdate()


@pytest.fixture(scope="module")
def hardware():
    from robot_env.devices.pygame_screen import load_pygame, start_events

    libraries = sorted(Path(pygame.__file__).parents[1].glob("pygame.libs/libSDL2-2*"))
    if not libraries:
        pytest.skip("this pygame brings no SDL of its own to plug a virtual gamepad into")
    start_events(load_pygame())
    pygame.joystick.init()
    virtual = VirtualGamepad(ctypes.CDLL(str(libraries[0])))
    yield virtual
    virtual.pull_out()
    pygame.joystick.quit()
    pygame.display.quit()


@pytest.fixture
def pad(hardware):
    hardware.plug_in()
    device = Gamepad(GamepadConfig(sticks=STICKS, buttons=BUTTONS))
    device.open()
    yield device
    device.close()
    hardware.pull_out()
    pygame.event.clear()


@given(st.tuples(*[st.floats(-1.0, 1.0)] * 4))
def test_sticks_deflect_in_their_directions(hardware, values):
    hardware.plug_in()
    device = Gamepad(GamepadConfig(sticks=STICKS, buttons=BUTTONS))
    device.open()
    for stick, value in zip(STICKS, values, strict=True):
        hardware.push(stick, value)
    reading = device.read()
    x, y, z, yaw = (-value for value in values)
    np.testing.assert_allclose(reading.linear, [x, y, z], atol=1e-3)
    np.testing.assert_allclose(reading.angular, [0, 0, yaw], atol=1e-3)
    assert reading.deadman is False
    device.close()
    hardware.pull_out()


def test_buttons_however_short_they_were_pressed(hardware, pad):
    for button in ("a", "b", "start", "guide"):
        hardware.press(button)
        hardware.press(button, False)
    assert pad.get_events() == (Event.SUCCESS, Event.QUIT)
    assert pad.read().gripper is GripperRequest.OPEN
    assert pad.read().gripper is None
    assert pad.get_events() == ()
    hardware.press("leftshoulder")
    assert pad.read().deadman is True


def test_pulled_out_it_is_gone_and_plugged_in_it_goes_on(hardware, pad):
    hardware.press("leftshoulder")
    assert pad.read().deadman is True
    hardware.pull_out()
    for _ in range(2):
        with pytest.raises(RobotUnavailableError, match="gamepad is gone: plug it in"):
            pad.read()
        assert pad.get_events() == ()
    hardware.plug_in()
    hardware.push("lefty", -1.0)
    assert pad.read().linear[0] == pytest.approx(1.0)


def test_opened_and_closed_as_often_as_you_like(hardware, pad):
    pad.open()
    pad.close()
    pad.close()
    pad.open()
    assert not pad.read().linear.any()


def test_without_a_gamepad_it_says_what_to_do(hardware):
    with pytest.raises(InputError, match=r"no gamepad whose layout SDL knows: plug it in"):
        Gamepad(GamepadConfig(sticks=STICKS)).open()
    hardware.plug_in()
    with pytest.raises(InputError, match=r"no gamepad 'wheel' .*only Virtual Controller"):
        Gamepad(GamepadConfig(name="wheel")).open()
    hardware.pull_out()


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"sticks": {"middle": "+x"}}, "no stick 'middle'; choose from leftx"),
        ({"buttons": {"z": "open"}}, "no button 'z'; choose from a, b"),
        ({"buttons": {"a": "jump"}}, "binds 'a' to 'jump'"),
    ],
)
def test_a_configuration_that_no_gamepad_has(make_env, config, complaint):
    with pytest.raises(InputError, match=complaint):
        make_gamepad(make_env(), config)
