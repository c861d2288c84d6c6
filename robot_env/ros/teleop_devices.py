"""What people hold in their hands: messages of its driver as a `Reading`. One class per device."""

import time
from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.devices.reading import GripperRequest, Reading
from robot_env.ros.messages import MessageError, stamp_ns_of, twist_of
from robot_env.ros.ros_clock import FUTURE_S, RosClock
from robot_env.ros.runtime import Inbox

Array = NDArray[np.float64]

SILENCE_S = 0.2
"""A device that said nothing for this long is gone."""

_AXES = "x, y, z, roll, pitch, yaw"
_UNUSED = -1


class Setting(NamedTuple):
    """What a device may need to know of the arm.

    Attributes:
        linear_speed_m_s: What a full deflection means.
        angular_speed_rad_s: Likewise.
        frame_id: Frame of the velocities.
        clock: Of the robot.
    """

    linear_speed_m_s: float
    angular_speed_rad_s: float
    frame_id: str
    clock: RosClock


class Device(Protocol):
    """Made with the node that subscribes, and a `Setting`.

    Attributes:
        dead_zone: Part of the way that its axes stray at rest.
        hint: What a person starts, so that it speaks.
        problem: What is wrong with its messages, in a sentence; empty if nothing is.
    """

    dead_zone: float
    hint: str
    problem: str

    def read(self) -> Reading | None:
        """What it says now; None if it is silent, or says what cannot be."""
        ...


class Joy:
    """A gamepad: sensor_msgs/Joy on `joy`, from joy_node, which repeats itself at 20 Hz.

    Parameters: `joy.axes` (which axis moves along or about which of x, y, z, roll, pitch, yaw; -1 for none),
    `joy.signs` (1 or -1 for each), `joy.deadman_button`, `joy.open_button`, `joy.close_button`, `joy.toggle_button`.
    The defaults are those of an Xbox gamepad: left stick x and y, right stick z and yaw; left shoulder, B and A.
    """

    dead_zone = 0.1
    hint = "`ros2 run joy joy_node`"

    def __init__(self, node: Any, setting: Setting) -> None:
        from sensor_msgs.msg import Joy as JoyMessage

        def parameter(name: str, default: Any) -> Any:
            return node.declare_parameter(f"joy.{name}", default).value

        self._axes = list(parameter("axes", [1, 0, 4, _UNUSED, _UNUSED, 3]))
        self._signs = list(parameter("signs", [1.0] * 6))
        if len(self._axes) != 6 or min(self._axes) < _UNUSED:
            raise InputError(
                f"joy.axes {self._axes} must be six numbers of axes, {_AXES}, or -1: correct it."
            )
        if len(self._signs) != 6 or not set(self._signs) <= {1.0, -1.0}:
            raise InputError(f"joy.signs {self._signs} must be six times 1.0 or -1.0, {_AXES}: correct it.")
        self._deadman = parameter("deadman_button", 4)
        self._gripper = {
            parameter("open_button", 1): GripperRequest.OPEN,
            parameter("close_button", 0): GripperRequest.CLOSE,
            parameter("toggle_button", _UNUSED): GripperRequest.TOGGLE,
        }
        self._feed = _Feed(node, JoyMessage, "joy", 50)
        self._presses = _Presses()
        self._newest: Any = None
        self.problem = ""

    def read(self) -> Reading | None:
        """What it says now."""
        pressed: list[int] = []
        for message in self._feed.take():
            pressed += self._presses.take(message.buttons)
            self._newest = message
        if self._feed.is_silent:
            return None
        axes, buttons = self._newest.axes, self._newest.buttons
        self.problem = self._misfit(len(axes), len(buttons))
        if self.problem:
            return None
        values = [
            0.0 if axis == _UNUSED else sign * axes[axis]
            for axis, sign in zip(self._axes, self._signs, strict=True)
        ]
        request = _last_request(self._gripper, pressed)
        return Reading(np.array(values[:3]), np.array(values[3:]), request, bool(buttons[self._deadman]))

    def _misfit(self, axes: int, buttons: int) -> str:
        if max(self._axes) < axes and 0 <= self._deadman < buttons and max(self._gripper) < buttons:
            return ""
        return (
            f"{self._feed.topic} has {axes} axes and {buttons} buttons, but axes {self._axes}, deadman {self._deadman} "
            f"and gripper {sorted(self._gripper)} are wanted: set the parameters joy.* for this gamepad."
        )


