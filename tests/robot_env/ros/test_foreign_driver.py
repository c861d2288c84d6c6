"""Ros2Robot drives arms whose drivers know nothing of it, and says to them what their interfaces promise."""

import json
import math
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from controllers.rotations import error
from controllers.state import JointCommand, PoseCommand
from robot_env.robot import RobotUnavailableError

pytestmark = pytest.mark.ros

# Patient about ages: a test machine may be held up.
CRISP = """
name: foreign_crisp
base_frame: arm_base
ee_frame: tool
joint_names: [fr3_joint1, fr3_joint2, fr3_joint3, fr3_joint4, fr3_joint5, fr3_joint6, fr3_joint7]
safety: {max_state_age_s: 3.0}
state:
  joint_states: {topic: joint_states, max_age_s: 3.0}
  pose: {topic: current_pose, max_age_s: 3.0}
  twist: {topic: current_twist, max_age_s: 3.0}
  wrench: {topic: wrench, max_age_s: 3.0}
interface: {type: robot_env.ros.interfaces.crisp.Crisp}
commander: direct
gripper:
  joint_names: [fr3_finger_width]
  state_topic: gripper/joint_states
  command_topic: gripper/target
  max_age_s: 4.0  # More than the arm's, so that of a dead driver always the arm is missed first.
home_joint_position_rad: [0.0, 0.15, 0.0, -2.35, 0.0, 2.5, 0.785]
start_hint: start the foreign driver
"""
# Rows of a UR5e (see robot_env/ros/robots/ur5e.yaml): no pose topic, so our kinematics compute it.
DH = (
    (0.0, 0.0, 0.1625, 0.0),
    (0.0, math.pi / 2.0, 0.0, 0.0),
    (-0.425, 0.0, 0.0, 0.0),
    (-0.3922, 0.0, 0.1333, 0.0),
    (0.0, math.pi / 2.0, 0.0997, 0.0),
    (0.0, -math.pi / 2.0, 0.0996, 0.0),
)
ROS2_CONTROL = f"""
name: foreign_ros2_control
base_frame: arm_base
joint_names: [shoulder_pan, shoulder_lift, elbow, wrist_1, wrist_2, wrist_3]
safety:
  joints:
    min_rad: [-6.28, -6.28, -3.14, -6.28, -6.28, -6.28]
    max_rad: [6.28, 6.28, 3.14, 6.28, 6.28, 6.28]
    velocity_rad_s: [3.14, 3.14, 3.14, 3.14, 3.14, 3.14]
    acceleration_rad_s2: [3.14, 3.14, 3.14, 3.14, 3.14, 3.14]
    effort_nm: [150.0, 150.0, 150.0, 28.0, 28.0, 28.0]
  workspace_min_m: [-0.8, -0.8, 0.0]
  workspace_max_m: [0.8, 0.8, 0.8]
  max_state_age_s: 3.0
  gripper_max_m: 0.085
state: {{joint_states: {{topic: joint_states, max_age_s: 3.0}}, pose: null, twist: null}}
interface:
  type: robot_env.ros.interfaces.ros2_control.Ros2Control
  config: {{controller: CONTROLLER, command: COMMAND}}
commander: direct
gripper:
  joint_names: [knuckle]
  state_topic: joint_states
  command_topic: gripper/commands
  command: positions
  max_age_s: 3.0
  scale: -0.1
  offset_m: 0.08
kinematics:
  dh: {[list(row) for row in DH]}
  tool_position_m: [0.0, 0.0, 0.15]
home_joint_position_rad: [2.841, -1.714, 1.8, -1.656, -1.571, -1.872]
start_hint: start the foreign driver
"""
KINDS = {
    "crisp": ("crisp", CRISP),
    "forward": (
        "ros2_control",
        ROS2_CONTROL.replace("CONTROLLER", "forward").replace("COMMAND", "commands"),
    ),
    "trajectory": (
        "ros2_control",
        ROS2_CONTROL.replace("CONTROLLER", "trajectory").replace("COMMAND", "joint_trajectory"),
    ),
}


@contextmanager
def driven(run_process, folder, name):
    """A foreign driver in a process of its own, and our robot connected to it by a YAML."""
    from robot_env.ros.description import load_description
    from robot_env.ros.ros2_robot import Ros2Robot

    kind, text = KINDS[name]
    (folder / "arm.yaml").write_text(text)
    description = load_description(str(folder / "arm.yaml"))
    robot = Ros2Robot(description, description.safety, connect_timeout_s=30.0)
    script = Path(__file__).with_name("foreign_driver.py")
    with run_process(script, kind, folder / "record.jsonl", ready="up") as process:
        try:
            robot.connect()
            yield SimpleNamespace(
                kind=name,
                robot=robot,
                description=description,
                process=process,
                record=folder / "record.jsonl",
            )
        finally:
            robot.close()


