"""Puts the parts of a robot behind ROS 2 together: factory named by `robot=ros2`."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from controllers.config import Config, InputError, read
from reward_models.goal_pose import GoalPoseConfig, GoalPoseReward
from robot_env.contracts import ResetPolicy, RewardModel
from robot_env.env import RobotEnv, state_layout
from robot_env.resets import JointReset, JointResetConfig
from robot_env.ros.camera import Ros2Camera
from robot_env.ros.description import limits_for, load_description
from robot_env.ros.ros2_robot import Ros2Robot
from robot_env.ros.service_reset import ServiceReset
from robot_env.ros.success_topic import SuccessTopic
from robot_env.ros.tracked_objects import TrackedObjects
from robot_env.task import CameraConfig, Task

_VIDEO_CAMERA = "video"


class Ros2Config(Config):
    """A robot behind ROS 2, and what judges and resets its task.

    Attributes:
        arm: Name of a robot in `robot_env/ros/robots`, or the path of a YAML like them.
        namespace: Of all the robot's topics and nodes that do not begin with a slash, such as `left`; none if empty.
        simulated_time: Whether time is what `/clock` says.
        controller_rate_hz: Of the loop of `journeyman controller`, and of the one that `journeyman twin` starts.
        connect_timeout_s: How long to wait for a first state; nodes take seconds to find each other at times.
        objects_topic: Poses of what the task observes besides the arm, with `{name}` in it.
        objects_max_age_s: An older pose is not believed.
        reward: `success_topic` pays what a std_msgs/Bool says, `goal_pose` nearness to a pose.
        success_topic: That topic.
        success_max_age_s: An older message is not believed.
        goal_pose: Parameters of `reward_models.goal_pose`.
        reset: `service` lets a node do it (the twin), `joint` drives home along a minimum-jerk path.
        reset_node: The node with a `~/reset` service.
        reset_timeout_s: How long that may take.
        reset_speed_fraction: Part of the joints' speed limits that driving home uses.
    """

    arm: str = "twin"
    namespace: str = ""
    simulated_time: bool = False
    controller_rate_hz: float = 100.0
    connect_timeout_s: float = 20.0
    objects_topic: str = "objects/{name}/pose"
    objects_max_age_s: float = 0.1
    reward: Literal["success_topic", "goal_pose"] = "success_topic"
    success_topic: str = "success"
    success_max_age_s: float = 0.5
    goal_pose: GoalPoseConfig | None = None
    reset: Literal["service", "joint"] = "service"
    reset_node: str = "twin"
    reset_timeout_s: float = 60.0
    reset_speed_fraction: float = 0.2

    def __post_init__(self) -> None:
        """Refuse names that ROS would."""
        if not re.fullmatch(r"(/?[A-Za-z]\w*(/[A-Za-z]\w*)*)?", self.namespace):
            raise ValueError(
                f"namespace {self.namespace!r} must be names of letters, digits and _ with slashes between them"
            )
        if not 10.0 <= self.controller_rate_hz <= 1000.0:
            raise ValueError(f"controller_rate_hz {self.controller_rate_hz} must lie between 10 and 1000")

    @property
    def ros_arguments(self) -> list[str]:
        """By which every node of the robot is put into its namespace."""
        if not self.namespace:
            return []
        return ["--ros-args", "-r", f"__ns:=/{self.namespace.removeprefix('/')}"]


def read_ros2_config(config: Mapping[str, Any]) -> Ros2Config:
    """`robot.config` of a robot behind ROS 2.

    Raises:
        InputError: It is not a `Ros2Config`.
    """
    return read(Ros2Config, config, "robot.config does not fit a ROS 2 robot")


def make_ros2(task: Task, config: Mapping[str, Any], render: bool = False) -> RobotEnv:
    """A task on a robot behind ROS 2. Nothing of ROS is started before the first reset.

    Raises:
        InputError: `config` is not a `Ros2Config`, or task and robot do not fit.
    """
    chosen = read_ros2_config(config)
    description = load_description(chosen.arm)
    robot = Ros2Robot(
        description,
        limits_for(description, task),
        simulated_time=chosen.simulated_time,
        connect_timeout_s=chosen.connect_timeout_s,
        arguments=chosen.ros_arguments,
    )
    scene = TrackedObjects(robot, task, chosen.objects_topic, chosen.objects_max_age_s)
    robot.add(scene)
    cameras = {name: _camera(robot, name, wanted) for name, wanted in task.cameras.items()}
    reward = _reward(task, chosen, robot, scene)
    reset = _reset(chosen, robot, scene, reward, cameras)
    ages = robot.ages | {f"{name}_image": camera.ages for name, camera in cameras.items()}
    ages |= {f"{name}_image_to_joints": camera.skew for name, camera in cameras.items()}
    task = msgspec.structs.replace(task, privileged=())  # Known to the twin in this process alone.
    return RobotEnv(
        robot, task, scene, reward, reset, cameras, _video_camera(robot) if render else None, ages
    )


def _camera(robot: Ros2Robot, name: str, wanted: CameraConfig) -> Ros2Camera:
    sources = robot.description.cameras
    if name not in sources:
        raise InputError(
            f"Robot {robot.description.name!r} has no camera {name!r}; choose from {sorted(sources)}, or add it to the "
            "robot's YAML."
        )
    camera = Ros2Camera(name, sources[name], wanted, robot)
    robot.add(camera)
    return camera


def _video_camera(robot: Ros2Robot) -> Ros2Camera | None:
    source = robot.description.cameras.get(_VIDEO_CAMERA)
    if source is None:
        return None
    return _camera(robot, _VIDEO_CAMERA, CameraConfig(width=source.width, height=source.height))


def _reward(task: Task, config: Ros2Config, robot: Ros2Robot, scene: TrackedObjects) -> RewardModel:
    if config.reward == "success_topic":
        reward = SuccessTopic(config.success_topic, task.reward, config.success_max_age_s)
        robot.add(reward)
        return reward
    if config.goal_pose is None:
        raise InputError(
            "robot.config.reward is goal_pose: say where, by robot.config.goal_pose.goal_position_m."
        )
    names, _ = state_layout(task, len(robot.joint_names), scene.observables)
    return GoalPoseReward(task, names, config.goal_pose)


def _reset(
    config: Ros2Config,
    robot: Ros2Robot,
    scene: TrackedObjects,
    reward: RewardModel,
    cameras: Mapping[str, Ros2Camera],
) -> ResetPolicy:
    description = robot.description
    if config.reset == "joint":
        home = JointResetConfig(
            home_joint_position_rad=description.home_joint_position_rad,
            speed_fraction=config.reset_speed_fraction,
        )
        return JointReset(robot, home, description.safety.joints)
    news = [lambda: scene.measured_s, *(camera.news_s for camera in cameras.values())]
    if isinstance(reward, SuccessTopic):
        news.append(reward.news_s)
    reset = ServiceReset(robot, config.reset_node, news, config.reset_timeout_s)
    robot.add(reset)
    return reset
