"""Puts the parts of the twin together."""

from collections.abc import Mapping

import msgspec

from controllers.config import Config, InputError, explain, not_finite
from controllers.limits import SafetyLimits
from controllers.loading import load_attribute
from robot_env.contracts import Camera
from robot_env.env import RobotEnv
from robot_env.task import Task
from sim.cameras import TRAINING, VIDEO, Studio, TwinCamera
from sim.config import TwinConfig
from sim.scene import ObservedGoalReward, TwinReward, TwinScene
from sim.twin import Twin
from sim.twin_robot import TwinRobot

_VIDEO_CAMERA = "video"


def assemble(task: Task, config: TwinConfig, render: bool, cameras: Mapping[str, Camera] | None) -> RobotEnv:
    """The twin doing a task. See `sim.registration.make_env`."""
    scene_class = _scene_class(task)
    scene_config = _scene_config(task, scene_class)
    config = msgspec.structs.replace(config, safety=_safety_limits(task, config.safety))
    twin = Twin(scene_class.model_file, config)
    _check_rate(task, twin)
    robot = TwinRobot(twin)
    scene = scene_class(twin, robot, task, scene_config)
    studio = Studio(twin.model, twin.data)
    if cameras is None:
        cameras = {
            name: TwinCamera(studio, name, wanted.width, wanted.height, TRAINING)
            for name, wanted in task.cameras.items()
        }
    video = TwinCamera(studio, _VIDEO_CAMERA, 640, 480, VIDEO) if render else None
    env = RobotEnv(robot, task, scene, TwinReward(scene, task.reward), scene, cameras, video)
    if env.goal is not None:
        env.reward_model = ObservedGoalReward(scene, task.reward, env.goal)
    return env


def _scene_class(task: Task) -> type[TwinScene]:
    found = load_attribute(task.scene, f"scene {task.scene!r} of task {task.name!r}")
    if not (isinstance(found, type) and issubclass(found, TwinScene)):
        raise InputError(
            f"scene {task.scene!r} of task {task.name!r} is not a TwinScene; name a subclass of it."
        )
    return found


def _scene_config(task: Task, scene_class: type[TwinScene]) -> Config:
    if where := not_finite(task.scene_config):
        raise InputError(f"scene_config of task {task.name!r}: {where} must be a finite number.")
    try:
        return msgspec.convert(task.scene_config, scene_class.config_type)
    except msgspec.ValidationError as error:
        why = explain(error, scene_class.config_type, task.scene_config)
        raise InputError(f"scene_config of task {task.name!r} does not fit {task.scene}: {why}") from None


def _safety_limits(task: Task, limits: SafetyLimits) -> SafetyLimits:
    """The robot's limits, with the task's workspace."""
    try:
        return msgspec.structs.replace(
            limits, workspace_min_m=task.workspace.min_m, workspace_max_m=task.workspace.max_m
        )
    except ValueError as error:
        raise InputError(f"workspace of task {task.name!r}: {error}.") from None


def _check_rate(task: Task, twin: Twin) -> None:
    """Refuse control periods that the twin cannot keep."""
    period_s = 1.0 / task.control_rate_hz
    ticks = period_s / twin.tick_s
    if abs(ticks - round(ticks)) > 1e-6:
        raise InputError(
            f"control_rate_hz {task.control_rate_hz:g} of task {task.name!r} is no whole number of the twin's ticks of "
            f"{1000 * twin.tick_s:g} ms; choose for example 10, 20, 25 or 50."
        )
    longest_s = twin.config.safety.max_command_age_s
    if period_s > longest_s + 1e-9:
        raise InputError(
            f"control_rate_hz {task.control_rate_hz:g} of task {task.name!r} leaves {period_s:g} s between commands, "
            f"but the arm holds after max_command_age_s {longest_s:g}; choose a higher rate or raise that limit."
        )
