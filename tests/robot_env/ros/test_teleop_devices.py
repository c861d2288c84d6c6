"""Devices in a person's hands, by the messages that their drivers send."""

import math
import time

import numpy as np
import pytest

from controllers.config import InputError
from robot_env.devices.reading import GripperRequest

pytestmark = pytest.mark.ros

CLOSE, OPEN, TOGGLE = GripperRequest.CLOSE, GripperRequest.OPEN, GripperRequest.TOGGLE
A, B, X, SHOULDER = 0, 1, 2, 4


def buttons(*down, number=11):
    return [int(index in down) for index in range(number)]


def joy(axes=(0.0,) * 8, down=(), number=11):
    from sensor_msgs.msg import Joy

    return Joy(axes=[float(a) for a in axes], buttons=buttons(*down, number=number))


def gamepad(left=(0.0, 0.0), right=(0.0, 0.0), down=()):
    """Sticks as joy_node numbers those of an Xbox gamepad; triggers rest at 1."""
    return joy((*left, 1.0, *right, 1.0, 0.0, 0.0), down)


def twist(linear=(0.0, 0.0, 0.0), angular=(0.0, 0.0, 0.0), frame="base", stamp_ns=None):
    from robot_env.ros.messages import twist_stamped

    stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
    return twist_stamped(stamp_ns, frame, np.array(linear), np.array(angular))


@pytest.fixture
def setting():
    from robot_env.ros.ros_clock import WallRosClock
    from robot_env.ros.teleop_devices import Setting

    return Setting(0.1, 0.5, "base", WallRosClock())


@pytest.fixture
def patient(monkeypatch):
    """A test machine may be held up for longer than a device may be silent."""
    monkeypatch.setattr("robot_env.ros.teleop_devices.SILENCE_S", 20.0)


@pytest.fixture
def runtimes():
    """Nodes named `teleop`; the last is used."""
    runtimes = []
    yield runtimes
    for runtime in runtimes:
        runtime.close()


@pytest.fixture
def make(runtimes, setting):
    """A device with these parameters."""
    from rclpy.node import Node

    from robot_env.ros.runtime import Runtime
    from robot_env.ros.teleop_devices import DEVICES

    def make(name, **parameters):
        given = [word for key, value in parameters.items() for word in ("-p", f"{name}.{key}:={value}")]
        runtimes.append(Runtime(lambda **kw: Node("teleop", **kw), ["--ros-args", *given]))
        return DEVICES[name](runtimes[-1].node, setting)

    return make


@pytest.fixture
def driver(runtimes, wait_until):
    """Publishes, from the device's own node: what another one says first may get lost."""
    publishers = {}

    def say(topic, *messages):
        if topic not in publishers:
            publishers[topic] = runtimes[-1].node.create_publisher(type(messages[0]), topic, 50)
            wait_until(publishers[topic].get_subscription_count)
        for message in messages:
            publishers[topic].publish(message)

    return say


@pytest.fixture
def heard(driver, wait_until):
    """What a device reads after these messages."""

    def heard(device, topic, *messages):
        driver(topic, *messages)
        return wait_until(device.read)

    return heard


# --- gamepad ---


@pytest.mark.parametrize(
    ("message", "linear", "angular"),
    [
        ({"left": (0.0, 1.0)}, (1, 0, 0), (0, 0, 0)),
        ({"left": (1.0, 0.0)}, (0, 1, 0), (0, 0, 0)),
        ({"right": (0.0, 1.0)}, (0, 0, 1), (0, 0, 0)),
        ({"right": (-0.5, 0.0)}, (0, 0, 0), (0, 0, -0.5)),
    ],
)
def test_sticks_move_along_and_about_their_axes(patient, make, heard, message, linear, angular):
    reading = heard(make("joy"), "joy", gamepad(**message, down=[SHOULDER]))
    assert reading.linear == pytest.approx(linear)
    assert reading.angular == pytest.approx(angular)
    assert reading.deadman is True
    assert reading.gripper is None


def test_the_shoulder_button_is_the_deadman(patient, make, heard):
    assert heard(make("joy"), "joy", gamepad(left=(1.0, 1.0), down=[A, B, X])).deadman is False


def read_until(device, wait_until, condition):
    def found():
        reading = device.read()
        return reading is not None and condition(reading) and reading

    return wait_until(found)


def test_a_button_counts_once_when_it_goes_down(patient, make, heard, driver, wait_until):
    device = make("joy")
    assert heard(device, "joy", gamepad(down=[A])).gripper is None  # Held from the start.
    driver("joy", gamepad(), gamepad(down=[B]))
    assert read_until(device, wait_until, lambda r: r.gripper is not None).gripper is OPEN
    driver("joy", gamepad(down=[B]), gamepad(left=(1.0, 0.0), down=[B]))
    assert read_until(device, wait_until, lambda r: r.linear[1] == 1.0).gripper is None


def test_a_press_between_two_readings_is_not_lost(patient, make, heard, driver, wait_until):
    device = make("joy")
    heard(device, "joy", gamepad())
    driver("joy", gamepad(down=[A]), gamepad(), gamepad(left=(1.0, 0.0)))
    seen = []
    read_until(device, wait_until, lambda r: seen.append(r.gripper) or r.linear[1] == 1.0)
    assert [request for request in seen if request] == [CLOSE]


