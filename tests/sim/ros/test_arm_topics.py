"""The twin's topics as an arm's: what it publishes is its state, and what cannot be meant does not move it."""

import math
import time

import msgspec
import numpy as np
import pytest

from controllers.config import InputError

pytestmark = pytest.mark.ros

HOLD_TICKS = 50  # 100 ms without a command.


class Rig:
    """The arm's topics, stepped by the test, and what commands and watches it, all on one node."""

    def __init__(self, node, world, description, wait_until):
        from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool, Float64MultiArray

        from robot_env.ros.runtime import Inbox
        from sim.ros.arm_topics import ArmTopics

        self.world, self.twin, self._wait_until = world, world.twin, wait_until
        assert world.reset(3) == ""
        self.arm = ArmTopics(node, description, world)
        self.seen = {
            topic: Inbox(node, kind, topic, 1000)
            for topic, kind in {
                "joint_states": JointState,
                "current_pose": PoseStamped,
                "current_twist": TwistStamped,
                "wrench": WrenchStamped,
                "gripper/joint_states": JointState,
                "objects/cube/pose": PoseStamped,
                "success": Bool,
            }.items()
        }
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publishers = {
            "pose": node.create_publisher(PoseStamped, "target_pose", 1),
            "joint": node.create_publisher(JointState, "target_joint", 1),
            "torque": node.create_publisher(Float64MultiArray, "effort_commands", 1),
            "gripper": node.create_publisher(JointState, "gripper/target", 1),
            "e_stop": node.create_publisher(Bool, "e_stop", latched),
            "e_stop once": node.create_publisher(Bool, "e_stop", 1),
        }
        self._witnesses = {
            "pose": Inbox(node, PoseStamped, "target_pose"),
            "gripper": Inbox(node, JointState, "gripper/target"),
        }
        for kind, publisher in self._publishers.items():
            wanted = 1 + (kind in self._witnesses)
            wait_until(lambda p=publisher, wanted=wanted: p.get_subscription_count() >= wanted)

    @property
    def state(self):
        return self.twin.state(0.0)

    def say(self, kind, message):
        self._publishers[kind].publish(message)

    def deliver(self, kind, message):
        """Send it, and see that it lies in the arm's inbox."""
        self._witnesses[kind].take()
        self.say(kind, message)
        self._wait_until(self._witnesses[kind].take)
        time.sleep(0.02)

    def command(self, kind, message, ticks=1):
        """Send it at every tick, for as many ticks."""
        for _ in range(ticks):
            self.say(kind, message)
            time.sleep(0.0005)
            self.step()

    def step(self, ticks=1):
        for _ in range(ticks):
            self.arm.take_commands(True)
            self.twin.advance(1)

    def stop(self, data, kind="e_stop"):
        from std_msgs.msg import Bool

        def obeys():
            self.say(kind, Bool(data=data))
            time.sleep(0.005)
            self.arm.take_commands(True)
            return self.arm.stopped is data

        self._wait_until(obeys)

    def messages(self, *, slow=True):
        """One round of messages, by topic."""
        self.arm.publish(slow)
        found = {}

        def all_there():
            for topic, inbox in self.seen.items():
                for received in inbox.take():
                    found[topic] = received.message
            return len(found) == (len(self.seen) if slow else 1)

        self._wait_until(all_there)
        return found


@pytest.fixture(scope="module")
def description():
    from robot_env.ros.description import load_description

    return load_description("twin")


@pytest.fixture(scope="module")
def world():
    from sim.registration import load
    from sim.ros.world import TwinWorld

    return TwinWorld(load("lift_cube"))


@pytest.fixture
def rig(runtime, world, description, wait_until):
    return Rig(runtime.node, world, description, wait_until)


def pose(rig, offset_m=(0.0, 0.0, 0.0), frame="base", quaternion=(1.0, 0.0, 0.0, 0.0)):
    from robot_env.ros.messages import pose_stamped

    return pose_stamped(1, frame, rig.state.ee_position_m + np.array(offset_m), np.array(quaternion))


