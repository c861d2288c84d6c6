"""Hands behind ROS 2 drive the twin in this process: real publishers, real nodes, the whole way to an action."""

import itertools
import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from controllers.config import InputError
from controllers.kinematics import Kinematics, KinematicsConfig
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import Event
from sim.registration import make_env

pytestmark = pytest.mark.ros

SHOULDER, START = 4, 7
JOINTS = tuple(f"joint{number}" for number in range(1, 8))
ARM = {"model": "sim:models/world.xml", "site": "tool_centre_point"}


@pytest.fixture(scope="module")
def env():
    # With rotation and gripper, unlike `reach` itself.
    from msgspec.structs import replace

    from sim.registration import load

    task = load("reach")
    action = replace(task.action, rotation_rad=0.2, gripper=True)
    env = make_env(replace(task, action=action))
    env.reset(seed=0)
    return env


@pytest.fixture
def patient(monkeypatch):
    """A test machine may be held up for longer than a device may be silent."""
    monkeypatch.setattr("robot_env.ros.teleop_devices.SILENCE_S", 20.0)


@pytest.fixture
def connect(env):
    """A teleoperator by its factory, connected; all are closed."""
    made = []

    def make(name, **config):
        import robot_env.ros.teleoperators as factories

        teleoperator = getattr(factories, f"make_{name}")(env, config)
        teleoperator.connect()
        teleoperator.restart(env.state)
        made.append(teleoperator)
        return teleoperator

    yield make
    for teleoperator in made:
        teleoperator.disconnect()
        teleoperator.disconnect()


@pytest.fixture
def say(runtime, wait_until):
    """Publish until what is looked for comes about."""
    publishers = {}

    def publish(topic, message):
        key = (topic, type(message))
        if key not in publishers:
            publishers[key] = runtime.node.create_publisher(type(message), topic, 10)
            wait_until(publishers[key].get_subscription_count)
        publishers[key].publish(message)

    return publish


@pytest.fixture
def drive(env, say, wait_until):
    """What a teleoperator wants, once it wants something, while these messages are said."""

    def until(teleoperator, messages, condition=lambda action: action is not None):
        last = env.action_at_rest(env.state)

        def wanted():
            for topic, message in messages().items():
                say(topic, message)
            time.sleep(0.005)
            action = teleoperator.get_action(env.state, last)
            return (action,) if condition(action) else None

        return wait_until(wanted)[0]

    return until


def is_off(action):
    return action is None


@pytest.fixture
def let_go(drive):
    """See that the device has heard of a hand that holds nothing: it says so by pressing START now and then."""

    def until_heard(teleoperator, messages):
        presses = itertools.cycle(((), (START,)))
        drive(teleoperator, lambda: messages(next(presses)), lambda _: teleoperator.get_events())

    return until_heard


def joy(axes=(0.0,) * 8, down=()):
    from sensor_msgs.msg import Joy

    return {"joy": Joy(axes=[float(a) for a in axes], buttons=[int(n in down) for n in range(11)])}


def twist(linear, angular=(0, 0, 0), frame="base"):
    from robot_env.ros.messages import twist_stamped

    return {
        "teleop/twist": twist_stamped(
            time.time_ns(), frame, np.array(linear, float), np.array(angular, float)
        )
    }


def pose(position, turn=None, down=(), frame="room"):
    from robot_env.ros.messages import pose_stamped

    quaternion = (turn or Rotation.identity()).as_quat()
    return {
        "hand_pose": pose_stamped(time.time_ns(), frame, np.array(position, float), quaternion),
        **joy(down=down),
    }


def leader(joints, grip=None):
    from robot_env.ros.messages import joint_state

    names, values = list(JOINTS), list(joints)
    if grip is not None:
        names, values = [*names, "grip"], [*values, grip]
    return {"leader/joint_states": joint_state(time.time_ns(), names, values)}


def test_a_gamepad_drives_with_its_dead_man_and_judges(patient, connect, drive, let_go):
    teleoperator = connect("joy", events={START: "success"}, translation_scale=0.5)
    let_go(teleoperator, lambda down: joy(down=down))
    drive(teleoperator, joy, is_off)
    action = drive(teleoperator, lambda: joy((0, 1, 0, 0, 0, 0, 0, 0), (SHOULDER, START)))
    np.testing.assert_allclose(action[:6], [0.5, 0, 0, 0, 0, 0], atol=1e-6)
    assert set(teleoperator.get_events()) == {Event.SUCCESS}
    assert teleoperator.help == {"button 7": "success"}


def test_a_gamepad_that_falls_silent_under_a_hand_stops_the_arm(connect, drive, let_go, env, wait_until):
    teleoperator = connect("joy", events={START: "success"})

    def falls_silent():
        let_go(teleoperator, lambda down: joy(down=down))
        drive(teleoperator, lambda: joy((0, 1, 0, 0, 0, 0, 0, 0), (SHOULDER,)))
        while teleoperator.get_action(env.state, env.action_at_rest(env.state)) is not None:
            time.sleep(0.01)

    with pytest.raises(
        RobotUnavailableError, match=r"the gamepad is silent while a hand was on it: start `ros2 run"
    ):
        falls_silent()
    assert teleoperator.get_action(env.state, env.action_at_rest(env.state)) is None


