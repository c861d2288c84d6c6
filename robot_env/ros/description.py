"""A robot as ROS 2 shows it, as data: one YAML per robot in `robot_env/ros/robots`."""

from math import inf
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError, did_you_mean, read_file
from controllers.kinematics import KinematicsConfig
from controllers.limits import SafetyLimits
from robot_env.task import Task

ROBOTS = Path(__file__).parent / "robots"

_LEAST_EDGE_M = 0.05  # In a smaller box there is nothing to do.


class TopicConfig(Config):
    """A topic that part of the state comes from.

    Attributes:
        topic: Its name, relative to the namespace unless it begins with a slash.
        max_age_s: An older message is not believed.
    """

    topic: str
    max_age_s: float = 0.1

    def __post_init__(self) -> None:
        """Refuse names and ages that cannot be meant."""
        if not self.topic or not 0.0 < self.max_age_s < inf:
            raise ValueError(
                f"topic {self.topic!r} must not be empty and max_age_s {self.max_age_s} must be positive"
            )


class StateConfig(Config):
    """Where the state comes from.

    Attributes:
        joint_states: sensor_msgs/JointState: positions, and velocities and efforts if the arm has them.
        pose: geometry_msgs/PoseStamped of the end effector; null computes it by the kinematics.
        twist: geometry_msgs/TwistStamped; null computes it by the kinematics.
        wrench: geometry_msgs/WrenchStamped, in the base or end-effector frame; null reports zeros.
    """

    joint_states: TopicConfig = TopicConfig(topic="joint_states")
    pose: TopicConfig | None = TopicConfig(topic="current_pose")
    twist: TopicConfig | None = TopicConfig(topic="current_twist")
    wrench: TopicConfig | None = None


class GripperConfig(Config):
    """A gripper whose joints tell the distance between its fingers: width = offset + scale * sum(positions).

    Attributes:
        joint_names: In the JointState of `state_topic`.
        state_topic: sensor_msgs/JointState; may be the arm's own topic.
        max_age_s: An older state is not believed; grippers are often slow.
        command_topic: Where commands go.
        command: `joint_state` sends positions as a JointState, `positions` as a Float64MultiArray (a ros2_control
            forward position controller), the other two are goals of control_msgs actions of that name.
        scale: Metres of width per unit of the summed joint positions.
        offset_m: Width at joint positions of zero.
    """

    joint_names: tuple[str, ...]
    state_topic: str
    command_topic: str
    max_age_s: float = 0.5
    command: Literal["joint_state", "positions", "gripper_command", "parallel_gripper_command"] = (
        "joint_state"
    )
    scale: float = 1.0
    offset_m: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a gripper whose width cannot be told."""
        if not self.joint_names or self.scale == 0.0:
            raise ValueError(
                f"gripper joint_names {self.joint_names} must not be empty and scale {self.scale} not zero"
            )


class CameraTopic(Config):
    """A camera.

    Attributes:
        topic: Name of its images without `/compressed`.
        width: Pixels of the images that arrive; others are refused, because crops would show something else.
        height: Pixels.
        compressed: Whether to take `<topic>/compressed`, a sensor_msgs/CompressedImage.
        crop: Left, top, width and height in pixels of the part that is used; null takes the middle with the
            aspect ratio that the task wants.
        max_age_s: An older image is not believed.
    """

    topic: str
    width: int
    height: int
    compressed: bool = True
    crop: tuple[int, int, int, int] | None = None
    max_age_s: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what no camera sends, and a part that reaches out of the image."""
        left, top, wide, high = self.crop or (0, 0, self.width, self.height)
        inside = 0 <= left < left + wide <= self.width and 0 <= top < top + high <= self.height
        if not inside or not 0.0 < self.max_age_s < inf:
            raise ValueError(
                f"camera {self.topic!r}: crop {self.crop} must lie inside of {self.width} x {self.height} pixels and "
                f"max_age_s {self.max_age_s} must be positive"
            )


class InterfaceConfig(Config):
    """What moves the arm.

    Attributes:
        type: Dotted path of a class like those in `robot_env.ros.interfaces`.
        config: Its parameters, read strictly by it.
    """

    type: str
    config: dict[str, Any] = {}


