"""`journeyman doctor arm=NAME`: whether a robot's YAML agrees with itself, and which tasks fit it. Moves nothing."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from controllers.ik import InverseKinematics, UnreachableError
from controllers.kinematics import Kinematics
from journeyman.checkup import Check, Verdict
from robot_env.ros.description import (
    RobotDescription,
    common_workspace,
    contains_workspace,
    fitting_workspace,
    load_description,
)
from robot_env.task import Task
from sim.registration import load, task_names

Array = NDArray[np.float64]

_GRIPPER_DOWN = np.array([1.0, 0.0, 0.0, 0.0])
_WAYPOINTS = 10


def check_arm(name: str) -> list[Check]:
    """All checks of a robot.

    Args:
        name: Of a robot that comes along, or the path of a YAML.

    Raises:
        InputError: There is none, or it is not a robot.
    """
    robot = load_description(name)
    tasks = [load(task) for task in task_names()]
    if robot.kinematics is None:
        why = "it has no kinematics, so nothing is known of home and reach"
        fix = "Give the robot's YAML kinematics to have them checked."
        return [Check("kinematics", Verdict.WARN, why, fix), *(_task(robot, task, None) for task in tasks)]
    arm = Kinematics(robot.kinematics, robot.joint_names, robot.safety.joints)
    home, _ = arm.pose(np.array(robot.home_joint_position_rad))
    return [_home(robot, home), _reach(robot, arm), *(_task(robot, task, home) for task in tasks)]


def _home(robot: RobotDescription, position: Array) -> Check:
    """Whether joints and tool centre point, which is at `position` then, keep to the robot's limits at home."""
    home, limits = np.array(robot.home_joint_position_rad), robot.safety
    margin = limits.joint_margin_rad
    low, high = np.array(limits.joints.min_rad) + margin, np.array(limits.joints.max_rad) - margin
    outside = [
        joint for joint, ok in zip(robot.joint_names, (home > low) & (home < high), strict=True) if not ok
    ]
    if outside:
        fix = "Correct home_joint_position_rad, or safety.joints."
        return Check("home", Verdict.FAIL, f"{', '.join(outside)} outside of its limits", fix)
    where = f"the tool is at {_metres(position)} m"
    if not _is_inside(position, limits.workspace_min_m, limits.workspace_max_m):
        fix = "Correct home_joint_position_rad, kinematics, or safety.workspace_min_m and workspace_max_m."
        return Check("home", Verdict.FAIL, f"{where}, outside of the robot's workspace", fix)
    return Check("home", Verdict.OK, f"{where}: compare with a ruler")


def _reach(robot: RobotDescription, arm: Kinematics) -> Check:
    """Whether every corner of the workspace is met with the gripper down; where position comes first, at any tilt."""
    position_first = bool(robot.interface.config.get("position_first", False))
    solver = InverseKinematics(arm.model, arm.site_name, "least_squares", position_first=position_first)
    limits = robot.safety
    corners = itertools.product(*zip(limits.workspace_min_m, limits.workspace_max_m, strict=True))
    home = np.array(robot.home_joint_position_rad)
    missed = [corner for corner in corners if not _is_met(arm, solver, home, np.array(corner))]
    box = f"{_metres(limits.workspace_min_m)} to {_metres(limits.workspace_max_m)} m"
    if missed:
        found = f"{len(missed)} of 8 corners of {box} are out of reach with the gripper down, as {_metres(missed[0])}"
        fix = "Make safety.workspace_min_m and workspace_max_m smaller, if the task has the gripper down."
        return Check("reach", Verdict.WARN, found, fix)
    return Check("reach", Verdict.OK, f"every corner of {box}")


def _is_met(arm: Kinematics, solver: InverseKinematics, home: Array, corner: Array) -> bool:
    """Along a line from home: a far target at once may lead into a wrong branch."""
    joints, (start, _), is_met = home, arm.pose(home), False
    for fraction in np.linspace(1 / _WAYPOINTS, 1.0, _WAYPOINTS):
        try:
            joints, is_met = solver.solve(start + fraction * (corner - start), _GRIPPER_DOWN, joints), True
        except UnreachableError:
            is_met = False
    return is_met


def _task(robot: RobotDescription, task: Task, home: Array | None) -> Check:
    """Whether a task fits; `home` is where the tool centre point is at home, as far as that is known."""
    name = f"task={task.name}"
    findings: dict[str, str] = {}  # With what to do.
    if not contains_workspace(robot, task):
        what = f"Say {' '.join(fitting_workspace(robot, task))}."
        findings["its workspace reaches out of the robot's"] = what
    if home is not None and not _is_inside(home, *common_workspace(robot, task)):
        what = "Choose a home_joint_position_rad inside of it, or a larger task.workspace."
        findings["the robot's home lies outside of its workspace"] = what
    if missing := sorted(task.cameras.keys() - robot.cameras.keys()):
        findings[f"it needs cameras {', '.join(missing)}"] = "Add them to the robot's YAML."
    if task.action.gripper and robot.gripper is None:
        findings["it needs a gripper"] = "Add it to the robot's YAML, or take another task."
    if findings:
        return Check(name, Verdict.WARN, "; ".join(findings), " ".join(findings.values()))
    return Check(name, Verdict.OK, "fits: workspace, home, cameras, gripper")


def _is_inside(
    position: Array | Sequence[float], low: Array | Sequence[float], high: Array | Sequence[float]
) -> bool:
    return all(a <= p <= b for a, p, b in zip(low, position, high, strict=True))


def _metres(position: Array | Sequence[float]) -> str:
    return f"({', '.join(f'{round(number, 3) + 0.0:g}' for number in position)})"