def test_another_gamepad_is_a_matter_of_parameters(patient, make, heard, driver, wait_until):
    device = make(
        "joy",
        axes=[0, 1, 2, 3, 4, 5],
        signs=[-1.0, 1.0, 1.0, 1.0, 1.0, -1.0],
        deadman_button=7,
        toggle_button=X,
    )
    reading = heard(device, "joy", joy((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), [7]))
    assert reading.linear == pytest.approx((-0.1, 0.2, 0.3))
    assert reading.angular == pytest.approx((0.4, 0.5, -0.6))
    assert reading.deadman is True
    driver("joy", joy((0.0,) * 6, [7, X]))
    assert read_until(device, wait_until, lambda r: r.gripper is not None).gripper is TOGGLE


def test_a_gamepad_with_other_axes_is_named_and_moves_nothing(patient, make, driver, wait_until):
    device = make("joy")
    driver("joy", joy((1.0, 1.0), [0, 1], number=2))
    wait_until(lambda: device.read() or device.problem)
    assert device.read() is None
    assert device.problem.startswith("/joy has 2 axes and 2 buttons, but axes [1, 0, 4, -1, -1, 3]")


@pytest.mark.parametrize(
    "wrong", [{"axes": [0, 1]}, {"axes": [0, 1, 2, 3, 4, -2]}, {"signs": [0.5] * 6}, {"signs": [1.0]}]
)
def test_axes_that_cannot_be_meant_are_refused(make, wrong):
    with pytest.raises(InputError, match=rf"joy\.{next(iter(wrong))} .*must be six"):
        make("joy", **wrong)


def test_a_gamepad_that_says_nothing_more_is_silent(make, driver, wait_until):
    device = make("joy")
    assert device.read() is None
    wait_until(lambda: driver("joy", gamepad(down=[SHOULDER])) or device.read())
    wait_until(lambda: device.read() is None)
    # And speaks again.
    wait_until(lambda: driver("joy", gamepad(down=[SHOULDER])) or device.read())


def test_a_message_that_waited_is_as_old_as_it_is(make, driver):
    device = make("joy")
    driver("joy", gamepad(down=[SHOULDER]))
    time.sleep(1.0)  # The control loop is held up.
    assert device.read() is None


# --- 3D mouse ---


def test_a_3d_mouse_moves_in_six_directions_and_has_no_deadman(patient, make, heard):
    from geometry_msgs.msg import Twist, Vector3

    message = Twist(linear=Vector3(x=0.1, y=0.2, z=0.3), angular=Vector3(x=0.4, y=0.5, z=0.6))
    reading = heard(make("spacenav"), "spacenav/twist", message)
    assert reading.linear == pytest.approx((0.1, 0.2, 0.3))
    assert reading.angular == pytest.approx((0.4, 0.5, 0.6))
    assert reading.deadman is None


@pytest.mark.parametrize(("number", "request_"), [(0, CLOSE), (1, OPEN)])
def test_buttons_of_a_3d_mouse_are_in_one_message_of_many(
    patient, make, heard, driver, wait_until, number, request_
):
    from geometry_msgs.msg import Twist
    from sensor_msgs.msg import Joy

    device = make("spacenav")
    heard(device, "spacenav/twist", Twist())
    several = [Joy(axes=[0.0] * 6)] * 20
    driver(
        "spacenav/joy", *several, Joy(axes=[0.0] * 6, buttons=buttons(number, number=number + 1)), *several
    )
    assert read_until(device, wait_until, lambda r: r.gripper is not None).gripper is request_
    # Its driver says nothing of a button that is down, and once that it is up.
    driver("spacenav/joy", *several, Joy(axes=[0.0] * 6, buttons=[0] * (number + 1)), *several)
    driver("spacenav/joy", Joy(axes=[0.0] * 6, buttons=buttons(number, number=number + 1)))
    assert read_until(device, wait_until, lambda r: r.gripper is not None).gripper is request_


# --- any other source ---


def test_velocities_are_parts_of_the_speeds_of_a_full_deflection(patient, make, heard):
    reading = heard(make("twist"), "teleop/twist", twist((0.05, -0.1, 0.0), (0.0, 0.25, 0.5)))
    assert reading.linear == pytest.approx((0.5, -1.0, 0.0))
    assert reading.angular == pytest.approx((0.0, 0.5, 1.0))
    assert reading.deadman is None


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"frame": "camera"}, "is in frame 'camera', but 'base' is expected"),
        ({"stamp_ns": 0}, "has no stamp"),
        ({"stamp_ns": 10**18}, "is stamped too long ago, or in the future"),
        ({"stamp_ns": 2 * 10**18}, "is stamped too long ago, or in the future"),
    ],
)
def test_a_velocity_that_cannot_be_believed_is_named_and_moves_nothing(
    patient, make, driver, wait_until, message, problem
):
    device = make("twist")
    driver("teleop/twist", twist((0.1, 0.0, 0.0), **message))
    wait_until(lambda: device.read() or device.problem)
    assert device.read() is None
    assert device.problem.startswith(f"/teleop/twist {problem}")
    driver("teleop/twist", twist((0.1, 0.0, 0.0)))
    wait_until(device.read)
    assert device.problem == ""


def test_what_is_not_finite_is_passed_on_to_be_refused(patient, make, heard):
    assert np.isnan(heard(make("twist"), "teleop/twist", twist((math.nan, 0.0, 0.0))).linear[0])
