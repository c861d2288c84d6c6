"""The controller node as a process, between commanders and an arm that know nothing of our code."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml

import robot_env

pytestmark = pytest.mark.ros

JOINTS = [f"joint{number}" for number in range(1, 8)]
FINGERS = ["finger_joint1", "finger_joint2"]
HOME_RAD = [0.0, 0.15, 0.0, -2.35, 0.0, 2.5, 0.785398]
HOME_M = np.array([0.5, 0.0, 0.3])
THERE_M = np.array([0.5, 0.2, 0.3])
DOWN = (1.0, 0.0, 0.0, 0.0)
# A controller listens for up to 15 s before it is active, and starts slowly on a busy machine.
PATIENCE_S = 90.0
STATE_AGE_S = 1.5
# A commander that was silent for longer may be replaced.
QUIET_S = 0.7
# Messages that were sent before have come by then.
ON_ITS_WAY_S = 0.5
MOVING_M_S = 0.03


@pytest.fixture(scope="module")
def wait_until(wait_until):
    """Wait for what the second argument says."""
    return lambda condition, what: wait_until(condition, PATIENCE_S, what)


class Node:
    """A node of plain rclpy, spun by a thread of its own."""

    def __init__(self, name):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def close(self):
        import rclpy

        self.executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def _spin(self):
        from rclpy.executors import ExternalShutdownException, ShutdownException

        with contextlib.suppress(ExternalShutdownException, ShutdownException):
            self.executor.spin()


def set_stamp(message, stamp_ns):
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return message


def stamp_s(message):
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


def pose_message(position, stamp_ns, quaternion=DOWN, frame="base"):
    from geometry_msgs.msg import PoseStamped

    message = set_stamp(PoseStamped(), stamp_ns)
    message.header.frame_id = frame
    point, turn = message.pose.position, message.pose.orientation
    point.x, point.y, point.z = (float(number) for number in position)
    turn.x, turn.y, turn.z, turn.w = quaternion
    return message


class FakeArm(Node):
    """Somebody's driver: publishes the state at 200 Hz and follows targets with a lag.

    Attributes:
        lies: By topic: changes a message before it is published; returns False to keep it back.
        history: Stamp, position and speed of the tool at every tick.
        told, told_joints, told_gripper: Commands as they came.
        heard: Stamps of the commands to the controller.
    """

    def __init__(self):
        from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
        from sensor_msgs.msg import JointState

        super().__init__("somebodys_driver")
        kinds = {
            "joint_states": JointState, "current_pose": PoseStamped, "current_twist": TwistStamped,
            "wrench": WrenchStamped, "gripper/joint_states": JointState,
        }  # fmt: skip
        self.kinds = kinds
        self.publishers = {
            topic: self.node.create_publisher(kind, topic, 10) for topic, kind in kinds.items()
        }
        self.stamp_ns = time.time_ns
        self.place(HOME_M)

        def listen(kind, topic, act):
            self.node.create_subscription(kind, topic, act, 10)

        listen(PoseStamped, "target_pose", self._follow)
        listen(JointState, "target_joint", self._follow_joints)
        listen(JointState, "gripper/target", lambda m: self.told_gripper.append(m))
        listen(PoseStamped, "controller/target_pose", lambda m: self.heard.append(stamp_s(m)))
        self.node.create_timer(0.005, self._tick)

    def place(self, position):
        self.lies, self.history, self.told, self.told_joints, self.told_gripper, self.heard = (
            {},
            [],
            [],
            [],
            [],
            [],
        )
        self.position, self.joints = np.array(position), np.array(HOME_RAD)
        self._target, self._joint_target = self.position, self.joints
        self._ticked_s = time.monotonic()

    def _follow(self, message):
        self.told.append(message)
        point = message.pose.position
        self._target = np.array([point.x, point.y, point.z])

    def _follow_joints(self, message):
        self.told_joints.append(message)
        self._joint_target = np.array(message.position)

    def _tick(self):
        now_s = time.monotonic()
        period_s, self._ticked_s = now_s - self._ticked_s, now_s
        part = 1.0 - math.exp(-period_s / 0.045)
        step, joint_step = part * (self._target - self.position), part * (self._joint_target - self.joints)
        self.position, self.joints = self.position + step, self.joints + joint_step
        velocity, stamp_ns = step / period_s, self.stamp_ns()
        self.history.append((1e-9 * stamp_ns, self.position, float(np.linalg.norm(velocity))))
        messages = {topic: set_stamp(kind(), stamp_ns) for topic, kind in self.kinds.items()}
        messages["current_pose"] = pose_message(self.position, stamp_ns)
        linear = messages["current_twist"].twist.linear
        linear.x, linear.y, linear.z = velocity.tolist()
        for topic in ("current_twist", "wrench"):
            messages[topic].header.frame_id = "base"
        joints, fingers = messages["joint_states"], messages["gripper/joint_states"]
        joints.name, joints.position = JOINTS, self.joints.tolist()
        joints.velocity, joints.effort = (joint_step / period_s).tolist(), [0.0] * 7
        fingers.name, fingers.position = FINGERS, [0.02, 0.02]
        for topic, message in messages.items():
            if topic not in self.lies or self.lies[topic](message) is not False:
                self.publishers[topic].publish(message)

    def rest_s(self, since_s):
        """When the tool last moved, counted from a stamp."""
        return max(
            [at_s - since_s for at_s, _, speed in list(self.history) if speed > MOVING_M_S], default=-1.0
        )

    def way_m(self, since=0):
        """The longest way from where it was at an entry of the history."""
        positions = np.array([position for _, position, _ in list(self.history)[since:]])
        return float(np.linalg.norm(positions - positions[0], axis=1).max())


class Controller:
    """The process."""

    def __init__(self, wait_until, folder, *parameters, remap=()):
        self._wait_until = wait_until
        self.log = Path(folder) / f"controller_{time.monotonic_ns()}.log"
        arguments = [
            *(part for p in parameters for part in ("-p", p)),
            *(part for r in remap for part in ("-r", r)),
        ]
        command = [sys.executable, "-m", "robot_env.ros.controller_node", "--ros-args", *arguments]
        path = os.pathsep.join([str(folder), str(Path(robot_env.__file__).parents[1])])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": path}
            )

    def said(self):
        return self.log.read_text()

    def wait(self, what="is active"):
        def found():
            assert self.process.poll() is None, self.said()
            return what in self.said()

        try:
            self._wait_until(found, f"the controller says {what!r}")
        except AssertionError as error:
            error.add_note(f"It said:\n{self.said()}")
            raise
        return self

    def end(self, number=signal.SIGTERM):
        """Its exit status."""
        self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()


class Human(Node):
    """Watches the controller and calls its services."""

    def __init__(self, wait_until, name="controller"):
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
        from lifecycle_msgs.srv import ChangeState, GetState
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from std_msgs.msg import Bool
        from std_srvs.srv import SetBool, Trigger

        super().__init__("human")
        self._wait_until = wait_until
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.status, self.states, self.arrays = None, [], []
        self.node.create_subscription(DiagnosticStatus, f"{name}/status", self._hear, latched)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.arrays.append, 10)
        self.button = self.node.create_publisher(Bool, "e_stop", latched)
        kinds = dict.fromkeys(("stop", "recover", "reset_e_stop", "zero_ftsensor"), Trigger)
        kinds |= {"enable": SetBool, "change_state": ChangeState, "get_state": GetState}
        self._clients = {kind: self.node.create_client(srv, f"{name}/{kind}") for kind, srv in kinds.items()}
        self._kinds = kinds

    def _hear(self, status):
        self.status = status
        if not self.states or self.states[-1] != self.state:
            self.states.append(self.state)

    @property
    def values(self):
        return {} if self.status is None else {value.key: value.value for value in self.status.values}

    @property
    def state(self):
        return self.values.get("state", "")

    def hits(self, name):
        return int(self.values.get(f"hit.{name}", 0))

    def call(self, name, **fields):
        client = self._clients[name]
        self._wait_until(client.service_is_ready, f"the service {name} is there")
        future = client.call_async(self._kinds[name].Request(**fields))
        self._wait_until(future.done, f"the service {name} answers")
        return future.result()

    def change(self, label):
        from lifecycle_msgs.msg import Transition

        return self.call("change_state", transition=Transition(label=label)).success

    def press(self, pressed):
        from std_msgs.msg import Bool

        self.button.publish(Bool(data=pressed))

    def wait_state(self, state):
        self._wait_until(lambda: self.state == state, f"the state is {state}; it is {self.state}")

    def insist(self, name, **fields):
        """Call until it works: what is in the way goes by itself."""
        self._wait_until(lambda: self.call(name, **fields).success, f"{name} works")


class Commander(Node):
    """Sends what `make` gives, at 50 Hz, while the block lasts.

    Args:
        make: Function of the stamp of now in ns; may be changed at any time.
        topic: Below the controller's.
    """

    def __init__(self, make, topic="target_pose"):
        super().__init__("commander")
        kind = type(make(time.time_ns()))
        self.make = make
        self.publisher = self.node.create_publisher(kind, f"controller/{topic}", 1)
        self.sent = []

    def _send(self):
        if self.publisher.get_subscription_count():
            message = self.make(time.time_ns())
            self.publisher.publish(message)
            self.sent.append(stamp_s(message))

    def __enter__(self):
        self.node.create_timer(0.02, self._send)
        return self.start()

    def __exit__(self, *_):
        self.close()


def lead(goal=THERE_M, **changes):
    """Commands for a target that goes to a goal."""
    return lambda stamp_ns: pose_message(goal, stamp_ns, **changes)


def joint_message(positions, stamp_ns, names=JOINTS):
    from sensor_msgs.msg import JointState

    return set_stamp(JointState(name=list(names), position=[float(p) for p in positions]), stamp_ns)


INTERFACES = """
from controllers.braking import StopBy
from robot_env.ros.interfaces.crisp import Crisp


