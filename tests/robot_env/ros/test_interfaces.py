import importlib.util
import sys
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from numpy.testing import assert_allclose

from controllers.config import InputError
from controllers.ik import UnreachableError
from controllers.kinematics import Kinematics
from controllers.rotations import error, from_rotation_vector, multiply
from controllers.state import JointCommand, PoseCommand, RobotState
from robot_env.ros.description import GripperConfig, InterfaceConfig, load_description

pytestmark = pytest.mark.ros

START_NS = 5_000_000_000
PERIOD_S = 0.02
HAS_CONTROL_MSGS = importlib.util.find_spec("control_msgs") is not None


def robot_with(name, interface, changes=None, **config):
    """A robot of ours behind another interface: module and class below `robot_env.ros.interfaces`."""
    wanted = InterfaceConfig(type=f"robot_env.ros.interfaces.{interface}", config=config)
    return msgspec.structs.replace(load_description(name), interface=wanted, **(changes or {}))


def state_at(robot, joints=None):
    """The state of a robot at rest."""
    joints = np.array(robot.home_joint_position_rad if joints is None else joints)
    position, quaternion = Kinematics(robot.kinematics, robot.joint_names).pose(joints)
    zeros = np.zeros(3)
    return RobotState(
        1.0, joints, 0.0 * joints, 0.0 * joints, position, quaternion, zeros, zeros, np.zeros(6), 0.05
    )


def pose_command(state, shift=(0.0, 0.0, 0.0), turn=(0.0, 0.0, 0.0)):
    quaternion = multiply(from_rotation_vector(np.array(turn)), state.ee_quaternion_xyzw)
    return PoseCommand(1.0, state.ee_position_m + np.array(shift), quaternion, 0.05)


def stamp_of(message):
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


class Ear:
    """What a plain subscriber hears on a topic."""

    def __init__(self, wait_until, listener, speaker, kind, topic):
        self.messages, self._wait_until = [], wait_until
        self._speaker, self._topic = speaker, topic
        listener.node.create_subscription(kind, topic, self.messages.append, 10)

    def after(self, act):
        """The one message that `act` brings about."""
        publishers = [p for p in self._speaker.node.publishers if p.topic_name == self._topic]
        assert len(publishers) == 1, f"{len(publishers)} publishers on {self._topic}"
        self._wait_until(
            lambda: publishers[0].get_subscription_count() == 1, what=f"subscriber on {self._topic}"
        )
        before = len(self.messages)
        act()
        self._wait_until(lambda: len(self.messages) > before, what=f"message on {self._topic}")
        assert len(self.messages) == before + 1
        return self.messages[-1]


@pytest.fixture
def listener():
    from rclpy.node import Node

    from robot_env.ros.runtime import Runtime

    listener = Runtime(lambda **kw: Node("listener", **kw))
    yield listener
    listener.close()


@pytest.fixture
def make(runtime):
    from robot_env.ros.interfaces.interface import make_interface

    return lambda robot: make_interface(runtime.node, robot)


@pytest.fixture
def listen(runtime, listener, wait_until):
    from geometry_msgs.msg import PoseStamped, TwistStamped
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray
    from trajectory_msgs.msg import JointTrajectory

    kinds = {
        "pose": PoseStamped,
        "twist": TwistStamped,
        "joints": JointState,
        "array": Float64MultiArray,
        "trajectory": JointTrajectory,
    }
    return lambda kind, topic: Ear(wait_until, listener, runtime, kinds[kind], topic)


@pytest.mark.parametrize(
    ("interface", "topic"),
    [
        ("crisp.Crisp", "/target_pose"),
        ("cartesian_controllers.CartesianControllers", "/cartesian_motion_controller/target_frame"),
        ("moveit_servo.MoveItServo", "/servo_node/pose_target_cmds"),
    ],
)
def test_poses_arrive_in_the_base_frame_with_their_stamp(make, listen, interface, topic):
    robot = robot_with("franka", interface)
    sender, ear, state = make(robot), listen("pose", topic), state_at(robot)
    command = pose_command(state, (0.01, 0.02, -0.03), (0.1, -0.2, 0.3))
    message = ear.after(lambda: sender.send(command, state, START_NS + 7))
    assert message.header.frame_id == "fr3_link0"
    assert stamp_of(message) == START_NS + 7
    position, quaternion = message.pose.position, message.pose.orientation
    assert_allclose((position.x, position.y, position.z), command.ee_position_m)
    assert_allclose((quaternion.x, quaternion.y, quaternion.z, quaternion.w), command.ee_quaternion_xyzw)