def joints(names, positions):
    from robot_env.ros.messages import joint_state

    return joint_state(1, names, positions)


def torques(*values):
    from std_msgs.msg import Float64MultiArray

    return Float64MultiArray(data=values)


def test_all_topics_tell_the_twins_state_in_the_base_frame(rig, description):
    from robot_env.ros.messages import joints_of, pose_of, stamp_ns_of, twist_of, wrench_of

    rig.command("pose", pose(rig, (0.05, 0.0, 0.05)), ticks=40)  # So that it moves.
    before_ns = time.time_ns()
    found, state = rig.messages(), rig.state
    arm = joints_of(found["joint_states"], description.joint_names)
    assert list(found["joint_states"].name) == list(description.joint_names)
    assert arm.position_rad.tolist() == state.joint_position_rad.tolist()
    assert arm.velocity_rad_s.tolist() == state.joint_velocity_rad_s.tolist()
    assert np.abs(arm.velocity_rad_s).max() > 0.01
    assert arm.effort_nm.tolist() == state.joint_effort_nm.tolist()
    position_m, quaternion = pose_of(found["current_pose"], "base")
    assert position_m == pytest.approx(state.ee_position_m)
    assert quaternion == pytest.approx(state.ee_quaternion_xyzw)
    linear, angular = twist_of(found["current_twist"], "base")
    assert linear == pytest.approx(state.ee_linear_velocity_m_s)
    assert angular == pytest.approx(state.ee_angular_velocity_rad_s)
    force, torque, frame = wrench_of(found["wrench"])
    assert ([*force, *torque], frame) == (pytest.approx(state.ee_wrench.tolist()), "base")
    fingers = joints_of(found["gripper/joint_states"], description.gripper.joint_names)
    assert fingers.position_rad.sum() == pytest.approx(state.gripper_width_m)
    cube_m, cube_quaternion = pose_of(found["objects/cube/pose"], "base")
    assert cube_m == pytest.approx(rig.world.scene.cube_m)
    assert np.linalg.norm(cube_quaternion) == pytest.approx(1.0)
    assert found["success"].data is False
    stamps = {stamp_ns_of(m.header) for topic, m in found.items() if topic != "success"}
    assert len(stamps) == 1, "one moment, one stamp"
    assert before_ns <= stamps.pop() <= time.time_ns()


def test_between_slow_ticks_only_the_joints_are_published(rig):
    assert rig.messages(slow=False).keys() == {"joint_states"}
    time.sleep(0.05)
    assert all(inbox.take() == [] for inbox in rig.seen.values())


def test_a_pose_is_followed_and_the_gripper_left_as_it_was(rig):
    start, goal = rig.state, pose(rig, (0.03, -0.04, 0.05))
    rig.command("pose", goal, ticks=500)
    assert rig.state.ee_position_m - start.ee_position_m == pytest.approx([0.03, -0.04, 0.05], abs=5e-3)
    assert rig.state.gripper_width_m == pytest.approx(start.gripper_width_m, abs=2e-3)


def test_joints_are_followed_by_name(rig, description):
    start = rig.state.joint_position_rad
    goal = start + np.linspace(-0.1, 0.1, 7)
    rig.command("joint", joints(description.joint_names[::-1], goal[::-1].tolist()), ticks=500)
    assert rig.state.joint_position_rad == pytest.approx(goal, abs=0.02)


def test_torques_are_applied_on_top_of_gravity(rig):
    rig.command("torque", torques(*[0.0] * 7), ticks=100)
    assert np.abs(rig.state.joint_velocity_rad_s).max() < 0.02
    start = rig.state.joint_position_rad
    rig.command("torque", torques(0, 0, 0, 0, 0, 0, 1.0), ticks=50)
    assert rig.state.joint_position_rad[6] - start[6] > 0.01


