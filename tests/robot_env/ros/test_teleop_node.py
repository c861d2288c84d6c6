"""The teleoperation node as a process, between a gamepad and the twin with its controller node."""

import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml

import sim

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SHOULDER, CLOSE, OPEN = 4, 0, 1
TELEOP = ("-m", "robot_env.ros.teleop_node", "--ros-args")
NEAR_M = 0.01


class Gamepad:
    """What joy_node publishes, at 50 Hz, from a thread; silent at first.

    Attributes:
        left, right: The sticks.
        down: Buttons that are down.
        silent: Whether it says nothing.
    """

    def __init__(self, node):
        from sensor_msgs.msg import Joy

        self._publisher = node.create_publisher(Joy, "joy", 10)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self.silent = True
        self.let_go()
        self._thread.start()

    def let_go(self):
        self.left, self.right, self.down = (0.0, 0.0), (0.0, 0.0), ()

    def close(self):
        self._ended.set()
        self._thread.join()

    def _live(self):
        from sensor_msgs.msg import Joy

        while not self._ended.wait(0.02):
            if not self.silent:
                axes = [*self.left, 1.0, *self.right, 1.0, 0.0, 0.0]
                self._publisher.publish(Joy(axes=axes, buttons=[int(n in self.down) for n in range(11)]))


class Bench:
    """What a test sees of the arm, and its hand."""

    def __init__(self, node, wait_until):
        from geometry_msgs.msg import PoseStamped
        from sensor_msgs.msg import JointState

        from robot_env.ros.runtime import Inbox

        self.node, self.wait_until, self.gamepad = node, wait_until, Gamepad(node)
        self.joints = Inbox(node, JointState, "joint_states")
        self._pose = Inbox(node, PoseStamped, "current_pose")
        self._gripper = Inbox(node, JointState, "gripper/joint_states")
        self._commands = Inbox(node, PoseStamped, "controller/target_pose", 1000)

    def pose(self):
        """Position and quaternion now."""
        from robot_env.ros.messages import pose_of

        self._pose.take()
        return pose_of(self.wait_until(self._pose.take)[-1].message, "base")

    def place(self):
        return self.pose()[0]

    def width_m(self):
        self._gripper.take()
        return sum(self.wait_until(self._gripper.take)[-1].message.position)

    def commanded(self):
        """Whether commands came since this was asked last."""
        return bool(self._commands.take())

    def nothing_moves(self, seconds=1.0):
        """Here the passing of time is what is wanted: whether the node says nothing for a while."""
        self.commanded()
        time.sleep(seconds)
        return not self.commanded()

    def rests(self):
        """Wait until nobody commands the arm, and it stands."""
        self.wait_until(lambda: self.nothing_moves(0.3))

        def stands():
            return np.abs(self.wait_until(self.joints.take)[-1].message.velocity).max() < 0.02

        self.wait_until(lambda: all(stands() for _ in range(20)))
        return self.place()

    def grasp(self, **sticks):
        """Press the deadman as the node wants it: it must have seen it released."""
        pad = self.gamepad
        pad.let_go()
        pad.silent = False
        for name, value in sticks.items():
            setattr(pad, name, value)

        def follows():
            pad.down = ()
            time.sleep(0.15)
            pad.down = (SHOULDER,)
            self.commanded()
            time.sleep(0.3)
            return self.commanded()

        self.wait_until(follows)

    def let_go(self):
        self.gamepad.let_go()
        place = self.rests()
        self.gamepad.silent = True
        return place


@pytest.fixture(scope="module")
def patient_arm(twin_description, tmp_path_factory):
    """The twin's description as a file; a test machine may be held up."""
    path = tmp_path_factory.mktemp("arm") / "arm.yaml"
    path.write_text(yaml.safe_dump(msgspec.to_builtins(twin_description)))
    return path


@pytest.fixture(scope="module")
def twin(run_process):
    with run_process(
        "-m",
        "sim.ros.twin_node",
        "--ros-args",
        "-p",
        "cameras:=false",
        "-p",
        "task:=reach",
        ready="is running",
    ) as process:
        yield process


