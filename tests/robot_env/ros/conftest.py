"""A node of the test's own in this process, and an arm on it."""

import threading
import time

import msgspec
import numpy as np
import pytest


@pytest.fixture
def runtime():
    """A node of the test's own in this process, closed afterwards: `runtime.node`."""
    from rclpy.node import Node

    from robot_env.ros.runtime import Runtime

    runtime = Runtime(lambda **kw: Node("test", **kw))
    yield runtime
    runtime.close()


class FakeArm:
    """Publishes the state of an arm at rest on the topics of a description, and takes commands in.

    Attributes:
        lies: By part of the state: changes a message before it is published; returns False to keep it back.
        width_m: Of the gripper.
        thread: Publishes at 100 Hz while the block `with arm:` lasts.
    """

    def __init__(self, node, description):
        from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
        from sensor_msgs.msg import JointState

        from robot_env.ros.runtime import Inbox

        state, gripper = description.state, description.gripper
        topics = {
            "joint_states": (JointState, state.joint_states.topic),
            "pose": (PoseStamped, state.pose.topic),
            "twist": (TwistStamped, state.twist.topic),
            "wrench": (WrenchStamped, state.wrench.topic),
            "gripper": (JointState, gripper.state_topic),
        }
        self.description = description
        self.publishers = {name: node.create_publisher(*topic, 10) for name, topic in topics.items()}
        self.position_m, self.quaternion = np.array((0.5, 0.1, 0.3)), np.array((1.0, 0.0, 0.0, 0.0))
        self.joints_rad = list(description.home_joint_position_rad)
        self.width_m = 0.06
        self.lies = {}
        self._commands = {
            "pose": Inbox(node, PoseStamped, "target_pose", 1000),
            "joint": Inbox(node, JointState, "target_joint", 1000),
            "gripper": Inbox(node, JointState, gripper.command_topic, 1000),
        }
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def messages(self):
        from robot_env.ros import messages as m

        now_ns, frame = time.time_ns(), self.description.base_frame
        fingers = self.description.gripper.joint_names
        return {
            "joint_states": m.joint_state(
                now_ns, self.description.joint_names, self.joints_rad, [0.0] * 7, [1.0] * 7
            ),
            "pose": m.pose_stamped(now_ns, frame, self.position_m, self.quaternion),
            "twist": m.twist_stamped(now_ns, frame, np.zeros(3), np.zeros(3)),
            "wrench": m.wrench_stamped(now_ns, frame, np.arange(6.0)),
            "gripper": m.joint_state(now_ns, fingers, [self.width_m / len(fingers)] * len(fingers)),
        }

    def publish(self):
        for name, message in self.messages().items():
            if name not in self.lies or self.lies[name](message) is not False:
                self.publishers[name].publish(message)

    def taken(self, kind="pose"):
        """Commands since the last call."""
        return [received.message for received in self._commands[kind].take()]

    def goals(self):
        """Targets of the poses since the last call, shape (n, 3)."""
        return np.array([(p.x, p.y, p.z) for p in (m.pose.position for m in self.taken())]).reshape(-1, 3)

    def _live(self):
        while not self._stopping.wait(0.01):
            self.publish()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()


@pytest.fixture(scope="session")
def twin_description():
    """The twin's, patient: a test machine that is held up for a second must not fail a test about something else."""
    from robot_env.ros.description import load_description

    twin = load_description("twin")
    state = msgspec.structs.replace(
        twin.state,
        **{
            name: msgspec.structs.replace(getattr(twin.state, name), max_age_s=3.0)
            for name in ("joint_states", "pose", "twist", "wrench")
        },
    )
    gripper = msgspec.structs.replace(twin.gripper, max_age_s=3.0)
    limits = msgspec.structs.replace(twin.safety, max_state_age_s=3.0, max_command_age_s=3.0)
    return msgspec.structs.replace(twin, state=state, gripper=gripper, safety=limits)


@pytest.fixture
def arm(runtime, twin_description):
    return FakeArm(runtime.node, twin_description)