class Spacenav:
    """A 3D mouse: geometry_msgs/Twist on `spacenav/twist`, in parts of the full deflection.

    It drives while it is moved. Its first button closes the gripper, the second opens it (`spacenav/joy`).
    """

    dead_zone = 0.1
    hint = "`ros2 run spacenav spacenav_node`"
    problem = ""

    def __init__(self, node: Any, setting: Setting) -> None:
        from geometry_msgs.msg import Twist as TwistMessage
        from sensor_msgs.msg import Joy as JoyMessage

        self._twists = _Feed(node, TwistMessage, "spacenav/twist", 1)
        # Once it was moved, its driver publishes a thousand of these a second, of which one tells of a button.
        self._joys = _Feed(node, JoyMessage, "spacenav/joy", 500)
        self._presses = _Presses()
        self._newest: Any = None

    def read(self) -> Reading | None:
        """What it says now."""
        pressed = [number for message in self._joys.take() for number in self._presses.take(message.buttons)]
        for message in self._twists.take():
            self._newest = message
        if self._twists.is_silent:
            return None
        request = _last_request({0: GripperRequest.CLOSE, 1: GripperRequest.OPEN}, pressed)
        return Reading(_xyz(self._newest.linear), _xyz(self._newest.angular), request)


class Twist:
    """Any other source: geometry_msgs/TwistStamped on `~/twist`, in m/s and rad/s. It drives while it is not zero."""

    dead_zone = 0.0
    hint = "whatever publishes it"

    def __init__(self, node: Any, setting: Setting) -> None:
        from geometry_msgs.msg import TwistStamped

        self._setting = setting
        self._feed = _Feed(node, TwistStamped, "~/twist", 1)
        self._newest: Any = None
        self.problem = ""

    def read(self) -> Reading | None:
        """What it says now."""
        for message in self._feed.take():
            self._newest = message
        if self._feed.is_silent:
            return None
        setting = self._setting
        try:
            linear_m_s, angular_rad_s = twist_of(self._newest, setting.frame_id)
            self._check_age()
        except MessageError as error:
            self.problem = f"{self._feed.topic} {error}."
            return None
        self.problem = ""
        return Reading(linear_m_s / setting.linear_speed_m_s, angular_rad_s / setting.angular_speed_rad_s)

    def _check_age(self) -> None:
        stamp_ns, clock = stamp_ns_of(self._newest.header), self._setting.clock
        if stamp_ns == 0:
            raise MessageError("has no stamp: set it to the time of the message")
        age_s = clock.now_s() - clock.local_s(stamp_ns)
        if not -FUTURE_S <= age_s <= SILENCE_S:
            raise MessageError(
                "is stamped too long ago, or in the future: send it at once, with synchronised clocks"
            )


DEVICES: dict[str, Any] = {"joy": Joy, "spacenav": Spacenav, "twist": Twist}


class _Feed:
    """Messages of one topic, and how long ago the newest came."""

    def __init__(self, node: Any, message_type: Any, topic: str, depth: int) -> None:
        self._inbox: Inbox[Any] = Inbox(node, message_type, topic, depth)
        self._heard_s = -inf
        self.topic = self._inbox.topic

    def take(self) -> list[Any]:
        """What has come since the last call, oldest first."""
        taken = self._inbox.take()
        if taken:
            # It may have waited here, while the loop was held up. Some middlewares do not say since when.
            received_ns = taken[-1].received_ns
            waited_s = 1e-9 * max(time.time_ns() - received_ns, 0) if received_ns else 0.0
            self._heard_s = time.monotonic() - waited_s
        return [received.message for received in taken]

    @property
    def is_silent(self) -> bool:
        return time.monotonic() - self._heard_s > SILENCE_S


class _Presses:
    """Tells which buttons go down. Messages that leave buttons out, as those of a 3D mouse, say nothing of them."""

    def __init__(self) -> None:
        self._down: dict[int, bool] | None = None

    def take(self, buttons: Sequence[int]) -> list[int]:
        now = {number: bool(value) for number, value in enumerate(buttons)}
        before = now if self._down is None else self._down  # What is held at the start was not pressed.
        self._down = before | now
        return [number for number, is_down in now.items() if is_down and not before.get(number, False)]


def _last_request(requests: dict[int, GripperRequest], pressed: Sequence[int]) -> GripperRequest | None:
    return next((requests[number] for number in reversed(pressed) if number in requests), None)


def _xyz(vector: Any) -> Array:
    return np.array((vector.x, vector.y, vector.z))
