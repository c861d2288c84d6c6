"""A SpaceMouse at this machine, read from its raw HID reports: no driver is needed.

Reports, as observed by andunhh.github.io/spacemouse and read by PySpaceMouse: number 1 holds x, y, z as 16 bit, little
end first; 2 holds the turns about them, which newer models append to report 1; 3 holds a bit per button. Full
deflection is 350. The device's axes are right, towards the hand, down.
"""

import os
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.devices.bindings import Bindings
from robot_env.devices.driving import DriveConfig, ReadingTeleoperator, read_device_config
from robot_env.devices.reading import Reading
from robot_env.env import RobotEnv
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import Event

Array = NDArray[np.float64]

_VENDORS = (0x256F, 0x046D)  # 3Dconnexion; before 2013 its mice were Logitech's.
_LOGITECH_MICE = range(0xC603, 0xC62C)
_GENERIC_DESKTOP, _MULTI_AXIS = 0x01, 0x08
_TRANSLATION, _ROTATION, _BUTTONS = 1, 2, 3
_FULL = 350.0
_REPORT_BYTES = 64
# Of 60 reports a second; so many in a row are never waiting, unless it talks faster than one can listen.
_MOST_REPORTS = 1000
# While it is deflected it repeats itself every 16 ms.
_SILENCE_S = 0.5
# From its axes, right, towards the hand, down, to away from the arm's base, left, up, as seen from behind the arm.
_TO_ARM = np.array(((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0)))
UDEV_RULE = 'KERNEL=="hidraw*", ATTRS{idVendor}=="256f", MODE="0660", TAG+="uaccess"'


class SpaceMouseConfig(DriveConfig):
    """A SpaceMouse.

    Attributes:
        buttons: Number of the button, from 0 -> what it means, see `Bindings`.
        product: Part of the name of the one to use, where there are several.
        dead_zone: As far as its cap strays at rest.
    """

    buttons: dict[int, str] = {}
    product: str = ""
    dead_zone: float = 0.1