@pytest.fixture(scope="module")
def run_teleop(run_process, patient_arm):
    @contextmanager
    def run(*parameters, ready="is ready", **options):
        given = [word for parameter in (f"arm:={patient_arm}", *parameters) for word in ("-p", parameter)]
        with run_process(*TELEOP, *given, ready=ready, **options) as process:
            yield process

    return run


@pytest.fixture(scope="module")
def bench(twin, wait_until):
    from rclpy.node import Node

    from robot_env.ros.runtime import Runtime

    runtime = Runtime(lambda **kw: Node("bench", **kw))
    bench = Bench(runtime.node, wait_until)
    yield bench
    bench.gamepad.close()
    runtime.close()


@pytest.fixture(scope="module")
def controller(twin, run_process, patient_arm):
    options = ("-p", f"arm:={patient_arm}", "-p", "max_lateness_s:=5.0")
    with run_process(
        "-m", "robot_env.ros.controller_node", "--ros-args", *options, ready="is active"
    ) as process:
        yield process


@pytest.fixture(scope="module")
def words_file(tmp_path_factory):
    return tmp_path_factory.mktemp("teleop") / "words"


@pytest.fixture(scope="module")
def teleop(controller, run_teleop, words_file):
    """The node that listens to the gamepad."""
    with words_file.open("w") as file, run_teleop(stderr=file) as process:
        yield process


@pytest.fixture
def teleop_words(words_file):
    return words_file.read_text


@pytest.fixture
def hand(bench, teleop):
    """The bench with a teleoperation node; let go of before and afterwards."""
    bench.let_go()
    yield bench
    bench.let_go()


@pytest.mark.parametrize(
    ("sticks", "way"),
    [
        ({"left": (0.0, 1.0)}, (1, 0, 0)),
        ({"left": (0.0, -1.0)}, (-1, 0, 0)),
        ({"left": (1.0, 0.0)}, (0, 1, 0)),
        ({"right": (0.0, 1.0)}, (0, 0, 1)),
    ],
)
def test_sticks_move_the_tool_while_the_deadman_is_held(hand, sticks, way):
    start = hand.place()
    hand.grasp(**sticks)
    hand.wait_until(lambda: (hand.place() - start) @ way > 0.03)
    end = hand.let_go()
    aside = (end - start) - (end - start) @ way * np.array(way)
    assert np.linalg.norm(aside) < NEAR_M


def test_a_stick_turns_the_tool(hand):
    from controllers.rotations import error

    place, quaternion = hand.pose()
    hand.grasp(right=(1.0, 0.0))
    hand.wait_until(lambda: error(hand.pose()[1], quaternion)[2] > 0.2)
    assert np.linalg.norm(hand.let_go() - place) < NEAR_M
    turn = error(hand.pose()[1], quaternion)
    assert np.abs(turn[:2]).max() < 0.1


def test_without_the_deadman_nothing_moves(hand):
    start = hand.place()
    hand.gamepad.silent, hand.gamepad.left, hand.gamepad.down = False, (1.0, 1.0), (CLOSE, OPEN)
    assert hand.nothing_moves()
    assert np.linalg.norm(hand.place() - start) < NEAR_M
    hand.grasp(left=(0.0, 1.0))  # It was heard all the same.


def test_a_release_stops_the_arm(hand):
    hand.grasp(left=(0.0, -1.0))
    start = hand.place()
    hand.wait_until(lambda: np.linalg.norm(hand.place() - start) > 0.02)
    hand.gamepad.down = ()
    hand.wait_until(lambda: hand.nothing_moves(0.3))
    hand.rests()
    assert hand.nothing_moves()  # The stick is still pushed.


def test_a_silent_gamepad_stops_the_arm_until_its_deadman_was_released(hand):
    hand.grasp(left=(0.0, 1.0))
    hand.gamepad.silent = True
    place = hand.rests()
    hand.gamepad.silent = False  # Back, and pushed as before.
    assert hand.nothing_moves()
    assert np.linalg.norm(hand.place() - place) < NEAR_M
    hand.grasp(left=(0.0, -1.0))


