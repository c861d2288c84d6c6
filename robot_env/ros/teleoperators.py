"""What people hold in their hands behind ROS 2, as teleoperators of a task: `device=ros_joy` and its like."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from controllers.kinematics import Kinematics
from robot_env.devices.bindings import Bindings
from robot_env.devices.driving import DriveConfig, ReadingTeleoperator, read_device_config
from robot_env.devices.following import PoseTeleoperator
from robot_env.env import RobotEnv
from robot_env.ros.pose_devices import LeaderArm, LeaderConfig, RosPose, RosPoseConfig
from robot_env.ros.ros_clock import RosClock, SimulatedRosClock, WallRosClock
from robot_env.ros.runtime import Runtime
from robot_env.ros.teleop_devices import Joy, JoyConfig, Setting, Spacenav, Twist
from robot_env.teleoperator import Event


class RosDriveConfig(DriveConfig):
    """A 3D mouse, or a gamepad, behind ROS 2.

    Attributes:
        events: Number of a button -> what it says, see `Event`.
        dead_zone: As far as its axes stray at rest.
    """

    events: dict[int, str] = {}
    dead_zone: float = 0.1


class RosJoyConfig(RosDriveConfig):
    """A gamepad behind ROS 2.

    Attributes:
        joy: Where it has what.
    """

    joy: JoyConfig = JoyConfig()


class RosTwistConfig(DriveConfig):
    """Any source of velocities in m/s and rad/s.

    Attributes:
        frame_id: Frame that they are in; empty takes any.
    """

    frame_id: str = ""


class Part(Protocol):
    """What subscribes; see `robot_env.ros.teleop_devices.Device`."""

    hint: str
    problem: str
    pressed: list[int]

    def read(self) -> Any:
        """What it says now, a `Reading` or a `HandPose`; None if it is silent."""
        ...


class NodeDevice:
    """A device with a ROS 2 node of its own, `teleop`. Implements `Device`.

    Args:
        name: For messages.
        make: Makes what subscribes, of the node.
        hint: What a person starts, so that it speaks.
        buttons: What its buttons say.
    """

    def __init__(self, name: str, make: Callable[[Any], Part], hint: str, buttons: Bindings[int]) -> None:
        self.name = name
        self.hint = hint
        self.problem = ""
        self.help: Mapping[str, str] = {f"button {number}": what for number, what in buttons.help.items()}
        self._make = make
        self._buttons = buttons
        self._runtime: Runtime | None = None
        self._part: Part | None = None
        self._events: list[Event] = []
        self._has_spoken = False

    def open(self) -> None:
        """Start the node.

        Raises:
            InputError: There is no ROS 2 here.
        """
        if self._runtime is None:
            self._runtime = Runtime(_make_node)
            self._part = self._make(self._runtime.node)

    def read(self) -> Any:
        """What it says now, a `Reading` or a `HandPose`; None if it is silent.

        Raises:
            ThreadDiedError: The node's thread has ended.
        """
        if self._runtime is None or self._part is None:
            return None
        self._runtime.raise_if_dead()
        said = self._part.read()
        self._events += self._buttons.said(self._part.pressed)
        self._has_spoken |= said is not None
        # One that spoke and ceased is named by who needs it.
        missing = "" if self._has_spoken else f"Nothing comes from {self.name}: {self.hint}."
        self.problem = self._part.problem or missing
        return said

    def get_events(self) -> tuple[Event, ...]:
        """What was said up to the last reading."""
        events = tuple(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        """Leave ROS."""
        runtime, self._runtime, self._part = self._runtime, None, None
        if runtime is not None:
            runtime.close()


def make_joy(env: RobotEnv, config: Mapping[str, Any]) -> ReadingTeleoperator:
    """Factory named by `device=ros_joy`.

    Raises:
        InputError: `config` is not a `RosJoyConfig`.
    """
    chosen = read_device_config(RosJoyConfig, config)
    setting = Setting(1.0, 1.0, "", _clock(env))
    device = NodeDevice(
        "the gamepad",
        lambda node: Joy(node, setting, chosen.joy),
        f"start {Joy.hint}",
        _events(chosen.events),
    )
    return ReadingTeleoperator(device, chosen, env.task.action)


def make_spacenav(env: RobotEnv, config: Mapping[str, Any]) -> ReadingTeleoperator:
    """Factory named by `device=ros_spacenav`.

    Raises:
        InputError: `config` is not a `RosDriveConfig`.
    """
    chosen = read_device_config(RosDriveConfig, config)
    setting = Setting(1.0, 1.0, "", _clock(env))
    device = NodeDevice(
        "the 3D mouse", lambda node: Spacenav(node, setting), f"start {Spacenav.hint}", _events(chosen.events)
    )
    return ReadingTeleoperator(device, chosen, env.task.action)


def make_twist(env: RobotEnv, config: Mapping[str, Any]) -> ReadingTeleoperator:
    """Factory named by `device=ros_twist`: the arm moves as fast as it says, up to the task's full action.

    Raises:
        InputError: `config` is not a `RosTwistConfig`.
    """
    chosen = read_device_config(RosTwistConfig, config)
    action, rate_hz = env.task.action, env.task.control_rate_hz
    setting = Setting(
        chosen.translation_scale * action.translation_m * rate_hz,
        chosen.rotation_scale * (action.rotation_rad or 1.0) * rate_hz,
        chosen.frame_id,
        _clock(env),
    )
    device = NodeDevice(
        "the source of velocities", lambda node: Twist(node, setting), f"start {Twist.hint}", _events({})
    )
    return ReadingTeleoperator(device, chosen, action)


def make_pose(env: RobotEnv, config: Mapping[str, Any]) -> PoseTeleoperator:
    """Factory named by `device=ros_pose`.

    Raises:
        InputError: `config` is not a `RosPoseConfig`.
    """
    chosen = read_device_config(RosPoseConfig, config)
    buttons: Bindings[int] = Bindings(chosen.buttons, "device.config.buttons", turns=False)
    device = NodeDevice(
        "the tracked hand",
        lambda node: RosPose(node, _clock(env), chosen, buttons),
        RosPose.hint,
        buttons,
    )
    return PoseTeleoperator(device, chosen, env.task.action)


def make_leader(env: RobotEnv, config: Mapping[str, Any]) -> PoseTeleoperator:
    """Factory named by `device=ros_leader`.

    Raises:
        InputError: `config` is not a `LeaderConfig`, or its kinematics cannot be used.
    """
    chosen = read_device_config(LeaderConfig, config)
    buttons: Bindings[int] = Bindings(chosen.buttons, "device.config.buttons", turns=False)
    kinematics = Kinematics(chosen.kinematics, chosen.joint_names)
    device = NodeDevice(
        "the leader arm",
        lambda node: LeaderArm(node, _clock(env), chosen, buttons, kinematics),
        LeaderArm.hint,
        buttons,
    )
    return PoseTeleoperator(device, chosen, env.task.action)


def _clock(env: RobotEnv) -> RosClock:
    """By which stamps are judged: the robot's, if it is behind ROS 2 as well."""
    clock = env.robot.clock
    return clock if isinstance(clock, WallRosClock | SimulatedRosClock) else WallRosClock()


def _events(words: Mapping[int, str]) -> Bindings[int]:
    return Bindings(words, "device.config.events", turns=False)


def _make_node(**keywords: Any) -> Any:
    from rclpy.node import Node

    return Node("teleop", **keywords)