def test_joint_targets_arrive_by_name(make, listen):
    robot = robot_with("franka", "crisp.Crisp")
    sender, ear, state = make(robot), listen("joints", "/target_joint"), state_at(robot)
    target = state.joint_position_rad + np.arange(7) / 100
    message = ear.after(lambda: sender.send(JointCommand(1.0, target, 0.05), state, START_NS))
    assert tuple(message.name) == robot.joint_names
    assert_allclose(message.position, target)


class TestCartesianControllers:
    def test_the_controller_has_the_name_that_is_configured(self, make, listen):
        robot = robot_with("franka", "cartesian_controllers.CartesianControllers", controller="soft")
        sender, ear, state = make(robot), listen("pose", "/soft/target_frame"), state_at(robot)
        ear.after(lambda: sender.send(pose_command(state), state, START_NS))
        sender.release()

    def test_joint_commands_are_refused_without_a_topic_for_them(self, make):
        robot = robot_with("franka", "cartesian_controllers.CartesianControllers")
        state = state_at(robot)
        with pytest.raises(UnreachableError, match="takes poses only: give joint_topic"):
            make(robot).send(JointCommand(1.0, state.joint_position_rad, 0.05), state, START_NS)

    def test_joint_commands_go_to_the_topic_for_them(self, make, listen):
        config = {"joint_topic": "jtc/joint_trajectory", "time_from_start_s": 0.25}
        robot = robot_with("franka", "cartesian_controllers.CartesianControllers", **config)
        sender, ear, state = make(robot), listen("trajectory", "/jtc/joint_trajectory"), state_at(robot)
        message = ear.after(
            lambda: sender.send(JointCommand(1.0, state.joint_position_rad, 0.05), state, START_NS)
        )
        assert tuple(message.joint_names) == robot.joint_names
        assert_allclose(message.points[0].positions, state.joint_position_rad)
        assert message.points[0].time_from_start.nanosec == 250_000_000


class TestMoveItServo:
    def test_a_twist_leads_from_the_measured_to_the_target_pose(self, make, listen):
        robot = robot_with("franka", "moveit_servo.MoveItServo", mode="twist", gain_per_s=4.0)
        sender, state = make(robot), state_at(robot)
        ear = listen("twist", "/servo_node/delta_twist_cmds")
        command = pose_command(state, (0.01, -0.02, 0.03), (0.02, 0.0, -0.05))
        message = ear.after(lambda: sender.send(command, state, START_NS))
        assert message.header.frame_id == "fr3_link0"
        assert stamp_of(message) == START_NS
        linear, angular = message.twist.linear, message.twist.angular
        assert_allclose((linear.x, linear.y, linear.z), (0.04, -0.08, 0.12), atol=1e-9)
        assert_allclose((angular.x, angular.y, angular.z), (0.08, 0.0, -0.2), atol=1e-9)

    def test_a_far_target_is_approached_at_the_speed_limits(self, make, listen):
        robot = robot_with("franka", "moveit_servo.MoveItServo", mode="twist", gain_per_s=100.0)
        sender, state = make(robot), state_at(robot)
        ear = listen("twist", "/servo_node/delta_twist_cmds")
        command = pose_command(state, (0.06, 0.0, 0.08), (0.0, 0.0, 0.4))
        message = ear.after(lambda: sender.send(command, state, START_NS))
        linear, angular = message.twist.linear, message.twist.angular
        speed = robot.safety.linear_speed_m_s
        assert_allclose((linear.x, linear.y, linear.z), (0.6 * speed, 0.0, 0.8 * speed), atol=1e-9)
        assert_allclose(
            (angular.x, angular.y, angular.z), (0.0, 0.0, robot.safety.angular_speed_rad_s), atol=1e-9
        )

    def test_release_ends_a_twist_with_zero_and_once(self, make, listen):
        robot = robot_with("franka", "moveit_servo.MoveItServo", mode="twist")
        sender, state = make(robot), state_at(robot)
        ear = listen("twist", "/servo_node/delta_twist_cmds")
        sender.release()  # Nothing moves yet: nothing to end.
        ear.after(lambda: sender.send(pose_command(state, (0.05, 0.0, 0.0)), state, START_NS))
        assert ear.messages[0].twist.linear.x > 0.0
        message = ear.after(sender.release)
        assert message.header.frame_id == "fr3_link0"
        for part in (message.twist.linear, message.twist.angular):
            assert (part.x, part.y, part.z) == (0.0, 0.0, 0.0)
        sender.release()
        ear.after(lambda: sender.send(pose_command(state), state, START_NS))
        assert len(ear.messages) == 3

    def test_joint_commands_are_refused_unless_they_are_configured(self, make):
        robot = robot_with("franka", "moveit_servo.MoveItServo")
        state = state_at(robot)
        with pytest.raises(UnreachableError, match="set joints in the interface's config"):
            make(robot).send(JointCommand(1.0, state.joint_position_rad, 0.05), state, START_NS)

    def test_joint_commands_need_control_msgs(self, make, monkeypatch):
        monkeypatch.setitem(sys.modules, "control_msgs", None)
        monkeypatch.setitem(sys.modules, "control_msgs.msg", None)
        with pytest.raises(InputError, match=r"joints need control_msgs, .*apt install"):
            make(robot_with("franka", "moveit_servo.MoveItServo", joints=True))

    @pytest.mark.skipif(not HAS_CONTROL_MSGS, reason="needs control_msgs")
    def test_joint_commands_become_jogs(self, make, runtime, listener, wait_until):
        from control_msgs.msg import JointJog

        robot = robot_with("franka", "moveit_servo.MoveItServo", joints=True, gain_per_s=2.0)
        sender, state = make(robot), state_at(robot)
        ear = Ear(wait_until, listener, runtime, JointJog, "/servo_node/delta_joint_cmds")
        target = state.joint_position_rad + 0.01 * np.arange(7)
        message = ear.after(lambda: sender.send(JointCommand(1.0, target, 0.05), state, START_NS))
        assert tuple(message.joint_names) == robot.joint_names
        assert_allclose(message.velocities, 0.02 * np.arange(7), atol=1e-9)
        assert not np.any(ear.after(sender.release).velocities)


