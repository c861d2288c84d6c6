import itertools
from math import pi
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose

from controllers.config import InputError
from controllers.ik import InverseKinematics
from controllers.kinematics import Kinematics
from controllers.loading import load_attribute
from controllers.rotations import error, rotate
from robot_env.ros.description import ROBOTS, limits_for, load_description, robot_names
from robot_env.task import load_task

GRIPPER_DOWN = np.array([1.0, 0.0, 0.0, 0.0])
TASKS = Path(__file__).parents[3] / "sim/conf/task"
REAL = ("franka", "so101", "ur5e", "xarm7")

# The chain of Simulation/SO101/so101_new_calib.urdf of TheRobotStudio/SO-ARM100: origins of its joints, without shapes.
SO101_ORIGINS = (
    ("shoulder_pan", "0.0207909 -0.0230745 0.0948817", "-3.14159265 0 1.57079633"),
    ("shoulder_lift", "-0.0303992 -0.0182778 -0.0542", "-1.57079633 -1.57079633 0"),
    ("elbow_flex", "-0.11257 -0.028 0", "0 0 1.57079633"),
    ("wrist_flex", "-0.1349 0.0052 0", "0 0 -1.57079633"),
    ("wrist_roll", "0 -0.0611 0.0181", "1.57079633 0 3.14159265"),
)


def kinematics_of(robot):
    return Kinematics(robot.kinematics, robot.joint_names, robot.safety.joints)


def test_the_robots_that_come_along():
    assert set(REAL) < set(robot_names())
    for name in REAL:
        assert load_description(name).name == name


@pytest.mark.parametrize("name", robot_names())
def test_every_home_lies_within_the_limits_and_in_the_workspace(name):
    robot = load_description(name)
    home, limits = np.array(robot.home_joint_position_rad), robot.safety
    assert (home > np.array(limits.joints.min_rad) + limits.joint_margin_rad).all()
    assert (home < np.array(limits.joints.max_rad) - limits.joint_margin_rad).all()
    position, quaternion = kinematics_of(robot).pose(home)
    assert (position > limits.workspace_min_m).all()
    assert (position < limits.workspace_max_m).all()
    assert_allclose(rotate(quaternion, np.array([0.0, 0.0, 1.0])), [0.0, 0.0, -1.0], atol=0.01)


@pytest.mark.parametrize("task", sorted(TASKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_rehearsed_on_the_twin_fits_into_the_workspace_of_the_arm_that_the_pages_name(task):
    """`journeyman controller robot.config.arm=franka` is what README and docs say; it has the workspace of the task."""
    limits = limits_for(load_description("franka"), load_task(task))
    assert limits.workspace_max_m == load_task(task).workspace.max_m


@pytest.mark.parametrize("name", REAL)
def test_every_corner_of_the_workspace_is_in_reach_with_the_gripper_down(name):
    robot = load_description(name)
    arm, limits = kinematics_of(robot), robot.safety
    position_first = robot.interface.config.get("position_first", False)
    solver = InverseKinematics(arm.model, arm.site_name, "least_squares", position_first=position_first)
    home = np.array(robot.home_joint_position_rad)
    start, _ = arm.pose(home)
    for corner in itertools.product(*zip(limits.workspace_min_m, limits.workspace_max_m, strict=True)):
        joints = home
        for fraction in np.linspace(0.1, 1.0, 10):
            joints = solver.solve(start + fraction * (np.array(corner) - start), GRIPPER_DOWN, joints)
        position, quaternion = arm.pose(joints)
        assert_allclose(position, corner, atol=2e-4)
        assert position_first or np.linalg.norm(error(GRIPPER_DOWN, quaternion)) < 2e-3


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("franka", 0.0, 0.04), ("so101", -0.174533, 1.74533), ("ur5e", 0.0, 0.8), ("xarm7", 0.0, 0.86)],
)
def test_the_joints_of_every_gripper_can_close_and_open_it_fully(name, low, high):
    robot = load_description(name)
    gripper = robot.gripper
    for width_m in (0.0, robot.safety.gripper_max_m):
        position = (width_m - gripper.offset_m) / gripper.scale / len(gripper.joint_names)
        assert low - 1e-4 <= position <= high + 1e-4


@pytest.mark.ros
@pytest.mark.parametrize("name", robot_names())
def test_every_interface_can_be_loaded(name):
    assert callable(load_attribute(load_description(name).interface.type, "interface"))


@pytest.mark.parametrize(
    ("name", "joints", "position"),
    [
        # Stretched out: sums of the published lengths, without the tool.
        ("ur5e", (0, 0, 0, 0, 0, 0), (-0.425 - 0.3922, -0.1333 - 0.0996, 0.1625 - 0.0997)),
        ("ur5e", (0, -pi / 2, 0, -pi / 2, 0, 0), (0.0, -0.1333 - 0.0996, 0.1625 + 0.425 + 0.3922 + 0.0997)),
        # UFACTORY's zero position: 206 mm in front and 120.5 mm up.
        ("xarm7", (0,) * 7, (0.206, 0.0, 0.1205)),
        # Franka's ready pose, at the flange.
        ("franka", (0, -pi / 4, 0, -3 * pi / 4, 0, pi / 2, pi / 4), (0.3069, 0.0, 0.5903)),
    ],
)
def test_flanges_are_where_the_makers_figures_put_them(name, joints, position):
    robot = load_description(name)
    flange_m = {"franka": (0.0, 0.0, 0.107)}.get(name, (0.0, 0.0, 0.0))
    bare = msgspec.structs.replace(robot.kinematics, tool_position_m=flange_m)
    reached, _ = Kinematics(bare, robot.joint_names).pose(np.array(joints, float))
    assert_allclose(reached, position, atol=1e-4)