def test_buttons_move_the_gripper_and_it_stays_when_the_arm_is_let_go(hand):
    for button, is_there in ((CLOSE, lambda: hand.width_m() < 0.01), (OPEN, lambda: hand.width_m() > 0.07)):
        hand.grasp()
        hand.gamepad.down = (SHOULDER, button)
        hand.wait_until(is_there)
        hand.let_go()
        assert is_there()


def test_an_emergency_stop_is_said_once_and_afterwards_the_deadman_must_be_released(hand, teleop_words):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import Bool
    from std_srvs.srv import Trigger

    from robot_env.ros.services import Service

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = hand.node.create_publisher(Bool, "e_stop", latched)
    hand.grasp(left=(0.0, 1.0))
    publisher.publish(Bool(data=True))

    def said():
        return teleop_words().count("The controller node is in state e_stop")

    hand.wait_until(said)
    time.sleep(2.5)  # It tries again every second.
    assert said() == 1
    publisher.publish(Bool(data=False))
    reset = Service(hand.node, Trigger, "controller/reset_e_stop")
    hand.wait_until(lambda: not reset.call())
    place = hand.rests()
    assert hand.nothing_moves(2.5)  # Long enough to notice that the robot is back.
    assert np.linalg.norm(hand.place() - place) < NEAR_M
    hand.grasp(left=(0.0, -1.0))
    assert said() == 1


@contextmanager
def repeating(act):
    """Call `act` at 50 Hz meanwhile."""
    ended = threading.Event()

    def live():
        while not ended.wait(0.02):
            act()

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def going_ahead(bench, wait_until):
    """Somebody publishes a velocity of 10 cm/s along x, meanwhile."""
    from geometry_msgs.msg import TwistStamped

    from robot_env.ros.messages import twist_stamped

    publisher = bench.node.create_publisher(TwistStamped, "teleop/twist", 1)
    ahead, still = np.array((0.1, 0.0, 0.0)), np.zeros(3)

    def say():
        publisher.publish(twist_stamped(time.time_ns(), "base", ahead, still))

    return lambda: repeating(say)


def test_velocities_of_any_source_move_it_no_farther_than_the_task_allows(
    bench, controller, run_teleop, going_ahead
):
    task = Path(sim.__file__).parent / "conf/task/reach.yaml"
    edge_m = 0.65
    with run_teleop("device:=twist", f"task:={task}"):
        with going_ahead():
            bench.wait_until(lambda: bench.place()[0] > edge_m - 0.02)
            assert not bench.nothing_moves(0.5)
        assert edge_m - 0.02 < bench.rests()[0] < edge_m + NEAR_M


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_the_arm_rests(bench, controller, run_teleop, going_ahead, number):
    with run_teleop("device:=twist") as process, going_ahead():
        bench.wait_until(bench.commanded)
        process.send_signal(number)
        assert process.wait(20) == 0
        bench.rests()


def test_a_signal_ends_it_while_there_is_no_robot(run_process, tmp_path, wait_until):
    words = tmp_path / "words"
    with (
        words.open("w") as file,
        run_process(*TELEOP, "-r", "__ns:=/nowhere", stderr=file) as process,
    ):
        wait_until(lambda: "No JointState has come on /nowhere/joint_states" in words.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert "Traceback" not in words.read_text()


@pytest.mark.parametrize(
    ("parameter", "complaint"),
    [
        ("device:=keyboard", "There is no device 'keyboard' to drive by; choose from joy, spacenav, twist"),
        ("task:=/nowhere.yaml", "Task file /nowhere.yaml cannot be read"),
        ("rate_hz:=1", "Parameter rate_hz is 1, but must be a number from 5 to 100"),
        (
            "linear_speed_m_s:=3.0",
            "Parameter linear_speed_m_s is 3.0, but must be a number from 0.001 to 0.6",
        ),
        ("joy.axes:=[0.5]", "A parameter of device 'joy' cannot be used"),
        ("device:=3", "The ROS arguments"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_one_sentence_and_exit_2(run_process, capfd, parameter, complaint):
    with run_process(*TELEOP, "-p", parameter) as process:
        assert process.wait(60) == 2
    said = capfd.readouterr().err
    assert complaint in said
    assert "Traceback" not in said