class Stiff(Crisp):
    def __init__(self, node, description, config):
        super().__init__(node, description, config)
        self.stop_by = StopBy.TARGET


class Broken:
    def __init__(self, node, description, config):
        self._error = config["error"]

    def send(self, command, state, stamp_ns):
        raise {"ordinary": OSError, "fatal": SystemExit}[self._error]("the wire is cut")

    def release(self):
        print("released", flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controller")
    (folder / "interfaces_of_tests.py").write_text(INTERFACES)
    return folder


@pytest.fixture(scope="module")
def patient(folder):
    """The twin's YAML for a test machine that is held up now and then."""
    from robot_env.ros.description import load_description

    twin = msgspec.to_builtins(load_description("twin"))
    for part in ("joint_states", "pose", "twist", "wrench"):
        twin["state"][part]["max_age_s"] = STATE_AGE_S
    twin["interface"] = {"type": "interfaces_of_tests.Stiff", "config": {}}
    twin["gripper"]["max_age_s"] = twin["safety"]["max_state_age_s"] = STATE_AGE_S

    def write(name="patient", **changes):
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**twin, **changes}))
        return f"arm:={path}"

    return write


@pytest.fixture(scope="module")
def world(wait_until, folder, patient):
    """An arm, a human and the controller, which tests may start anew."""

    class World:
        arm, human = FakeArm().start(), Human(wait_until).start()

        def start(self, *parameters):
            self.controller = Controller(wait_until, folder, patient(), "max_lateness_s:=5.0", *parameters)

        def reset(self):
            """All is well, nobody commands, and the arm is held at home."""
            human, arm = self.human, self.arm
            human.press(False)
            if human.state == "inactive":  # As a test that failed may have left it.
                human.change("configure")
                human.change("activate")
            human.insist("enable", data=False)

            def is_left_alone():
                arm.place(HOME_M)
                time.sleep(QUIET_S)
                return not arm.told  # Else the last commands were still under way when the arm was put there.

            wait_until(is_left_alone, "the arm is at home and no longer commanded")
            human.insist("enable", data=True)
            human.insist("reset_e_stop")
            human.insist("recover")
            human.wait_state("idle")
            wait_until(lambda: arm.told, "the arm is held")

    world = World()
    world.start()
    try:
        world.controller.wait()
        yield world
    finally:
        world.controller.kill()
        world.arm.close()
        world.human.close()