class Commanded:
    """A robot behind a forward position controller, and what the controller hears."""

    def __init__(self, make, listen, name="ur5e", **config):
        config = {"controller": "arm", "command": "commands", **config}
        self.robot = robot_with(name, "ros2_control.Ros2Control", **config)
        self.sender = make(self.robot)
        self.ear = listen("array", "/arm/commands")
        self.kinematics = Kinematics(self.robot.kinematics, self.robot.joint_names)
        safety = self.robot.safety
        self.speed = safety.joint_speed_fraction * np.array(safety.joints.velocity_rad_s)

    def send(self, command, state, passed_s=0.0):
        """Joint positions heard when a command is sent `passed_s` after START_NS."""
        stamp_ns = START_NS + round(passed_s * 1e9)
        return np.array(self.ear.after(lambda: self.sender.send(command, state, stamp_ns)).data)


class TestRos2Control:
    def test_a_near_pose_becomes_joint_positions_that_reach_it(self, make, listen):
        arm = Commanded(make, listen)
        state = state_at(arm.robot)
        command = pose_command(state, (0.004, -0.003, 0.005), (0.01, 0.0, -0.02))
        position, quaternion = arm.kinematics.pose(arm.send(command, state))
        assert_allclose(position, command.ee_position_m, atol=2e-4)
        assert np.linalg.norm(error(command.ee_quaternion_xyzw, quaternion)) < 2e-3

    def test_joint_commands_keep_their_order(self, make, listen):
        arm = Commanded(make, listen)
        state = state_at(arm.robot)
        target = state.joint_position_rad + np.array([1, -2, 3, -4, 5, -6]) / 1000
        assert_allclose(arm.send(JointCommand(1.0, target, 0.05), state), target)

    def test_joints_go_no_faster_than_they_may_and_get_there_together(self, make, listen):
        arm = Commanded(make, listen)
        state = state_at(arm.robot)
        way = np.array([0.5, -0.25, 0.1, 0.0, 0.05, -0.4])
        command = JointCommand(1.0, state.joint_position_rad + way, 0.05)
        before, arrived = state.joint_position_rad, 0
        for tick in range(15):
            heard = arm.send(command, state, tick * PERIOD_S)
            step = heard - before
            assert (np.abs(step) <= arm.speed * PERIOD_S * (1 + 1e-9)).all()
            progress = (heard - state.joint_position_rad)[0] / way[0]
            assert_allclose(heard - state.joint_position_rad, progress * way, atol=1e-12)
            before, arrived = heard, arrived + bool(progress > 1 - 1e-9)
        assert arrived > 3
        # Full speed for the joint with the longest way, so that the limit is not just never reached.
        assert arm.speed[0] > 0.5 / (15 * PERIOD_S)

    def test_after_a_pause_joints_start_from_where_they_are(self, make, listen):
        arm = Commanded(make, listen)
        state = state_at(arm.robot)
        far = JointCommand(1.0, state.joint_position_rad + 0.5, 0.05)
        for tick in range(5):
            arm.send(far, state, tick * PERIOD_S)
        step = arm.send(far, state, 1.0) - state.joint_position_rad
        assert_allclose(step, arm.speed * PERIOD_S)
        arm.sender.release()
        assert_allclose(arm.send(far, state, 1.01) - state.joint_position_rad, arm.speed * PERIOD_S)

    def test_a_clock_that_was_set_back_does_not_stop_the_arm(self, make, listen):
        arm = Commanded(make, listen)
        state = state_at(arm.robot)
        far = JointCommand(1.0, state.joint_position_rad + 0.5, 0.05)
        arm.send(far, state, 3.0)
        assert_allclose(arm.send(far, state, 0.0) - state.joint_position_rad, arm.speed * PERIOD_S)

    def test_the_same_time_twice_moves_nothing_further(self, make, listen):
        arm = Commanded(make, listen)
        state = state_at(arm.robot)
        far = JointCommand(1.0, state.joint_position_rad + 0.5, 0.05)
        assert_allclose(arm.send(far, state), arm.send(far, state))

    def test_a_pose_out_of_reach_sends_nothing(self, make, listen):
        arm = Commanded(make, listen)
        state = state_at(arm.robot)
        with pytest.raises(UnreachableError, match="within reach"):
            arm.sender.send(pose_command(state, (2.0, 0.0, 0.0)), state, START_NS)
        heard = arm.send(JointCommand(1.0, state.joint_position_rad, 0.05), state)
        assert_allclose(heard, state.joint_position_rad)
        assert len(arm.ear.messages) == 1

    def test_a_pose_of_another_posture_sends_nothing(self, make, listen):
        arm = Commanded(make, listen, largest_jump_rad=0.2)
        state = state_at(arm.robot)
        # The tool turns on the spot by 0.4 rad: only the last joint can do that.
        with pytest.raises(
            UnreachableError, match=r"'wrist_3_joint' to turn by 0\.40 rad, more than .* 0\.2"
        ):
            arm.sender.send(pose_command(state, turn=(0.0, 0.0, 0.4)), state, START_NS)
        arm.send(pose_command(state, turn=(0.0, 0.0, 0.1)), state)
        assert len(arm.ear.messages) == 1

    @pytest.mark.parametrize("wrong", ["tool", "base", "nan"])
    def test_a_measured_pose_that_contradicts_the_kinematics_sends_nothing(self, make, listen, wrong):
        arm = Commanded(make, listen)
        state = state_at(arm.robot)
        other = {
            "tool": {"ee_position_m": state.ee_position_m + np.array([0.0, 0.0, 0.15])},
            "base": {"ee_position_m": state.ee_position_m * np.array([-1.0, -1.0, 1.0])},
            "nan": {"ee_position_m": np.full(3, np.nan)},
        }[wrong]
        said = msgspec.structs.replace(state, **other)
        with pytest.raises(UnreachableError, match="give kinematics the base frame and the tool"):
            arm.sender.send(pose_command(state), said, START_NS)
        arm.send(pose_command(state), state)
        assert len(arm.ear.messages) == 1

    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    def test_poses_keep_the_margin_to_the_ends_of_the_joints(self, make, listen, sign):
        arm = Commanded(make, listen, "so101", position_first=True)
        limits = arm.robot.safety
        low = np.array(limits.joints.min_rad) + limits.joint_margin_rad
        high = np.array(limits.joints.max_rad) - limits.joint_margin_rad
        start = np.array(arm.robot.home_joint_position_rad)
        roll = (low if sign < 0.0 else high)[4] - sign * 0.01
        start[4] = roll
        state = state_at(arm.robot, start)
        # Tool down: the roll turns about the vertical, opposite to the gripper's own axis.
        for tick in range(20):
            command = pose_command(state, turn=(0.0, 0.0, sign * 0.3))
            heard = arm.send(command, state, tick * PERIOD_S)
            assert (heard >= low - 1e-9).all()
            assert (heard <= high + 1e-9).all()
        assert abs(heard[4] - roll) > 0.005
        assert_allclose(arm.kinematics.pose(heard)[0], state.ee_position_m, atol=2e-4)

    def test_five_joints_follow_positions_whatever_the_orientation(self, make, listen):
        arm = Commanded(make, listen, "so101", position_first=True)
        state = state_at(arm.robot)
        command = pose_command(state, (0.002, 0.003, 0.002), (0.2, 0.0, 0.0))
        for tick in range(20):
            heard = arm.send(command, state, tick * PERIOD_S)
        assert_allclose(arm.kinematics.pose(heard)[0], command.ee_position_m, atol=2e-4)

    def test_a_trajectory_has_one_point_and_starts_at_once(self, make, listen):
        config = {"controller": "jtc", "command": "joint_trajectory", "time_from_start_s": 1.25}
        robot = robot_with("xarm7", "ros2_control.Ros2Control", **config)
        sender, ear, state = make(robot), listen("trajectory", "/jtc/joint_trajectory"), state_at(robot)
        target = state.joint_position_rad + np.arange(7) / 1000
        message = ear.after(lambda: sender.send(JointCommand(1.0, target, 0.05), state, START_NS))
        assert stamp_of(message) == 0
        assert tuple(message.joint_names) == robot.joint_names
        (point,) = message.points
        assert_allclose(point.positions, target)
        assert (point.time_from_start.sec, point.time_from_start.nanosec) == (1, 250_000_000)

    def test_a_long_way_by_poses_arrives(self, make, listen):
        """The arm follows at once: what a stiff arm does."""
        arm = Commanded(make, listen)
        state = state_at(arm.robot)
        goal = state.ee_position_m + np.array([-0.05, 0.08, -0.1])
        for tick in range(40):
            away = goal - state.ee_position_m
            near = away * min(1.0, 0.01 / max(np.linalg.norm(away), 1e-9))
            joints = arm.send(pose_command(state, near), state, tick * PERIOD_S)
            state = state_at(arm.robot, joints)
        assert_allclose(state.ee_position_m, goal, atol=1e-3)

    def test_a_robot_without_kinematics_is_refused(self, make):
        from robot_env.ros.description import StateConfig

        config = {"controller": "arm", "command": "commands"}
        changes = {"kinematics": None, "state": StateConfig()}
        with pytest.raises(InputError, match="'ur5e' has no kinematics, but its interface"):
            make(robot_with("ur5e", "ros2_control.Ros2Control", changes, **config))

    def test_few_joints_are_refused_unless_the_position_comes_first(self, make):
        config = {"controller": "arm", "command": "commands"}
        with pytest.raises(
            InputError, match="has 5 joints, too few for every orientation: set position_first"
        ):
            make(robot_with("so101", "ros2_control.Ros2Control", **config))


