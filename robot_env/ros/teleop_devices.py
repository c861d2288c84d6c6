"""What people hold in their hands: messages of its driver as a `Reading`. One class per device."""

import time
from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError, explain
from robot_env.devices.reading import GripperRequest, Reading
from robot_env.ros.messages import MessageError, stamp_ns_of, twist_of
from robot_env.ros.ros_clock import FUTURE_S, RosClock
from robot_env.ros.runtime import Inbox

Array = NDArray[np.float64]

SILENCE_S = 0.2
"""A device that said nothing for this long is gone."""

_AXES = "x, y, z, roll, pitch, yaw"
_UNUSED = -1

_Parameters = TypeVar("_Parameters", bound=Config)


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
        pressed: Numbers of the buttons that went down since the reading before the last.
    """

    dead_zone: float
    hint: str
    problem: str
    pressed: list[int]

    def read(self) -> Reading | None:
        """What it says now; None if it is silent, or says what cannot be."""
        ...


class JoyConfig(Config):
    """Where a gamepad has what. The defaults are those of an Xbox gamepad: left stick x and y, right stick z and yaw.

    Attributes:
        axes: Which axis moves along or about which of x, y, z, roll, pitch, yaw; -1 for none.
        signs: 1 or -1 for each.
        deadman_button: Without it nothing moves; left shoulder.
        open_button: Opens the gripper; B. -1 for none, as for the next two.
        close_button: Closes it; A.
        toggle_button: Does the one or the other.
    """

    axes: tuple[int, ...] = (1, 0, 4, _UNUSED, _UNUSED, 3)
    signs: tuple[float, ...] = (1.0,) * 6
    deadman_button: int = 4
    open_button: int = 1
    close_button: int = 0
    toggle_button: int = _UNUSED

    def __post_init__(self) -> None:
        """Refuse what is no gamepad's."""
        if len(self.axes) != 6 or min(self.axes) < _UNUSED:
            raise ValueError(
                f"joy.axes {list(self.axes)} must be six numbers of axes, {_AXES}, or -1: correct it"
            )
        if len(self.signs) != 6 or not set(self.signs) <= {1.0, -1.0}:
            raise ValueError(
                f"joy.signs {list(self.signs)} must be six times 1.0 or -1.0, {_AXES}: correct it"
            )


class Joy:
    """A gamepad: sensor_msgs/Joy on `joy`, from joy_node, which repeats itself at 20 Hz.

    Args:
        node: Subscribes. Its parameters `joy.axes` and so on are those of `JoyConfig`.
        setting: See there.
        config: In place of the parameters.
    """

    dead_zone = 0.1
    hint = "`ros2 run joy joy_node`"

    def __init__(self, node: Any, setting: Setting, config: JoyConfig | None = None) -> None:
        from sensor_msgs.msg import Joy as JoyMessage

        config = config or _declared(node, "joy", JoyConfig)
        self._axes, self._signs, self._deadman = config.axes, config.signs, config.deadman_button
        self._gripper = {
            config.open_button: GripperRequest.OPEN,
            config.close_button: GripperRequest.CLOSE,
            config.toggle_button: GripperRequest.TOGGLE,
        }
        self._feed = Feed(node, JoyMessage, "joy", 50)
        self._presses = Presses()
        self._newest: Any = None
        self.problem = ""
        self.pressed: list[int] = []

    def read(self) -> Reading | None:
        """What it says now."""
        pressed: list[int] = []
        for message in self._feed.take():
            pressed += self._presses.take(message.buttons)
            self._newest = message
        self.pressed = pressed
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
            f"{self._feed.topic} has {axes} axes and {buttons} buttons, but axes {list(self._axes)}, deadman "
            f"{self._deadman} and gripper {sorted(self._gripper)} are wanted: set the parameters joy.* for this "
            "gamepad."
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

        self.pressed: list[int] = []
        self._twists = Feed(node, TwistMessage, "spacenav/twist", 1)
        # Once it was moved, its driver publishes a thousand of these a second, of which one tells of a button.
        self._joys = Feed(node, JoyMessage, "spacenav/joy", 500)
        self._presses = Presses()
        self._newest: Any = None

    def read(self) -> Reading | None:
        """What it says now."""
        pressed = [number for message in self._joys.take() for number in self._presses.take(message.buttons)]
        self.pressed = pressed
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
        self._feed = Feed(node, TwistStamped, "~/twist", 1)
        self._newest: Any = None
        self.problem = ""
        self.pressed: list[int] = []

    def read(self) -> Reading | None:
        """What it says now."""
        for message in self._feed.take():
            self._newest = message
        if self._feed.is_silent:
            return None
        setting = self._setting
        try:
            linear_m_s, angular_rad_s = twist_of(self._newest, setting.frame_id)
            check_age(self._newest.header, setting.clock)
        except MessageError as error:
            self.problem = f"{self._feed.topic} {error}."
            return None
        self.problem = ""
        return Reading(linear_m_s / setting.linear_speed_m_s, angular_rad_s / setting.angular_speed_rad_s)


DEVICES: dict[str, Any] = {"joy": Joy, "spacenav": Spacenav, "twist": Twist}


def check_age(header: Any, clock: RosClock) -> None:
    """See that what a hand does is new.

    Raises:
        MessageError: It is not, or that cannot be told.
    """
    stamp_ns = stamp_ns_of(header)
    if stamp_ns == 0:
        raise MessageError("has no stamp: set it to the time of the message")
    age_s = clock.now_s() - clock.local_s(stamp_ns)
    if not -FUTURE_S <= age_s <= SILENCE_S:
        raise MessageError(
            "is stamped too long ago, or in the future: send it at once, with synchronised clocks"
        )


def _declared(node: Any, prefix: str, kind: type[_Parameters]) -> _Parameters:
    """A configuration from the node's parameters, declared with its defaults.

    Raises:
        InputError: Their values do not fit.
    """
    defaults = msgspec.to_builtins(kind())
    given = {
        name: node.declare_parameter(f"{prefix}.{name}", _plain(value)).value
        for name, value in defaults.items()
    }
    plain = {name: _plain(value) for name, value in given.items()}
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"Parameters {prefix}.*: {explain(error, kind, plain)}") from None


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else list(value)


class Feed:
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
        """Whether the newest is too old."""
        return time.monotonic() - self._heard_s > SILENCE_S


class Presses:
    """Tells which buttons go down. Messages that leave buttons out, as those of a 3D mouse, say nothing of them."""

    def __init__(self) -> None:
        self._down: dict[int, bool] | None = None

    def take(self, buttons: Sequence[int]) -> list[int]:
        """Numbers of the buttons that went down with this message."""
        now = {number: bool(value) for number, value in enumerate(buttons)}
        before = now if self._down is None else self._down  # What is held at the start was not pressed.
        self._down = before | now
        return [number for number, is_down in now.items() if is_down and not before.get(number, False)]


def _last_request(requests: dict[int, GripperRequest], pressed: Sequence[int]) -> GripperRequest | None:
    return next((requests[number] for number in reversed(pressed) if number in requests), None)


def _xyz(vector: Any) -> Array:
    return np.array((vector.x, vector.y, vector.z))
