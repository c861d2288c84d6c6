"""`journeyman doctor arm=...`: what of a robot's YAML does not fit together, and which tasks fit it."""

import json
import re
from argparse import Namespace
from functools import cache

import pytest
import yaml

from controllers.config import InputError
from journeyman import doctor
from journeyman.checkup import Verdict
from journeyman.checkup_arm import check_arm
from journeyman.config import compose
from robot_env.ros.description import ROBOTS, fitting_workspace, limits_for, load_description, robot_names
from sim.registration import task_names


@cache
def of_arm(name):
    return checked(name)


def checked(name):
    return {check.name: check for check in check_arm(str(name))}


@pytest.fixture
def changed(tmp_path):
    """A robot that comes along, with one key of its YAML changed."""

    def change(name, *keys, to):
        plain = yaml.safe_load((ROBOTS / f"{name}.yaml").read_text())
        inner = plain
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(plain))
        return path

    return change


@pytest.mark.parametrize("name", sorted({*robot_names()} - {"twin"}))
def test_the_arms_that_come_along_agree_with_themselves(name):
    found = of_arm(name)
    assert found.keys() == {"home", "reach", *(f"task={task}" for task in task_names())}
    assert (found["home"].verdict, found["reach"].verdict) == (Verdict.OK, Verdict.OK)


def test_on_franka_all_tasks_fit_but_those_that_need_cameras():
    found = of_arm("franka")
    poor = [name for name, check in found.items() if check.verdict is not Verdict.OK]
    assert poor == ["task=lift_cube_pixels"]
    assert "cameras front, wrist" in found["task=lift_cube_pixels"].finding


@pytest.mark.parametrize("name", ["so101", "ur5e", "xarm7"])
@pytest.mark.parametrize("task", ["reach", "lift_cube"])
def test_what_is_said_to_do_makes_the_task_fit(name, task):
    robot = load_description(name)
    whole = compose([f"task={task}"]).task
    said = fitting_workspace(robot, whole)
    limits_for(robot, compose([f"task={task}", *said]).task)
    check = of_arm(name)[f"task={task}"]
    if name == "ur5e" and task == "reach":
        limits_for(robot, whole)
        assert "task.workspace.min_m" not in check.fix
        return
    assert " ".join(said) in check.fix
    with pytest.raises(InputError, match=re.escape(" ".join(said))):
        limits_for(robot, whole)


def test_a_workspace_beyond_reach_is_told(changed):
    found = checked(changed("xarm7", "safety", "workspace_max_m", to=[0.95, 0.3, 0.32]))
    assert found["reach"].verdict is Verdict.WARN
    assert "4 of 8 corners" in found["reach"].finding


def test_a_home_outside_is_told(changed):
    robot = load_description("xarm7")
    bent = [*robot.home_joint_position_rad[:-1], 7.0]
    assert (
        "joint7 outside of its limits"
        in checked(changed("xarm7", "home_joint_position_rad", to=bent))["home"].finding
    )
    turned = [1.5, *robot.home_joint_position_rad[1:]]
    found = checked(changed("xarm7", "home_joint_position_rad", to=turned))
    assert found["home"].verdict is Verdict.FAIL
    assert "outside of the robot's workspace" in found["home"].finding
    assert "home lies outside" in found["task=reach"].finding


def test_an_arm_without_kinematics_or_gripper_is_checked_as_far_as_it_goes(changed):
    path = changed("twin", "kinematics", to=None)
    assert checked(path)["kinematics"].verdict is Verdict.WARN
    found = checked(changed("franka", "gripper", to=None))
    assert "it needs a gripper" in found["task=lift_cube"].finding
    assert found["task=reach"].verdict is Verdict.OK


def test_the_doctor_checks_the_arm_instead_of_the_machine():
    written = []
    options = Namespace(json=True, overrides=["arm=franka"])
    assert doctor.run(options, written.append) == 0
    assert {check["name"] for check in json.loads(written[0])} >= {"home", "reach", "task=reach"}
    with pytest.raises(InputError, match=r"no robot 'frnka'; choose from .*Did you mean 'franka'"):
        doctor.run(Namespace(json=True, overrides=["arm=frnka"]), written.append)