@pytest.mark.parametrize("width_m", [0.01, 0.07])
def test_the_gripper_goes_to_the_sum_of_its_fingers_and_stays_there_during_motion(rig, description, width_m):
    names = description.gripper.joint_names
    rig.command("gripper", joints(names, [0.25 * width_m, 0.75 * width_m]), ticks=5)
    rig.command("pose", pose(rig, (0.02, 0.0, 0.0)), ticks=400)
    assert rig.state.gripper_width_m == pytest.approx(width_m, abs=2e-3)


def test_an_arm_that_is_told_nothing_holds_after_100_ms(rig):
    timeouts = rig.twin.timeouts
    rig.deliver("pose", pose(rig, (0.1, 0.0, 0.0)))
    rig.step(HOLD_TICKS)
    assert rig.twin.timeouts == timeouts
    assert np.linalg.norm(rig.state.ee_linear_velocity_m_s) > 0.05
    rig.step(2)
    assert rig.twin.timeouts == timeouts + 1
    rig.step(100)  # 200 ms
    assert np.linalg.norm(rig.state.ee_linear_velocity_m_s) < 0.02
    place_m = rig.state.ee_position_m
    rig.step(300)
    assert np.linalg.norm(rig.state.ee_position_m - place_m) < 5e-3


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("kind", "make", "complaint"),
    [
        ("pose", lambda r, d: pose(r, (0.1, 0, 0), frame="world"), "is in frame 'world', but 'base' is expected"),
        ("pose", lambda r, d: pose(r, (0.1, 0, 0), frame=""), "is in frame '', but 'base' is expected"),
        ("pose", lambda r, d: pose(r, (0.1, 0, 0), quaternion=(0.0, 0, 0, 0)), "whose length is 0, not 1"),
        ("pose", lambda r, d: pose(r, (0.1, 0, 0), quaternion=(NAN, 0, 0, 1)), "is not finite"),
        ("pose", lambda r, d: pose(r, (0.1, NAN, 0)), "is not finite"),
        ("pose", lambda r, d: pose(r, (INF, 0, 0)), "is not finite"),
        ("joint", lambda r, d: joints(d.joint_names[:6], [0.0] * 6), "lacks the joints ['joint7']"),
        ("joint", lambda r, d: joints(d.joint_names, [0.0] * 5 + [NAN, 0.0]), "is not finite"),
        ("joint", lambda r, d: joints(d.joint_names, [0.0] * 6), "has 7 names but 6 positions"),
        ("torque", lambda r, d: torques(50.0, 50.0, 50.0), "3 effort_commands are not 7 finite torques"),
        ("torque", lambda r, d: torques(*[50.0] * 8), "8 effort_commands are not 7 finite torques"),
        ("torque", lambda r, d: torques(), "0 effort_commands are not 7 finite torques"),
        ("torque", lambda r, d: torques(*[50.0] * 6, NAN), "7 effort_commands are not 7 finite torques"),
        ("torque", lambda r, d: torques(*[50.0] * 6, INF), "7 effort_commands are not 7 finite torques"),
        ("gripper", lambda r, d: joints(d.gripper.joint_names, [0.0, NAN]), "a gripper command is not finite"),
        ("gripper", lambda r, d: joints(["thumb"], [0.0]), "or for other joints"),
        ("gripper", lambda r, d: joints(["finger_joint1"], [0.0]), "lacks the joints ['finger_joint2']"),
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_meant_does_not_move_the_arm_and_is_said_once(
    rig, description, capfd, wait_until, kind, make, complaint
):
    rig.step(50)
    start, command, errors = rig.state, make(rig, description), []

    def is_refused():
        rig.command(kind, command, ticks=5)
        errors.append(capfd.readouterr().err)
        return "Refused" in errors[-1]

    wait_until(is_refused)
    rig.command(kind, command, ticks=20)
    rig.step(100)
    assert rig.state.joint_position_rad == pytest.approx(start.joint_position_rad, abs=1e-3)
    assert rig.state.gripper_width_m == pytest.approx(start.gripper_width_m, abs=1e-3)
    said = "".join(errors) + capfd.readouterr().err
    assert said.count("Refused") == 1
    assert complaint in said


def test_many_kinds_of_bad_commands_do_not_flood_the_log(rig, capfd, wait_until):
    errors, began_s = [], time.monotonic()

    def is_refused():
        rig.command("pose", pose(rig, frame="world"))
        rig.command("torque", torques(*[1.0] * 6))
        errors.append(capfd.readouterr().err)
        return len(errors) > 100

    wait_until(is_refused)
    assert 1 <= "".join(errors).count("Refused") <= 2.0 + time.monotonic() - began_s


def test_a_command_for_other_joints_only_is_none_for_this_arm(rig, capfd):
    start = rig.state
    rig.command("joint", joints(["left_wheel"], [1.0]), ticks=10)
    rig.step(50)
    assert rig.state.joint_position_rad == pytest.approx(start.joint_position_rad, abs=1e-3)
    assert "Refused" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["e_stop", "e_stop once"])
