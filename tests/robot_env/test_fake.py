import numpy as np
import pytest

from controllers.state import JointCommand, PoseCommand
from robot_env.fake import FakeRobot
from robot_env.robot import Robot, RobotError

POSE = PoseCommand(100.0, np.array([0.4, 0.1, 0.2]), np.array([0.0, 1.0, 0.0, 0.0]), 0.02)


def test_it_keeps_the_contract_of_a_robot():
    robot: Robot = FakeRobot(joints=6)
    assert len(robot.joint_names) == 6
    robot.connect()
    assert robot.observe().joint_position_rad.shape == (6,)


def test_it_stands_where_it_was_sent_once_time_has_passed():
    robot = FakeRobot()
    robot.connect()
    robot.send_command(POSE)
    np.testing.assert_array_equal(robot.observe().ee_position_m, [0.5, 0.0, 0.3])
    robot.clock.advance(0.001)
    state = robot.observe()
    np.testing.assert_array_equal(state.ee_position_m, POSE.ee_position_m)
    assert state.gripper_width_m == 0.02
    assert state.stamp_s == pytest.approx(100.001)


def test_a_joint_command_moves_the_joints():
    robot = FakeRobot(joints=2)
    robot.connect()
    robot.send_command(JointCommand(100.0, np.array([0.1, 0.2]), 0.0))
    robot.clock.advance(0.1)
    np.testing.assert_array_equal(robot.observe().joint_position_rad, [0.1, 0.2])


def test_stop_forgets_the_command():
    robot = FakeRobot()
    robot.connect()
    robot.send_command(POSE)
    robot.stop()
    robot.clock.advance(1.0)
    np.testing.assert_array_equal(robot.observe().ee_position_m, [0.5, 0.0, 0.3])


def test_a_stale_state_is_given_until_it_is_too_old():
    robot = FakeRobot()
    robot.connect()
    robot.observe()
    robot.fault = "stale_state"
    robot.clock.advance(0.05)
    assert robot.observe().stamp_s == 100.0
    robot.clock.advance(0.1)
    with pytest.raises(RobotError, match="old"):
        robot.observe()


@pytest.mark.parametrize("act", [lambda r: r.observe(), lambda r: r.send_command(POSE)])
def test_nothing_works_before_connect_or_after_close(act):
    robot = FakeRobot()
    with pytest.raises(RobotError, match="connect"):
        act(robot)
    robot.connect()
    act(robot)
    robot.close()
    with pytest.raises(RobotError, match="connect"):
        act(robot)