def test_the_so101_has_the_kinematics_of_its_urdf(tmp_path):
    links = "".join(f'<link name="{name}_link"/>' for name, *_ in SO101_ORIGINS)
    parents = ["base", *(f"{name}_link" for name, *_ in SO101_ORIGINS)]
    joints = "".join(
        f'<joint name="{name}" type="continuous"><parent link="{parent}"/><child link="{name}_link"/>'
        f'<origin xyz="{xyz}" rpy="{rpy}"/><axis xyz="0 0 1"/></joint>'
        for parent, (name, xyz, rpy) in zip(parents, SO101_ORIGINS, strict=False)
    )
    tool = (
        '<link name="tool"/><joint name="t" type="fixed"><parent link="wrist_roll_link"/><child link="tool"/>'
        '<origin xyz="-0.0079 -0.000218121 -0.0981274" rpy="1.57079633 0 1.57079633"/></joint>'
    )
    path = tmp_path / "so101.urdf"
    path.write_text(f'<robot name="so101"><link name="base"/>{links}{joints}{tool}</robot>')
    robot = load_description("so101")
    ours = Kinematics(robot.kinematics, robot.joint_names)
    config = msgspec.convert({"model": str(path), "site": "tool"}, type(robot.kinematics))
    theirs = Kinematics(config, robot.joint_names)
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = rng.uniform(-1.6, 1.6, 5)
        x, y, z = theirs.pose(angles)[0]
        # Our base: on the pan axis, x where the URDF has -y.
        assert_allclose(ours.pose(angles)[0], [-(y + 0.0230745), x - 0.0207909, z], atol=1e-4)


@pytest.fixture
def write(tmp_path):
    """Writes the description of the UR5e with changes; returns its path."""

    def write(**changes):
        data = yaml.safe_load((ROBOTS / "ur5e.yaml").read_text())
        for dotted, value in changes.items():
            *groups, key = dotted.split("__")
            place = data
            for group in groups:
                place = place[group]
            place[key] = value
        path = tmp_path / "robot.yaml"
        path.write_text(yaml.safe_dump(data))
        return str(path)

    return write


def test_a_path_serves_as_well_as_a_name(write):
    assert load_description(write(name="mine")).name == "mine"


def test_an_unknown_robot_lists_the_known_and_guesses():
    with pytest.raises(InputError, match=r"no robot 'ur5'; choose from franka, .*Did you mean 'ur5e'\?"):
        load_description("ur5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": 1.0}, "unknown field `speed`"),
        ({"safety__speed": 1.0}, r"unknown field `speed` at `safety`; known are .*contact_force_n"),
        ({"gripper__command": "magnet"}, r"'magnet'.*gripper.command"),
        ({"gripper__scale": 0.0}, "scale 0.0 not zero"),
        ({"home_joint_position_rad": [0.0] * 5}, r"6 joint_names need .* home_joint_position_rad \(5\)"),
        ({"safety__joints__min_rad": [-1.0] * 7}, "must all have one entry per joint"),
        ({"joint_names": ["a", "a", "b", "c", "d", "e"]}, "none twice"),
        ({"kinematics__dh": [[0.0, 0.0, 0.0]]}, r"length 4.*kinematics\.dh"),
        ({"kinematics": None}, "give kinematics"),
        ({"kinematics__tool_position_m": [0.0, float("nan"), 0.0]}, r"tool_position_m\[1\] must be a finite"),
        ({"gripper__offset_m": float("inf")}, r"gripper\.offset_m must be a finite number"),
        ({"state__joint_states__max_age_s": 0.0}, "max_age_s 0.0 must be positive"),
        ({"command_rate_hz": float("inf")}, "command_rate_hz inf"),
        ({"safety__workspace_min_m": [9.0, 0.0, 0.0]}, "workspace_min_m .* must lie below"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(write, changes, message):
    path = write(**changes)
    with pytest.raises(InputError, match=message) as caught:
        load_description(path)
    text = str(caught.value)
    assert text.startswith(f"{path} is not a robot: ")
    assert text.endswith(".")
    assert "\n" not in text


def test_a_missing_file_is_told_by_its_path(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml cannot be read: No such file or directory; check"):
        load_description(str(tmp_path / "nowhere.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_description(str(tmp_path / "folder.yaml"))


@pytest.mark.parametrize("text", ["", "a list of words", "- 1\n- 2\n", "name: {", "\x00"])
def test_a_file_that_is_no_description_is_refused(tmp_path, text):
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="is not a robot: "):
        load_description(str(path))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(InputError, match="is not a robot: "):
        load_description(str(path))