class SpaceMouse:
    """Implements `robot_env.devices.hand.Device`.

    Args:
        config: See there.
        load: Gives the package `hid`.
        now_s: Time of the hand.
    """

    name = "the SpaceMouse"
    hint = "see that its cable or its battery is well"
    problem = ""

    def __init__(
        self,
        config: SpaceMouseConfig,
        load: Callable[[], Any],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted = config.product
        self._bindings: Bindings[int] = Bindings(config.buttons, "device.config.buttons", turns=False)
        self.help: Mapping[str, str] = {"cap": "move and turn"} | {
            f"button {number}": what for number, what in self._bindings.help.items()
        }
        self._load = load
        self._now_s = now_s
        self._mouse: Any = None
        self._deflection = np.zeros((2, 3))
        self._heard_s = -inf
        self._down = 0
        self._asked: list[int] = []
        self._said: list[int] = []

    def open(self) -> None:
        """Find it.

        Raises:
            InputError: There is none, or it may not be opened.
        """
        if self._mouse is not None:
            return
        found = self._found()
        if found is None:
            which = f" {self._wanted!r}" if self._wanted else ""
            raise InputError(
                f"There is no SpaceMouse{which}: plug it in; if it is, see `lsusb`. "
                "A wireless one needs its receiver, or its cable."
            )
        self._open(found)

    def read(self) -> Reading | None:
        """How its cap is pushed and turned now; None if it fell silent while it was.

        Raises:
            RobotUnavailableError: It is pulled out.
        """
        if self._mouse is None:
            self._reopen()
        self._take()
        if self._deflection.any() and self._now_s() - self._heard_s > _SILENCE_S:
            self._deflection[:] = 0.0
            return None
        linear, angular = self._deflection
        request = self._bindings.request(self._asked)
        self._asked.clear()
        deadman = None
        if self._bindings.deadman:
            deadman = any(self._down >> number & 1 for number in self._bindings.deadman)
        return Reading(_TO_ARM @ linear, _TO_ARM @ angular, request, deadman)

    def get_events(self) -> tuple[Event, ...]:
        """What was said since the last call."""
        if self._mouse is not None:
            with suppress(RobotUnavailableError):  # For `read` to say.
                self._take()
        events = self._bindings.said(self._said)
        self._said.clear()
        return tuple(events)

    def close(self) -> None:
        """Let go of it."""
        if self._mouse is not None:
            self._mouse.close()
            self._mouse = None
        self._deflection[:] = 0.0
        self._down = 0

    def _found(self) -> Mapping[str, Any] | None:
        """What `hid` says of the mouse."""
        for vendor in _VENDORS:
            for each in self._load().enumerate(vendor, 0):
                if _is_mouse(each) and self._wanted.lower() in str(each.get("product_string", "")).lower():
                    return dict(each)
        return None

    def _open(self, found: Mapping[str, Any]) -> None:
        mouse, path = self._load().device(), found["path"]
        try:
            mouse.open_path(path)
        except OSError:
            name = os.fsdecode(path)
            raise InputError(
                f"The SpaceMouse at {name} may not be opened: write the line {UDEV_RULE} to "
                "/etc/udev/rules.d/70-spacemouse.rules, run `sudo udevadm control --reload`, and plug it in again."
            ) from None
        mouse.set_nonblocking(True)
        self._mouse = mouse

    def _reopen(self) -> None:
        """After it was pulled out."""
        found = self._found()
        try:
            if found is not None:
                self._open(found)
        except InputError as error:
            raise RobotUnavailableError(str(error)) from None
        if self._mouse is None:
            raise RobotUnavailableError("The SpaceMouse is gone: plug it in.")

    def _take(self) -> None:
        """Take in what it has reported."""
        try:
            for _ in range(_MOST_REPORTS):
                report = bytes(self._mouse.read(_REPORT_BYTES))
                if not report:
                    return
                self._heard_s = self._now_s()
                self._take_report(report[0], report[1:])
        except (OSError, ValueError) as error:
            self.close()
            raise RobotUnavailableError(f"The SpaceMouse is gone ({error}): plug it in.") from None

    def _take_report(self, number: int, data: bytes) -> None:
        if number == _BUTTONS:
            down = int.from_bytes(data[:4], "little")
            pressed = [bit for bit in range(32) if (down & ~self._down) >> bit & 1]
            self._asked += pressed
            self._said += pressed
            self._down = down
        elif number == _TRANSLATION and len(data) >= 6:
            self._deflection[0] = _three(data)
            if len(data) >= 12:
                self._deflection[1] = _three(data[6:])
        elif number == _ROTATION and len(data) >= 6:
            self._deflection[1] = _three(data)


def make_spacemouse(env: RobotEnv, config: Mapping[str, Any]) -> ReadingTeleoperator:
    """Factory named by `device=spacemouse`.

    Raises:
        InputError: `config` is not a `SpaceMouseConfig`.
    """
    chosen = read_device_config(SpaceMouseConfig, config)
    return ReadingTeleoperator(SpaceMouse(chosen, _load_hid), chosen, env.task.action)


def _load_hid() -> Any:
    try:
        import hid
    except ImportError as error:
        raise InputError(
            f"A SpaceMouse needs the package hidapi ({error}): pip install 'journeyman[teleop]'."
        ) from None
    return hid


def _is_mouse(found: Mapping[str, Any]) -> bool:
    usage = (found.get("usage_page", 0), found.get("usage", 0))
    # Not every backend of hidapi tells the usage; Logitech makes other things as well.
    is_known = found["vendor_id"] == _VENDORS[0] or found["product_id"] in _LOGITECH_MICE
    return is_known and usage in ((_GENERIC_DESKTOP, _MULTI_AXIS), (0, 0))


def _three(data: bytes) -> Array:
    return np.array(struct.unpack_from("<3h", data)) / _FULL