def test_a_3d_mouse_drives_while_it_is_moved(patient, connect, drive):
    from geometry_msgs.msg import Twist

    teleoperator = connect("spacenav")
    drive(teleoperator, lambda: {"spacenav/twist": Twist()}, is_off)
    message = Twist()
    message.linear.z = 1.0
    np.testing.assert_allclose(
        drive(teleoperator, lambda: {"spacenav/twist": message})[:6], [0, 0, 1, 0, 0, 0], atol=1e-6
    )


def test_velocities_mean_what_they_say(patient, connect, drive, env):
    teleoperator = connect("twist", translation_scale=0.5)
    drive(teleoperator, lambda: twist((0, 0, 0)), is_off)
    wanted_m_s = 0.5 * 0.5 * env.task.action.translation_m * env.task.control_rate_hz
    action = drive(teleoperator, lambda: twist((wanted_m_s, 0, 0), (0, 0, 1.0)))
    np.testing.assert_allclose(
        action[0] * env.task.action.translation_m * env.task.control_rate_hz, wanted_m_s
    )
    np.testing.assert_allclose(action[5] * env.task.action.rotation_rad * env.task.control_rate_hz, 1.0)


def test_of_a_device_that_says_nothing_it_is_said_what_to_start(patient, connect, drive, env):
    teleoperator = connect("joy")
    assert teleoperator.get_action(env.state, env.action_at_rest(env.state)) is None
    assert teleoperator.notice == "Nothing comes from the gamepad: start `ros2 run joy joy_node`."
    drive(teleoperator, joy, lambda _: teleoperator.notice == "")


def test_a_velocity_in_another_frame_is_named(patient, connect, drive, wait_until):
    teleoperator = connect("twist", frame_id="base")
    drive(teleoperator, lambda: twist((1, 0, 0), frame="camera"), lambda _: "'camera'" in teleoperator.notice)


def test_a_tracked_hand_drives_from_where_its_clutch_was_pressed(patient, connect, drive, let_go):
    teleoperator = connect("pose", buttons={0: "deadman", 1: "close", START: "success"})
    let_go(teleoperator, lambda down: pose((5, 5, 5), down=down))
    at_rest = drive(teleoperator, lambda: pose((5, 5, 5), down=(0,)))
    np.testing.assert_allclose(at_rest[:6], 0.0, atol=1e-6)
    turn = Rotation.from_rotvec([0, 0, 0.1])
    action = drive(
        teleoperator,
        lambda: pose((5.015, 5, 5), turn, down=(0, 1)),
        lambda action: action is not None and action[0] > 0 and action[6] < 0,
    )
    np.testing.assert_allclose(action[:7], [0.5, 0, 0, 0, 0, 0.5, -1.0], atol=1e-5)
    drive(teleoperator, lambda: pose((5.015, 5, 5)), is_off)


def test_a_leader_arm_leads_where_it_is_once_it_is_where_the_arm_is(patient, connect, drive, env):
    gripper = {"joint": "grip", "closed_rad": 0.0, "open_rad": 1.0}
    teleoperator = connect("leader", mode="absolute", joint_names=JOINTS, kinematics=ARM, gripper=gripper)
    here = env.state.joint_position_rad
    far = here + np.array([0.3, 0, 0, 0, 0, 0, 0])
    drive(teleoperator, lambda: leader(far, 0.5), lambda _: "bring it there first" in teleoperator.notice)
    steps = iter(np.linspace(0.3, 0.0, 40))
    drive(
        teleoperator,
        lambda: leader(here + np.eye(7)[0] * next(steps, 0.0), 0.5),
        lambda _: teleoperator.notice == "",
    )
    small = here + np.array([0.02, 0, 0, 0, 0, 0, 0])
    goal, _ = Kinematics(KinematicsConfig(**ARM), JOINTS).pose(small)
    action = drive(
        teleoperator,
        lambda: leader(small, 0.25),
        lambda action: action is not None and abs(action[6] + 0.5) < 1e-6,
    )
    way = env.task.action.translation_m * action[:3]
    np.testing.assert_allclose(env.state.ee_position_m + way, goal, atol=1e-4)


def test_a_leader_of_other_joints_is_named(patient, connect, drive):
    from robot_env.ros.messages import joint_state

    teleoperator = connect("leader", joint_names=JOINTS, kinematics=ARM)
    message = joint_state(time.time_ns(), ["joint1"], [0.0])
    drive(
        teleoperator,
        lambda: {"leader/joint_states": message},
        lambda _: "lacks the joints" in teleoperator.notice,
    )


@pytest.mark.parametrize(
    ("name", "config", "complaint"),
    [
        ("joy", {"joy": {"axes": [1]}}, "joy.axes"),
        ("joy", {"events": {1: "jump"}}, "binds 1 to 'jump'"),
        ("twist", {"speed": 1}, "speed"),
        ("pose", {"mode": "mirror"}, "mirror"),
        ("leader", {"joint_names": JOINTS}, "none of model and dh"),
        ("leader", {"joint_names": ["a"], "kinematics": ARM}, "joint_names are"),
        ("leader", {"gripper": {"joint": "g", "closed_rad": 1, "open_rad": 1}}, "must be finite and differ"),
    ],
)
def test_a_configuration_that_cannot_be_meant(env, name, config, complaint):
    import robot_env.ros.teleoperators as factories

    with pytest.raises(InputError, match=complaint):
        getattr(factories, f"make_{name}")(env, config)
