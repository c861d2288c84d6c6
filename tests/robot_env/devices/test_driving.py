"""From deflections to actions: in the right axes, never too fast, never without a hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from controllers.config import InputError
from robot_env.devices.bindings import Bindings
from robot_env.devices.driving import DriveConfig, ReadingTeleoperator, read_device_config
from robot_env.devices.reading import GripperRequest, Reading
from robot_env.fake import FakeRobot
from robot_env.robot import RobotUnavailableError
from robot_env.task import ActionConfig
from robot_env.teleoperator import Event

ZERO = np.zeros(3)
REST = Reading(ZERO, ZERO)
LAST = np.array([0, 0, 0, 0, 0, 0, 0.3], np.float32)
FRAMES = ("base", "end_effector", "episode_start")

deflections = st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3).map(np.array)
turns = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3).map(Rotation.from_rotvec)


def pushed(linear=ZERO, angular=ZERO, gripper=None, deadman=None):
    return Reading(np.asarray(linear, float), np.asarray(angular, float), gripper, deadman)


class OneReading:
    """Rests once, then says the same for ever."""

    name, hint, problem = "the fake", "wake it up", ""

    def __init__(self, reading):
        self._readings = [REST, reading]

    def read(self):
        return self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]


def action_for(reading, state, start, action, **config):
    driver = ReadingTeleoperator(OneReading(reading), DriveConfig(**config), action)
    driver.restart(start)
    assert driver.get_action(start, LAST) is None
    return driver.get_action(state, LAST)


@given(linear=deflections, angular=deflections, tool=turns, start=turns, frame=st.sampled_from(FRAMES))
@pytest.mark.parametrize("action_frame", ["base", "end_effector"])
def test_deflections_come_out_in_the_axes_of_the_action(
    make_state, linear, angular, tool, start, frame, action_frame
):
    wanted = action_for(
        pushed(linear, angular, GripperRequest.OPEN),
        make_state(quaternion=tool.as_quat()),
        make_state(quaternion=start.as_quat()),
        ActionConfig(translation_m=0.03, rotation_rad=0.2, frame=action_frame),
        frame=frame,
        translation_scale=0.5,
        rotation_scale=0.25,
    )
    in_base = {"base": Rotation.identity(), "end_effector": tool, "episode_start": start}[frame]
    to_action = tool.inv() * in_base if action_frame == "end_effector" else in_base
    shortened = [np.clip(v, -1, 1) / max(1.0, np.linalg.norm(np.clip(v, -1, 1))) for v in (linear, angular)]
    assert_allclose(wanted[:3], 0.5 * to_action.apply(shortened[0]), atol=1e-6)
    assert_allclose(wanted[3:6], 0.25 * to_action.apply(shortened[1]), atol=1e-6)
    assert np.linalg.norm(wanted[:3]) <= 0.5 + 1e-6
    assert wanted[6] == 1.0


@given(linear=deflections, angular=deflections, tool=turns, frame=st.sampled_from(FRAMES))
def test_the_arm_goes_the_same_way_whatever_axes_the_task_has(
    make_env, make_state, linear, angular, tool, frame
):
    """The device's axes decide where the arm goes; those of the action only how it is written down."""
    commands = []
    state = make_state(quaternion=tool.as_quat())
    for action_frame in ("base", "end_effector"):
        config = {"translation_m": 0.03, "rotation_rad": 0.2, "frame": action_frame}
        robot = FakeRobot()
        robot.place(state.ee_position_m, state.ee_quaternion_xyzw)
        env = make_env(robot, action=config)
        env.reset(seed=0)
        action = action_for(
            pushed(linear, angular, GripperRequest.OPEN), state, state, env.task.action, frame=frame
        )
        env.step(action)
        commands.append(robot.sent[-1])
    assert_allclose(commands[0].ee_position_m, commands[1].ee_position_m, atol=1e-7)
    turn = (
        Rotation.from_quat(commands[0].ee_quaternion_xyzw)
        * Rotation.from_quat(commands[1].ee_quaternion_xyzw).inv()
    )
    assert turn.magnitude() < 1e-6


def test_parts_that_the_task_has_not_are_left_out(make_driver, device, make_state):
    driver = make_driver({"rotation_rad": 0.0, "gripper": False})
    device.says = REST
    assert driver.get_action(make_state(), LAST[:3]) is None
    device.says = pushed((1, 0, 0), (1, 0, 0))
    assert_allclose(driver.get_action(make_state(), LAST[:3]), [1, 0, 0])


def test_what_is_held_from_before_moves_nothing(make_driver, device, make_state):
    driver = make_driver()
    for held in (pushed((1, 0, 0), deadman=True), pushed((1, 0, 0))):
        device.says = held
        driver.restart(make_state())
        assert driver.get_action(make_state(), LAST) is None
        assert driver.get_action(make_state(), LAST) is None
        device.says = pushed(deadman=None if held.deadman is None else False)
        assert driver.get_action(make_state(), LAST) is None
        device.says = held
        assert driver.get_action(make_state(), LAST)[0] == 1.0