def test_an_emergency_stop_holds_the_arm_whatever_is_commanded(rig, description, kind):
    rig.command("pose", pose(rig, (0.1, 0.0, 0.0)), ticks=30)
    rig.stop(True, kind)
    rig.step(100)
    place = rig.state
    for wanted, message in (
        ("pose", pose(rig, (0.0, 0.1, 0.0))),
        ("joint", joints(description.joint_names, [0.0] * 7)),
        ("torque", torques(*[20.0] * 7)),
        ("gripper", joints(description.gripper.joint_names, [0.0, 0.0])),
    ):
        rig.command(wanted, message, ticks=30)
    assert rig.state.joint_position_rad == pytest.approx(place.joint_position_rad, abs=5e-3)
    assert rig.state.gripper_width_m == pytest.approx(place.gripper_width_m, abs=1e-3)


@pytest.mark.parametrize("by", ["topic", "service"])
def test_after_an_emergency_stop_nothing_is_done_that_was_commanded_during_it(rig, description, by):
    rig.stop(True)
    rig.deliver("pose", pose(rig, (0.0, 0.1, 0.0)))
    rig.deliver("gripper", joints(description.gripper.joint_names, [0.0, 0.0]))
    if by == "topic":
        rig.stop(False)
    else:
        rig.arm.release()
    place = rig.state
    rig.step(100)
    assert rig.state.joint_position_rad == pytest.approx(place.joint_position_rad, abs=1e-3)
    assert rig.state.gripper_width_m == pytest.approx(place.gripper_width_m, abs=1e-3)
    rig.command("pose", pose(rig, (0.0, 0.05, 0.0)), ticks=400)  # But what is commanded now.
    assert rig.state.ee_position_m[1] - place.ee_position_m[1] > 0.03


def test_a_reset_forgets_what_was_commanded_before(rig, description):
    rig.deliver("pose", pose(rig, (0.1, 0.0, 0.0)))
    rig.deliver("gripper", joints(description.gripper.joint_names, [0.0, 0.0]))
    assert rig.world.reset(4) == ""
    rig.arm.restart()
    place = rig.state
    rig.step(100)
    assert rig.state.joint_position_rad == pytest.approx(place.joint_position_rad, abs=1e-3)
    assert rig.state.gripper_width_m == pytest.approx(place.gripper_width_m, abs=1e-3)


@pytest.mark.parametrize("part", ["pose", "twist", "wrench", "gripper"])
def test_a_robot_that_lacks_a_topic_cannot_be_the_twin(runtime, world, description, part):
    from sim.ros.arm_topics import ArmTopics

    if part == "gripper":
        less = msgspec.structs.replace(description, gripper=None)
    else:
        less = msgspec.structs.replace(
            description, state=msgspec.structs.replace(description.state, **{part: None})
        )
    with pytest.raises(InputError, match="Robot 'twin' cannot be the twin, which needs pose, twist, wrench"):
        ArmTopics(runtime.node, less, world)