@pytest.mark.parametrize(
    ("interface", "config", "message"),
    [
        ("crisp.Crisp", {"topic": "a"}, "unknown field `topic`"),
        ("cartesian_controllers.CartesianControllers", {"controler": "a"}, "unknown field `controler`"),
        ("moveit_servo.MoveItServo", {"mode": "joints"}, "'joints'"),
        ("moveit_servo.MoveItServo", {"gain_per_s": 0.0}, "gain_per_s 0.0 must be positive"),
        ("ros2_control.Ros2Control", {}, "required field `controller`"),
        ("ros2_control.Ros2Control", {"controller": "a", "command": "goal"}, "'goal'"),
        (
            "ros2_control.Ros2Control",
            {"controller": "a", "command": "commands", "largest_jump_rad": -1.0},
            "largest_jump_rad -1.0 must be positive",
        ),
    ],
)
def test_parameters_that_do_not_fit_name_the_robot_and_the_key(make, interface, config, message):
    with pytest.raises(InputError, match=f"interface of robot 'franka': .*{message}"):
        make(robot_with("franka", interface, **config))


@pytest.mark.parametrize(
    "interface", ["cartesian_controllers.CartesianControllers", "moveit_servo.MoveItServo"]
)
def test_controllers_that_insist_on_a_frame_get_one(make, interface):
    with pytest.raises(InputError, match="'franka' has an empty base_frame, but "):
        make(robot_with("franka", interface, {"base_frame": ""}))