@pytest.fixture
def ready(world):
    world.reset()
    return world


def test_a_commander_is_followed_and_then_the_arm_is_held_where_it_rests(wait_until, ready):
    arm, human = ready.arm, ready.human
    with Commander(lead()) as commander:
        wait_until(
            lambda: np.linalg.norm(arm.position - HOME_M - (0.0, 0.2, 0.0)) < 0.005, "the arm is there"
        )
        assert human.state == "tracking"
        last_s = commander.sent[-1]
    human.wait_state("idle")
    assert human.status.message == "Stopped: no command for 0.10 s."
    assert human.status.level == b"\x00"
    told, now = len(arm.told), len(arm.history)
    wait_until(lambda: len(arm.told) > told + 20, "the arm is held")
    assert arm.way_m(now - 1) < 0.005
    assert stamp_s(arm.told[-1]) > last_s


def test_the_target_is_limited_on_its_way(wait_until, ready):
    arm = ready.arm
    with Commander(lead(HOME_M + np.array((2.0, 0.0, 0.0)))):
        wait_until(lambda: arm.position[0] > 0.7, "the arm has come to the wall")
        wait_until(lambda: ready.human.hits("workspace"), "the limit is counted")
    assert max(message.pose.position.x for message in arm.told) <= 0.75 + 1e-9
    steps = np.diff([message.pose.position.x for message in arm.told])
    assert np.max(steps) < 0.6 * 0.1 + 1e-6  # A tick that was held up may catch up a tenth of a second.