def test_a_hand_that_rests_lingers_and_then_lets_go(make_driver, device, make_state, stopwatch):
    driver = make_driver(linger_s=0.3)
    device.says = pushed((1, 0, 0))
    assert driver.get_action(make_state(), LAST) is not None
    device.says = REST
    stopwatch.now_s += 0.2
    assert_allclose(driver.get_action(make_state(), LAST), [0, 0, 0, 0, 0, 0, 0.3], atol=1e-6)
    stopwatch.now_s += 0.2
    assert driver.get_action(make_state(), LAST) is None


def test_the_gripper_stays_as_told_and_begins_as_it_was(make_driver, device, make_state, stopwatch):
    driver = make_driver()
    state = make_state()

    def grip(request=None, last=0.3):
        device.says = pushed((0.1, 0, 0), gripper=request)
        return driver.get_action(state, np.array([0, 0, 0, 0, 0, 0, last], np.float32))[6]

    assert grip() == pytest.approx(0.3)
    assert grip(last=-0.9) == pytest.approx(0.3)
    assert [grip(r) for r in (GripperRequest.TOGGLE, None, GripperRequest.TOGGLE)] == [-1, -1, 1]
    assert [grip(r) for r in (GripperRequest.CLOSE, GripperRequest.CLOSE, GripperRequest.OPEN)] == [-1, -1, 1]
    device.says = REST
    stopwatch.now_s += 9.0
    assert driver.get_action(state, LAST) is None
    assert grip(last=-0.9) == pytest.approx(-0.9)


def test_a_device_that_falls_silent_under_a_hand_stops_the_arm(make_driver, device, make_state):
    driver = make_driver()
    assert driver.get_action(make_state(), LAST) is None  # Nobody has it.
    device.says = pushed((1, 0, 0), deadman=False)
    driver.get_action(make_state(), LAST)
    device.says = pushed((1, 0, 0), deadman=True)
    assert driver.get_action(make_state(), LAST) is not None
    device.says = None
    with pytest.raises(RobotUnavailableError, match="the fake is silent while a hand was on it: wake it up"):
        driver.get_action(make_state(), LAST)
    assert driver.get_action(make_state(), LAST) is None
    # Back with the dead man still held: it must be released first.
    device.says = pushed((1, 0, 0), deadman=True)
    assert driver.get_action(make_state(), LAST) is None


def test_a_device_that_is_gone_lets_go(make_driver, device, make_state):
    driver = make_driver()
    device.says = pushed(deadman=False)
    driver.get_action(make_state(), LAST)
    device.says = pushed((1, 0, 0), deadman=True)
    assert driver.get_action(make_state(), LAST) is not None
    device.says = RobotUnavailableError("unplugged")
    with pytest.raises(RobotUnavailableError, match="unplugged"):
        driver.get_action(make_state(), LAST)
    device.says = pushed((1, 0, 0), deadman=True)
    assert driver.get_action(make_state(), LAST) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e9])
@pytest.mark.parametrize("part", ["linear", "angular"])
def test_what_cannot_be_is_refused(make_driver, device, make_state, part, value):
    driver = make_driver()
    nonsense = REST._replace(**{part: np.array([0.0, value, 0.0])})
    device.says = nonsense
    assert driver.get_action(make_state(), LAST) is None
    device.says = pushed((1, 0, 0))
    assert driver.get_action(make_state(), LAST) is not None
    device.says = nonsense
    with pytest.raises(RobotUnavailableError, match="says what cannot be"):
        driver.get_action(make_state(), LAST)


@pytest.mark.parametrize(
    ("action", "shown"),
    [
        ({}, ["w/s", "j", "g", "q"]),
        ({"rotation_rad": 0.0}, ["w/s", "g", "q"]),
        ({"rotation_rad": 0.0, "gripper": False}, ["w/s", "q"]),
    ],
)
def test_only_what_the_task_has_is_explained(make_driver, device, action, shown):
    device.help = Bindings({"w": "+x", "s": "-x", "j": "+yaw", "g": "toggle", "q": "quit"}, "keys").help
    assert list(make_driver(action).help) == shown


def test_the_device_is_opened_heard_and_closed(make_driver, device):
    driver = make_driver()
    driver.connect()
    device.events = [Event.UNDO, Event.QUIT]
    assert driver.get_events() == (Event.UNDO, Event.QUIT)
    assert driver.get_events() == ()
    driver.disconnect()
    assert device.calls == ["open", "close"]


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"translation_scale": 1.5}, r"translation_scale 1.5 must lie in \(0, 1\]"),
        ({"rotation_scale": 0}, "rotation_scale"),
        ({"dead_zone": 1.0}, "dead_zone 1.0"),
        ({"linger_s": math.inf}, "linger_s inf"),
        ({"frame": "moon"}, "moon"),
        ({"speed": 1}, "speed.*known are dead_zone, frame"),
    ],
)
def test_a_configuration_that_cannot_be_meant(config, complaint):
    with pytest.raises(InputError, match=complaint):
        read_device_config(DriveConfig, config)