def gripper(**changes):
    config = {"joint_names": ("left", "right"), "state_topic": "state", "command_topic": "gripper"}
    return GripperConfig(**{**config, **changes})


class TestGripper:
    @pytest.fixture
    def commander(self, runtime):
        from robot_env.ros.interfaces.gripper import GripperCommander

        return lambda config: GripperCommander(runtime.node, config)

    def test_a_width_becomes_named_joint_positions(self, commander, listen):
        sender, ear = commander(gripper()), listen("joints", "/gripper")
        message = ear.after(lambda: sender.send(0.06, START_NS))
        assert list(message.name) == ["left", "right"]
        assert_allclose(message.position, [0.03, 0.03])
        assert stamp_of(message) == START_NS

    def test_a_width_becomes_positions_of_a_turning_joint(self, commander, listen):
        config = gripper(joint_names=("knuckle",), command="positions", scale=-0.1, offset_m=0.085)
        sender, ear = commander(config), listen("array", "/gripper")
        assert_allclose(ear.after(lambda: sender.send(0.085, START_NS)).data, [0.0], atol=1e-12)
        assert_allclose(ear.after(lambda: sender.send(0.0, START_NS)).data, [0.85])

    def test_changes_go_out_at_once_and_the_rest_once_a_second(self, commander, listen):
        sender, ear = commander(gripper()), listen("joints", "/gripper")
        ear.after(lambda: sender.send(0.06, START_NS))
        for tick in range(1, 100):
            sender.send(0.06 + 1e-6 * tick, START_NS + tick * 10_000_000)
        message = ear.after(lambda: sender.send(0.06, START_NS + 1_000_000_000))
        assert stamp_of(message) == START_NS + 1_000_000_000
        message = ear.after(lambda: sender.send(0.05, START_NS + 1_010_000_000))
        assert_allclose(message.position, [0.025, 0.025])
        message = ear.after(lambda: sender.send(0.05, START_NS))
        assert stamp_of(message) == START_NS  # The clock was set back.

    def test_after_a_restart_the_same_width_is_new(self, commander, listen):
        sender, ear = commander(gripper()), listen("joints", "/gripper")
        ear.after(lambda: sender.send(0.06, START_NS))
        sender.restart()
        message = ear.after(lambda: sender.send(0.06, START_NS + 10_000_000))
        assert stamp_of(message) == START_NS + 10_000_000

    @pytest.mark.parametrize("command", ["gripper_command", "parallel_gripper_command"])
    def test_actions_need_control_msgs(self, commander, monkeypatch, command):
        monkeypatch.setitem(sys.modules, "control_msgs", None)
        with pytest.raises(InputError, match=f"'{command}' needs control_msgs, .*or command by joint_state"):
            commander(gripper(command=command))

    def test_goals_are_sent_on_change_with_pauses_and_again_when_refused(self, commander, monkeypatch):
        from robot_env.ros.interfaces import gripper as module

        client = FakeActionClient()
        make_sender = lambda node, config: module.ActionSender(client, tuple)  # noqa: E731
        monkeypatch.setattr(module, "_make_sender", make_sender)
        sender = commander(gripper())

        def goals_after(width_m, time_s):
            sender.send(width_m, START_NS + round(time_s * 1e9))
            return len(client.goals)

        assert goals_after(0.08, 0.0) == 0  # There is no gripper yet.
        client.ready = True
        assert goals_after(0.08, 0.1) == 0  # Too soon to look again.
        assert goals_after(0.08, 0.25) == 1
        assert client.goals == [(0.04, 0.04)]
        assert goals_after(0.02, 0.3) == 1  # Too soon for another goal.
        assert goals_after(0.02, 0.5) == 2
        assert goals_after(0.02, 60.0) == 2  # Not repeated.
        client.answer(accepted=True)
        assert goals_after(0.02, 61.0) == 2
        assert goals_after(0.0, 62.0) == 3
        client.answer(accepted=False)
        assert goals_after(0.0, 63.0) == 4
        client.answer(accepted=True)
        assert goals_after(0.0, 64.0) == 4


class FakeActionClient:
    """As much of an action's server as the sender of goals sees."""

    def __init__(self):
        self.ready = False
        self.goals = []
        self._handle = None

    def server_is_ready(self):
        return self.ready

    def send_goal_async(self, goal):
        self.goals.append(goal)
        self._handle = handle = {}
        return SimpleNamespace(
            done=lambda: bool(handle),
            exception=lambda: None,
            result=lambda: SimpleNamespace(accepted=handle["accepted"]),
        )

    def answer(self, accepted):
        self._handle["accepted"] = accepted