def test_the_workspace_is_the_tasks(wait_until, folder, world, patient):
    task = {
        "name": "small", "scene": "none", "control_rate_hz": 10, "episode_length_s": 1.0,
        "action": {"translation_m": 0.03}, "observation": [{"name": "ee_position"}],
        "workspace": {"min_m": [0.3, -0.1, 0.1], "max_m": [0.55, 0.1, 0.5]},
    }  # fmt: skip
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(task))
    assert world.controller.end() == 0
    world.start(f"task:={path}")
    try:
        world.controller.wait()
        world.reset()
        with Commander(lead(HOME_M + np.array((0.2, 0.0, 0.0)))):
            wait_until(lambda: world.arm.position[0] > 0.54, "the arm has come to the wall")
        assert max(message.pose.position.x for message in world.arm.told) <= 0.55 + 1e-9
    finally:
        world.controller.end()
        world.start()
        world.controller.wait()


def test_joint_targets_and_the_gripper_are_followed(wait_until, ready):
    arm, goal = ready.arm, np.array(HOME_RAD) + 0.1
    shuffled = list(reversed(range(7)))
    make = lambda stamp_ns: joint_message(goal[shuffled], stamp_ns, [JOINTS[i] for i in shuffled])  # noqa: E731
    with Commander(make, "target_joint"):
        wait_until(lambda: np.abs(arm.joints - goal).max() < 0.01, "the joints are there")
        assert list(arm.told_joints[-1].name) == JOINTS
    time.sleep(QUIET_S)
    with Commander(lambda stamp_ns: joint_message([0.5], stamp_ns, ["gripper_width"]), "target_gripper"):
        wait_until(lambda: arm.told_gripper, "the gripper is told")
    assert list(arm.told_gripper[-1].name) == FINGERS
    assert list(arm.told_gripper[-1].position) == [0.04, 0.04]
    wait_until(lambda: ready.human.hits("gripper_width") > 0, "the limit is counted")


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_commander_that_dies_or_freezes_leaves_the_arm_at_rest(wait_until, ready, number, record_property):
    arm = ready.arm
    commander = subprocess.Popen([sys.executable, Path(__file__).with_name("commander_process.py")])
    try:
        # In the middle of its way, where it is fastest.
        wait_until(lambda: len(arm.heard) > 20 and arm.history[-1][2] > 0.4, "the arm is led")
        commander.send_signal(number)
        ready.human.wait_state("idle")
        told = len(arm.told)
        wait_until(lambda: len(arm.told) > told + 30, "the arm is held")
        rest_s = arm.rest_s(arm.heard[-1])
        record_property("rest_s", rest_s)  # For who wants to see the figure: --junitxml.
        assert 0.0 < rest_s < 1.0  # 0.3 s on a machine that is not held up.
        if number == signal.SIGSTOP:
            commander.send_signal(signal.SIGCONT)
            ready.human.wait_state("tracking")
    finally:
        commander.kill()
        commander.wait()


def test_a_restarted_commander_takes_over(wait_until, ready):
    for goal in (HOME_M + np.array((0.0, 0.1, 0.0)), HOME_M):
        with Commander(lead(goal)):
            wait_until(
                lambda goal=goal: np.linalg.norm(ready.arm.position - goal) < 0.005, "the arm is there"
            )
        time.sleep(QUIET_S)
    assert "fault" not in ready.human.states[-4:]


@pytest.mark.parametrize("topic", ["target_pose", "target_joint"])
def test_a_second_commander_stops_the_arm_until_a_human_says_so(wait_until, ready, topic):
    arm, human = ready.arm, ready.human
    make = lead() if topic == "target_pose" else lambda stamp_ns: joint_message(HOME_RAD, stamp_ns)
    with Commander(lead()):
        human.wait_state("tracking")
        with Commander(make, topic):
            human.wait_state("fault")
            assert human.status.message.startswith("More than one commander on /controller/target_")
            assert "ros2 service call /controller/recover std_srvs/srv/Trigger" in human.status.message
            assert human.status.level == b"\x02"
            answer = human.call("recover")
            assert not answer.success
            assert "more than one commander" in answer.message
        now = len(arm.history)
        wait_until(lambda: len(arm.history) > now + 100, "time has passed")
        assert human.state == "fault"
        human.insist("recover")
        human.wait_state("tracking")