@pytest.fixture(scope="module", params=KINDS)
def arm(request, run_process, tmp_path_factory):
    with driven(run_process, tmp_path_factory.mktemp(request.param), request.param) as arm:
        yield arm


@pytest.fixture(scope="module")
def drive(arm, wait_until):
    """Command at 50 Hz until the arm is there; returns the state in which it is."""

    def to(make_command, is_there):
        def step():
            state = arm.robot.observe()
            if is_there(state):
                return state
            arm.robot.send_command(make_command(arm.robot.clock.now_s()))
            arm.robot.clock.sleep_until(arm.robot.clock.now_s() + 0.02)
            return None

        return wait_until(step)

    return to


def recorded(arm, *topics):
    lines = [json.loads(line) for line in arm.record.read_text().splitlines()]
    return [line for line in lines if line["topic"] in topics]


def forward(joints_rad):
    """Pose by the rows of Denavit and Hartenberg as Craig writes them, not by our code; shape (4, 4)."""
    pose = np.eye(4)
    for (a, alpha, d, offset), q in zip((*DH, (0.0, 0.0, 0.15, 0.0)), (*joints_rad, 0.0), strict=True):
        ca, sa, ct, st = math.cos(alpha), math.sin(alpha), math.cos(q + offset), math.sin(q + offset)
        pose = pose @ np.array(
            [
                [ct, -st, 0.0, a],
                [st * ca, ct * ca, -sa, -sa * d],
                [st * sa, ct * sa, ca, ca * d],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
    return pose


def test_the_driver_knows_nothing_of_us():
    code = Path(__file__).with_name("foreign_driver.py").read_text()
    imported = {
        line.split()[1].split(".")[0] for line in code.splitlines() if line.startswith(("import", "from"))
    }
    ours = {"agent", "controllers", "journeyman", "reward_models", "robot_env", "sim"}
    assert "rclpy" in imported
    assert not imported & ours


def test_what_is_observed_is_in_si_units_and_the_robots_own_order(arm):
    state = arm.robot.observe()
    home = np.array(arm.description.home_joint_position_rad)
    assert np.abs(state.joint_position_rad - home).max() < 0.5
    assert np.linalg.norm(state.ee_quaternion_xyzw) == pytest.approx(1.0)
    assert np.isfinite(state.joint_effort_nm).all()
    assert 0.0 <= state.gripper_width_m <= 0.085
    if arm.kind != "crisp":
        pose = forward(state.joint_position_rad)
        assert state.ee_position_m == pytest.approx(pose[:3, 3], abs=1e-6)


def test_it_goes_to_a_pose(arm, drive):
    start = arm.robot.observe()
    goal_m = start.ee_position_m + np.array((0.04, -0.05, 0.03))
    quaternion = start.ee_quaternion_xyzw
    before = len(recorded(arm, "target_pose", "forward/commands", "trajectory"))
    state = drive(
        lambda now_s: PoseCommand(now_s, goal_m, quaternion, start.gripper_width_m),
        lambda state: np.linalg.norm(state.ee_position_m - goal_m) < 2e-3,
    )
    assert np.linalg.norm(error(state.ee_quaternion_xyzw, quaternion)) < 0.02
    assert len(recorded(arm, "target_pose", "forward/commands", "trajectory")) > before
    if arm.kind != "crisp":
        # Where the joints are that the driver was told last, by the book.
        told = recorded(arm, "forward/commands", "trajectory")[-1]["position"]
        assert np.linalg.norm(forward(told)[:3, 3] - goal_m) < 5e-3


def test_it_sends_joints(arm, drive):
    goal = arm.robot.observe().joint_position_rad + 0.1
    state = drive(
        lambda now_s: JointCommand(now_s, goal, 0.05),
        lambda state: np.abs(state.joint_position_rad - goal).max() < 2e-3,
    )
    told = recorded(arm, "target_joint", "forward/commands", "trajectory")[-1]
    assert told["position"] == pytest.approx(goal.tolist(), abs=2e-3)
    if arm.kind != "forward":
        assert told["names"] == list(arm.description.joint_names)
    assert np.abs(state.joint_velocity_rad_s).max() < 1.0


@pytest.mark.parametrize("width_m", [0.08, 0.0, 0.05])
def test_the_gripper_opens_and_closes(arm, drive, width_m):
    start = arm.robot.observe()
    drive(
        lambda now_s: PoseCommand(now_s, start.ee_position_m, start.ee_quaternion_xyzw, width_m),
        lambda state: abs(state.gripper_width_m - width_m) < 1e-3,
    )
    told = recorded(arm, "gripper/target", "gripper/commands")[-1]
    if arm.kind == "crisp":
        assert told["names"] == ["fr3_finger_width"]
        assert told["position"] == pytest.approx([width_m])
    else:
        assert told["position"] == pytest.approx([(width_m - 0.08) / -0.1])


def test_stopping_leaves_the_arm_where_it_is(arm, drive, wait_until):
    start = arm.robot.observe()
    aside_m = start.ee_position_m + np.array((0.0, 0.08, 0.0))
    drive(
        lambda now_s: PoseCommand(now_s, aside_m, start.ee_quaternion_xyzw, 0.05),
        lambda state: np.linalg.norm(state.ee_position_m - start.ee_position_m) > 0.02,
    )
    stopped_m = arm.robot.observe().ee_position_m
    arm.robot.stop()
    places = []

    def rests():
        places.append(arm.robot.observe().ee_position_m)
        return len(places) > 50 and np.ptp(places[-50:], axis=0).max() < 1e-3

    wait_until(rests)
    # At most what it went on for by its own lag, not on to the target.
    assert np.linalg.norm(places[-1] - stopped_m) < 0.045


def test_what_the_driver_was_told_has_si_units_frames_order_and_fresh_stamps(arm, drive):
    start = arm.robot.observe()
    goal_m, goal_rad = start.ee_position_m + np.array((0.0, -0.04, 0.04)), start.joint_position_rad
    drive(
        lambda now_s: PoseCommand(now_s, goal_m, start.ee_quaternion_xyzw, 0.07),
        lambda state: np.linalg.norm(state.ee_position_m - goal_m) < 2e-3,
    )
    drive(
        lambda now_s: JointCommand(now_s, goal_rad - 0.1, 0.02),
        lambda state: np.abs(state.joint_position_rad - goal_rad + 0.1).max() < 2e-3,
    )
    lines = recorded(arm, "target_pose", "target_joint", "gripper/target")
    lines += recorded(arm, "forward/commands", "trajectory", "gripper/commands")
    assert len(lines) > 10
    low, high = arm.description.safety.workspace_min_m, arm.description.safety.workspace_max_m
    limits = arm.description.safety.joints
    for line in lines:
        assert np.isfinite(line["position"]).all()
        if line["topic"] == "target_pose":
            assert line["frame"] == "arm_base"
            assert np.linalg.norm(line["quaternion"]) == pytest.approx(1.0, abs=1e-6)
            assert (np.array(low) <= line["position"]).all()
            assert (np.array(line["position"]) <= high).all()
        elif not line["topic"].startswith("gripper"):
            assert len(line["position"]) == len(arm.description.joint_names)
            assert line.get("names", list(arm.description.joint_names)) == list(arm.description.joint_names)
            assert (np.array(limits.min_rad) <= line["position"]).all()
            assert (np.array(line["position"]) <= limits.max_rad).all()
        if line["topic"] == "trajectory":
            # "Start now": our clock and the controller's need not agree.
            assert line["stamp_ns"] == 0
            assert line["time_s"] == pytest.approx(0.1)
        elif "stamp_ns" in line:
            assert abs(line["received_ns"] - line["stamp_ns"]) < 3e9
    for topic in {line["topic"] for line in lines}:
        stamps = [line["stamp_ns"] for line in lines if line["topic"] == topic and line.get("stamp_ns")]
        assert stamps == sorted(set(stamps))


def test_a_driver_that_is_killed_is_named_with_what_to_start(run_process, tmp_path, wait_until):
    with driven(run_process, tmp_path, "crisp") as arm:
        arm.process.kill()

        def fails():
            try:
                arm.robot.observe()
            except RobotUnavailableError as problem:
                # A slower topic may be too old some milliseconds before.
                return str(problem) if "/joint_states" in str(problem) else ""

        said = wait_until(fails)
    assert said.startswith("/joint_states is stale")
    assert "start the foreign driver" in said