class RobotDescription(Config):
    """Everything about a robot that is not code.

    Attributes:
        name: For people and messages.
        base_frame: Frame of poses, workspace and commands; an empty name accepts any.
        ee_frame: Frame of the tool centre point.
        joint_names: Of the arm, in the order of every joint vector.
        safety: What the arm may do; the workspace is narrowed to the task's.
        state: Where the state comes from.
        interface: What moves the arm.
        commander: `controller` sends commands to journeyman's controller node, which filters them beside the
            arm and sends them on to `interface`; `direct` sends them to `interface` itself.
        controller_name: Name of that node, and so the beginning of its topics.
        gripper: Null for an arm without one.
        cameras: By the names that tasks use.
        kinematics: Needed for what is computed from joint positions; null where nothing is.
        home_joint_position_rad: Where resets drive to.
        command_rate_hz: How often the newest command is repeated between two of the control loop's.
        command_lifetime_s: How long at most; then the robot side notices the silence and stops.
        start_hint: What a person types to start the robot's driver.
    """

    name: str
    joint_names: tuple[str, ...]
    safety: SafetyLimits
    interface: InterfaceConfig
    home_joint_position_rad: tuple[float, ...]
    base_frame: str = "base"
    ee_frame: str = ""
    state: StateConfig = StateConfig()
    commander: Literal["controller", "direct"] = "controller"
    controller_name: str = "controller"
    gripper: GripperConfig | None = None
    cameras: dict[str, CameraTopic] = {}
    kinematics: KinematicsConfig | None = None
    command_rate_hz: float = 50.0
    command_lifetime_s: float = 0.25
    start_hint: str = "start the robot's driver"

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        joints = len(self.joint_names)
        if not joints or len(set(self.joint_names)) < joints:
            raise ValueError(f"joint_names {self.joint_names} must name at least one joint, and none twice")
        if self.safety.joints.joints != joints or len(self.home_joint_position_rad) != joints:
            raise ValueError(
                f"{joints} joint_names need as many safety.joints limits ({self.safety.joints.joints}) and "
                f"home_joint_position_rad ({len(self.home_joint_position_rad)})"
            )
        if self.kinematics is None and (self.state.pose is None or self.state.twist is None):
            raise ValueError("without a pose and a twist topic they are computed: give kinematics")
        if not 0.0 < self.command_rate_hz < inf or not 0.0 < self.command_lifetime_s < inf:
            raise ValueError(
                f"command_rate_hz {self.command_rate_hz} and command_lifetime_s {self.command_lifetime_s} must be "
                "positive and finite"
            )


def robot_names() -> list[str]:
    """Names of the robots that come with journeyman."""
    return sorted(path.stem for path in ROBOTS.glob("*.yaml"))


def load_description(name: str) -> RobotDescription:
    """A robot by its name or by the path of its YAML.

    Raises:
        InputError: There is none, or it is not a robot; the message names the key.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else ROBOTS / f"{name}.yaml"
    if path.parent == ROBOTS and name not in robot_names():
        hint = did_you_mean(name, robot_names())
        raise InputError(
            f"There is no robot {name!r}; choose from {', '.join(robot_names())}, or give the path of a YAML.{hint}"
        )
    return read_file(RobotDescription, path, "robot")


def limits_for(description: RobotDescription, task: Task | None) -> SafetyLimits:
    """The robot's limits; with a task, its workspace where that lies inside the robot's.

    Raises:
        InputError: The task's workspace reaches out of the robot's.
    """
    limits = description.safety
    if task is None:
        return limits
    low, high = task.workspace.min_m, task.workspace.max_m
    if not contains_workspace(description, task):
        raise InputError(
            f"workspace {low} to {high} of task {task.name!r} reaches out of {limits.workspace_min_m} to "
            f"{limits.workspace_max_m}, which robot {description.name!r} allows: make the task's smaller, as by "
            f"{' '.join(fitting_workspace(description, task))}."
        )
    return msgspec.structs.replace(limits, workspace_min_m=low, workspace_max_m=high)


def contains_workspace(description: RobotDescription, task: Task) -> bool:
    """Whether a task's workspace lies inside the robot's."""
    limits, box = description.safety, task.workspace
    return all(a <= b for a, b in zip(limits.workspace_min_m, box.min_m, strict=True)) and all(
        a <= b for a, b in zip(box.max_m, limits.workspace_max_m, strict=True)
    )


def fitting_workspace(description: RobotDescription, task: Task) -> tuple[str, str]:
    """Overrides by which a task keeps to the robot's workspace: what both have in common, else all of the robot's."""
    low, high = common_workspace(description, task)
    return f"task.workspace.min_m={_list(low)}", f"task.workspace.max_m={_list(high)}"


def common_workspace(
    description: RobotDescription, task: Task
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The box that `fitting_workspace` names: its corners, shape (3,) each."""
    box = description.safety
    low = np.maximum(box.workspace_min_m, task.workspace.min_m)
    high = np.minimum(box.workspace_max_m, task.workspace.max_m)
    if (high - low >= _LEAST_EDGE_M).all():
        return low, high
    return np.array(box.workspace_min_m), np.array(box.workspace_max_m)


def _list(numbers: NDArray[np.float64]) -> str:
    return f"[{','.join(f'{number:g}' for number in numbers)}]"