BAD = {
    "target_pose": [
        (lead(HOME_M + np.array((0.0, math.nan, 0.0))), "bad_command"),
        (lead(quaternion=(1.0, 0.0, 0.0, 1.0)), "bad_command"),
        (lead(quaternion=(0.0, 0.0, 0.0, 0.0)), "bad_command"),
        (lead(frame="world"), "bad_command"),
        (lambda _: pose_message(THERE_M, 0), "bad_command"),
        (lambda ns: pose_message(THERE_M, ns - 10**9), "stale_command"),
        (lambda ns: pose_message(THERE_M, ns + 10**8), "future_command"),
    ],
    "target_joint": [
        (lambda ns: joint_message([0.1] * 7, ns, "abcdefg"), "bad_command"),
        (lambda ns: joint_message([0.1] * 6, ns, JOINTS[:6]), "bad_command"),
        (lambda ns: joint_message([0.1] * 6, ns), "bad_command"),
        (lambda ns: joint_message([math.nan] * 7, ns), "bad_command"),
    ],
    "target_gripper": [
        (lambda ns: joint_message([math.nan], ns, ["gripper_width"]), "bad_command"),
        (lambda ns: joint_message([0.01], ns, ["width"]), "bad_command"),
    ],
}


@pytest.mark.parametrize("topic", BAD)
def test_bad_commands_move_nothing_are_counted_and_latch_nothing(wait_until, ready, topic):
    arm, human = ready.arm, ready.human
    with Commander(BAD[topic][0][0], topic) as commander:
        for commander.make, name in BAD[topic]:
            before = human.hits(name)
            wait_until(lambda name=name, before=before: human.hits(name) > before + 5, f"{name} is counted")
            assert human.state == "idle"
    assert arm.way_m() < 0.005
    assert np.abs(arm.joints - HOME_RAD).max() < 0.01
    assert not arm.told_gripper


def test_a_bad_command_stops_an_arm_that_moves(wait_until, ready):
    arm, human = ready.arm, ready.human
    goal = HOME_M + np.array((0.0, 0.39, 0.0))
    with Commander(lead(goal)) as commander:
        wait_until(lambda: arm.history[-1][2] > 0.3, "the arm moves")
        commander.make = lead(goal * math.nan)
        human.wait_state("idle")
        assert "not finite" in human.status.message
        wait_until(lambda: arm.history[-1][2] < MOVING_M_S, "the arm rests")


def shuffle(message):
    order = [3, 1, 4, 0, 6, 5, 2]
    for part in ("name", "position", "velocity", "effort"):
        values = getattr(message, part)
        setattr(message, part, [values[index] for index in order])


def lose_a_joint(message):
    message.name, message.position, message.velocity, message.effort = JOINTS[1:], [0.0] * 6, [0.0] * 6, []


def say_nan(message):
    message.position = [math.nan, *message.position[1:]]


def say_fast(message):
    message.velocity = [3.0, *message.velocity[1:]]


LIES = {
    "silent": ("joint_states", lambda _: False, "/joint_states is stale"),
    "nan": ("joint_states", say_nan, "finite"),
    "missing": ("joint_states", lose_a_joint, "/joint_states lacks the joints ['joint1']"),
    "old": ("joint_states", lambda m: set_stamp(m, time.time_ns() - 10**10), "/joint_states is stale"),
    "future": ("joint_states", lambda m: set_stamp(m, time.time_ns() + 10**9), "in the future"),
    "no pose": ("current_pose", lambda _: False, "/current_pose is stale"),
    "frame": (
        "current_pose",
        lambda m: setattr(m.header, "frame_id", "moon"),
        "/current_pose is in frame 'moon'",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_arm_that_cannot_be_known_is_told_nothing_until_a_human_recovers(wait_until, ready, lie):
    arm, human = ready.arm, ready.human
    topic, change, said = LIES[lie]
    with Commander(lead(HOME_M + np.array((0.0, 0.1, 0.0)))):
        human.wait_state("tracking")
        arm.lies[topic] = change
        human.wait_state("fault")
        assert said in human.status.message
        time.sleep(ON_ITS_WAY_S)
        told, now = len(arm.told), len(arm.history)
        wait_until(lambda: len(arm.history) > now + 50, "time has passed")
        assert len(arm.told) == told
        assert not human.call("recover").success
        del arm.lies[topic]
        wait_until(lambda: len(arm.told) > told + 20, "the arm is held again")
        assert human.state == "fault"
        human.insist("recover")
        human.wait_state("tracking")


def test_joints_in_another_order_are_the_same_joints(wait_until, ready):
    ready.arm.joints = ready.arm._joint_target = np.array(HOME_RAD)
    ready.arm.lies["joint_states"] = shuffle
    goal = np.array(HOME_RAD) + 0.05
    with Commander(lambda stamp_ns: joint_message(goal, stamp_ns), "target_joint"):
        wait_until(lambda: np.abs(ready.arm.joints - goal).max() < 0.01, "the joints are there")
    assert ready.human.state in ("tracking", "idle")


def test_a_joint_that_is_too_fast_is_a_fault_and_the_arm_is_held(wait_until, ready):
    arm, human = ready.arm, ready.human
    arm.lies["joint_states"] = say_fast
    human.wait_state("fault")
    assert "faster than its limit" in human.status.message
    told = len(arm.told)
    wait_until(lambda: len(arm.told) > told + 20, "the arm is held")
    assert arm.way_m() < 0.01


def test_the_emergency_stop_is_latched_until_nobody_insists_and_a_human_releases_it(wait_until, ready):
    arm, human = ready.arm, ready.human
    with Commander(lead()):
        human.wait_state("tracking")
        human.press(True)
        human.wait_state("e_stop")
        assert "/e_stop" in human.status.message
        assert not human.call("reset_e_stop").success
        human.press(False)
        wait_until(lambda: arm.history[-1][2] < MOVING_M_S, "the arm rests")
        now = len(arm.history)
        for name in ("recover", "stop"):
            assert human.call(name).success
        assert human.call("enable", data=False).success
        assert human.call("enable", data=True).success
        for label in ("deactivate", "cleanup", "configure"):
            assert human.change(label)
            wait_until(lambda: human.state == "e_stop", "it is latched")
        wait_until(lambda: human.change("activate"), "it is active")
        told = len(arm.told)
        wait_until(lambda: len(arm.told) > told + 50, "the arm is held")
        assert human.state == "e_stop"
        assert arm.way_m(now) < 0.02
        human.insist("reset_e_stop")
        human.wait_state("tracking")


def test_a_plain_publisher_that_is_gone_again_stops_the_arm_too(wait_until, ready):
    from std_msgs.msg import Bool

    somebody = Node("somebody").start()
    publisher = somebody.node.create_publisher(Bool, "e_stop", 1)
    wait_until(lambda: publisher.get_subscription_count(), "it is connected")
    publisher.publish(Bool(data=True))
    ready.human.wait_state("e_stop")
    somebody.close()
    ready.human.insist("reset_e_stop")
    ready.human.wait_state("idle")


def test_a_restarted_controller_hears_an_emergency_stop_from_before(wait_until, ready):
    arm, human = ready.arm, ready.human
    human.press(True)
    human.wait_state("e_stop")
    ready.controller.process.kill()
    ready.controller.process.wait()
    arm.place(HOME_M)
    human.states.clear()
    with Commander(lead()):
        ready.start()
        ready.controller.wait()
        told = len(arm.told)
        wait_until(lambda: len(arm.told) > told + 100, "the arm is held")
        assert human.state == "e_stop"
        assert "tracking" not in human.states
        assert arm.way_m() < 0.005


def test_stop_stops_and_who_goes_on_is_followed_again(wait_until, ready):
    human, open_eyes = ready.human, threading.Event()

    def late(ns):
        return pose_message(HOME_M + np.array((0.0, 0.3, 0.0)), ns - (0 if open_eyes.is_set() else 5 * 10**7))

    with Commander(late):
        human.wait_state("tracking")
        human.states.clear()
        assert human.call("stop").success
        wait_until(lambda: "idle" in human.states, "it stopped")
        open_eyes.set()
        human.wait_state("tracking")
    human.wait_state("idle")
    assert human.call("stop").success
    assert human.state == "idle"


def test_disabled_it_tells_the_arm_nothing_and_enabled_it_takes_the_arm_where_it_is(wait_until, ready):
    arm, human = ready.arm, ready.human
    with Commander(lead()):
        human.wait_state("tracking")
        assert human.call("enable", data=False).success
        human.wait_state("disabled")
        assert human.status.level == b"\x01"
        assert "/controller/enable" in human.status.message
        time.sleep(ON_ITS_WAY_S)
        there = HOME_M + np.array((0.1, -0.1, 0.05))
        arm.place(there)
        wait_until(lambda: len(arm.history) > 100, "time has passed")
        assert not arm.told
    arm.lies["joint_states"] = lambda _: False
    time.sleep(STATE_AGE_S + 0.5)
    assert "/joint_states is stale" in human.call("enable", data=True).message
    arm.lies.clear()
    human.insist("enable", data=True)
    wait_until(lambda: len(arm.told) > 20, "the arm is held")
    assert arm.way_m() < 0.005
    assert human.state == "idle"


def test_the_force_sensor_is_zeroed_at_rest(wait_until, ready):
    arm, human = ready.arm, ready.human

    def push(message):
        message.wrench.force.y = 35.0

    arm.lies["wrench"] = push
    goal = HOME_M - np.array((0.0, 0.1, 0.0))
    with Commander(lead(goal)):
        wait_until(lambda: human.hits("contact_force") > 0, "the contact is felt")
        assert arm.position[1] > -0.05
    human.wait_state("idle")
    human.insist("zero_ftsensor")
    time.sleep(QUIET_S)
    with Commander(lead(goal)):
        wait_until(lambda: np.linalg.norm(arm.position - goal) < 0.005, "the arm is there")


def test_its_life_cycle_can_be_led_by_somebody_else(wait_until, ready):
    arm, human = ready.arm, ready.human
    assert human.change("deactivate")
    human.wait_state("inactive")
    time.sleep(ON_ITS_WAY_S)
    told = len(arm.told)
    for name in ("recover", "zero_ftsensor"):
        answer = human.call(name)
        assert not answer.success
        assert "not active" in answer.message
    assert human.call("stop").success
    with Commander(lead()):
        now = len(arm.history)
        wait_until(lambda: len(arm.history) > now + 100, "time has passed")
        assert len(arm.told) == told
        assert arm.way_m(now) < 0.005
    assert human.change("cleanup")
    assert human.call("get_state").current_state.label == "unconfigured"
    assert human.change("configure")
    wait_until(lambda: human.change("activate"), "it is active")
    human.wait_state("idle")
    assert human.call("get_state").current_state.label == "active"


def test_diagnostics_tell_what_the_loop_did(wait_until, ready):
    human = ready.human
    human.arrays.clear()
    wait_until(lambda: len(human.arrays) >= 2, "diagnostics come")
    first, second = human.arrays[-2:]
    assert stamp_s(second) - stamp_s(first) > 0.5
    (status,) = second.status
    assert (status.name, status.hardware_id, status.level) == ("controller", "twin", b"\x00")
    values = {value.key: value.value for value in status.values}
    assert values["state"] == "idle"
    assert int(values["ticks"]) > 10
    assert 0 <= int(values["missed"]) <= int(values["ticks"])
    assert float(values["worst_lateness_s"]) >= 0.0
    assert 0.0 < float(values["lateness.median_s"]) <= float(values["lateness.p99_s"])


NOBODY = ["joint_states:=nobody"]


def act_nothing(_):
    pass


def press(human):
    human.press(True)
    human.wait_state("e_stop")


def disable(human):
    human.insist("enable", data=False)
    human.wait_state("disabled")


WAYS = {
    "waiting": (NOBODY, "Waiting for twin", act_nothing),
    "idle": ([], "is active", lambda human: human.wait_state("idle")),
    "e_stop": ([], "is active", press),
    "disabled": ([], "is active", disable),
    "inactive": ([], "is active", lambda human: human.change("deactivate")),
}


@pytest.fixture
def alone(world):
    """Nobody else is the controller."""
    world.human.press(False)
    world.controller.end()
    yield world
    world.human.press(False)
    world.arm.place(HOME_M)
    world.start()
    world.controller.wait()


@pytest.mark.parametrize("state", WAYS)
def test_signals_end_it_in_every_state(wait_until, alone, folder, patient, state):
    remap, said, act = WAYS[state]
    number = signal.SIGINT if state in ("idle", "waiting") else signal.SIGTERM
    controller = Controller(wait_until, folder, patient(), "max_lateness_s:=5.0", remap=remap)
    try:
        controller.wait(said)
        act(alone.human)
        assert controller.end(number) == 0, controller.said()
        assert "Traceback" not in controller.said()
    finally:
        controller.kill()


def test_unconfigured_it_waits_for_transitions_and_ends_by_a_signal(wait_until, alone, folder, patient):
    controller = Controller(wait_until, folder, patient(), "autostart:=false")
    try:
        wait_until(lambda: alone.human.call("get_state").current_state.label == "unconfigured", "it is there")
        alone.human.wait_state("inactive")
        assert controller.end(signal.SIGINT) == 0
    finally:
        controller.kill()


def test_ended_while_the_arm_moves_it_brings_it_to_rest_first(wait_until, alone, folder, patient):
    arm = alone.arm
    controller = Controller(wait_until, folder, patient(), "max_lateness_s:=5.0")
    commander = subprocess.Popen([sys.executable, Path(__file__).with_name("commander_process.py")])
    try:
        controller.wait()
        wait_until(lambda: len(arm.heard) > 20 and arm.history[-1][2] > 0.4, "the arm is led")
        assert controller.end() == 0
        last = arm.told[-20:]
        now = len(arm.history)
        wait_until(lambda: len(arm.history) > now + 50, "time has passed")
        final = last[-1].pose.position
        # What it was told last is where it is held from then on.
        assert abs(arm.position[1] - final.y) < 0.002
        assert abs(final.y - last[-2].pose.position.y) < 0.003
    finally:
        commander.kill()
        commander.wait()
        controller.kill()


def test_a_controller_that_was_frozen_trusts_itself_no_longer(wait_until, alone, folder, patient):
    controller = Controller(wait_until, folder, patient())
    try:
        controller.wait()
        alone.human.wait_state("idle")
        controller.process.send_signal(signal.SIGSTOP)
        time.sleep(0.7)
        controller.process.send_signal(signal.SIGCONT)
        alone.human.wait_state("fault")
        assert "held up for" in alone.human.status.message
    finally:
        controller.kill()


@pytest.mark.parametrize("error", ["ordinary", "fatal"])
def test_an_interface_that_fails_is_a_fault_and_a_dead_control_thread_ends_the_process(
    wait_until, alone, folder, patient, error
):
    interface = {"type": "interfaces_of_tests.Broken", "config": {"error": error}}
    controller = Controller(wait_until, folder, patient(error, interface=interface))
    try:
        if error == "ordinary":
            controller.wait()
            alone.human.wait_state("fault")
            assert "the wire is cut" in alone.human.status.message
            assert "released" in controller.said()
            assert controller.end() == 0
        else:
            assert controller.process.wait(PATIENCE_S) == 1
            assert (
                "controller_node: The control thread died: SystemExit('the wire is cut')."
                in controller.said()
            )
    finally:
        controller.kill()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (["arm:=twinn"], "There is no robot 'twinn'"),
        (["arm:=7"], "cannot be used"),
        (["task:=/nowhere.yaml"], "Task file /nowhere.yaml cannot be read"),
        (["rate_hz:=1"], "Parameter rate_hz is 1, but must be a number from 10 to 1000"),
        (["max_lateness_s:=soon"], "Parameter max_lateness_s is 'soon'"),
    ],
)
def test_wrong_parameters_end_it_with_a_sentence(wait_until, folder, parameters, said):
    controller = Controller(wait_until, folder, *parameters, remap=["__ns:=/elsewhere"])
    try:
        assert controller.process.wait(PATIENCE_S) == 2
    finally:
        controller.kill()
    lines = [line for line in controller.said().splitlines() if line.startswith("controller_node: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in controller.said()


def test_a_simulation_whose_time_stops_or_jumps_is_a_fault(wait_until, alone, folder, patient):
    from rosgraph_msgs.msg import Clock

    arm, human = alone.arm, alone.human
    offset_ns = [time.time_ns() - 1000 * 10**9]
    ticking = threading.Event()
    ticking.set()
    arm.stamp_ns = lambda: time.time_ns() - offset_ns[0]
    publisher = arm.node.create_publisher(Clock, "/clock", 10)

    def tick():
        if ticking.is_set():
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(arm.stamp_ns(), 10**9)
            publisher.publish(message)

    timer = arm.node.create_timer(0.005, tick)
    controller = Controller(wait_until, folder, patient(), "max_lateness_s:=5.0", "use_sim_time:=true")
    try:
        controller.wait()
        human.wait_state("idle")
        offset_ns[0] += 500 * 10**9  # Back by 500 s.
        human.wait_state("fault")
        assert "/clock jumped by -" in human.status.message
        human.insist("recover")
        human.wait_state("idle")
        ticking.clear()
        human.wait_state("fault")
        assert "silent" in human.status.message
        ticking.set()
        human.insist("recover")
        assert controller.end() == 0
    finally:
        controller.kill()
        arm.node.destroy_timer(timer)
        arm.node.destroy_publisher(publisher)
        arm.stamp_ns = time.time_ns
