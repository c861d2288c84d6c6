"""From where a hand is to actions: relative to where it took hold, or to where it is, and never with a jump."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from controllers.config import InputError
from robot_env.devices.driving import read_device_config
from robot_env.devices.following import FollowConfig, HandPose, PoseTeleoperator
from robot_env.devices.reading import GripperRequest
from robot_env.fake import FakeRobot
from robot_env.robot import RobotUnavailableError
from robot_env.task import ActionConfig

LAST = np.array([0, 0, 0, 0, 0, 0, 0.3], np.float32)
FRAMES = ("base", "end_effector", "episode_start")
UPRIGHT = Rotation.identity()

ways = st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=3).map(np.array)
small_turns = st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3).map(Rotation.from_rotvec)
turns = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3).map(Rotation.from_rotvec)
signs = st.sampled_from([1.0, -1.0])


def hand_at(position=(0.0, 0.0, 0.0), turn=UPRIGHT, gripper=None, deadman=True, sign=1.0):
    return HandPose(np.array(position, float), sign * turn.as_quat(), gripper, deadman)


@pytest.fixture
def make(device, stopwatch):
    def make_one(action=None, **config):
        chosen = {"translation_m": 0.03, "rotation_rad": 0.2, **(action or {})}
        return PoseTeleoperator(
            device, FollowConfig(**config), msgspec.convert(chosen, ActionConfig), stopwatch
        )

    return make_one


class Sequence:
    """A device that says one pose after the other."""

    name, hint, problem, help = "the fake", "wake it up", "", {}

    def __init__(self, *poses):
        self._poses = list(poses)

    def read(self):
        return self._poses.pop(0) if len(self._poses) > 1 else self._poses[0]


@given(
    way=ways,
    turn=small_turns,
    before=turns,
    tool=turns,
    start=turns,
    frame=st.sampled_from(FRAMES),
    sign=signs,
)
@pytest.mark.parametrize("action_frame", ["base", "end_effector"])
def test_the_arm_repeats_what_the_hand_does(
    make_env, make_state, way, turn, before, tool, start, frame, sign, action_frame
):
    """Through the environment: where the command leads is what the hand did, in its axes, whatever the task's are."""
    robot = FakeRobot()
    robot.place((0.5, 0.1, 0.3), tool.as_quat())
    action = {"translation_m": 0.2, "rotation_rad": 1.8, "frame": action_frame}
    env = make_env(robot, action=action)
    env.reset(seed=0)
    first = hand_at((1.0, 2.0, 3.0), before)
    second = hand_at(first.position_m + way, turn * before, sign=sign)
    device = Sequence(first._replace(deadman=False), first, second)
    follower = PoseTeleoperator(device, FollowConfig(frame=frame, motion_scale=1.5), env.task.action)
    follower.restart(make_state(quaternion=start.as_quat()))
    assert follower.get_action(env.state, LAST) is None
    assert_allclose(follower.get_action(env.state, LAST)[:6], 0.0, atol=1e-6)
    env.step(follower.get_action(env.state, LAST))
    axes = {"base": UPRIGHT, "end_effector": tool, "episode_start": start}[frame]
    sent = robot.sent[-1]
    assert_allclose(sent.ee_position_m, np.array((0.5, 0.1, 0.3)) + 1.5 * axes.apply(way), atol=1e-6)
    expected = Rotation.from_rotvec(axes.apply(turn.as_rotvec())) * tool
    assert (Rotation.from_quat(sent.ee_quaternion_xyzw) * expected.inv()).magnitude() < 1e-5


@given(leader=ways, turn=small_turns, tool=turns)
def test_absolutely_the_arm_goes_where_the_leader_is(make_state, leader, turn, tool):
    state = make_state((0.5, 0.1, 0.3), tool.as_quat())
    here = hand_at((0.5, 0.1, 0.3), tool)
    there = hand_at(here.position_m + leader, turn * tool)
    device = Sequence(here._replace(deadman=False), here, there)
    config = FollowConfig(mode="absolute", start_m=0.1, start_rad=0.6)
    follower = PoseTeleoperator(device, config, ActionConfig(translation_m=0.2, rotation_rad=1.8))
    follower.restart(state)
    for _ in range(2):
        follower.get_action(state, LAST)
    action = follower.get_action(state, LAST)
    assert_allclose(0.2 * action[:3], leader, atol=1e-6)
    assert (Rotation.from_rotvec(1.8 * action[3:6]) * turn.inv()).magnitude() < 1e-5


def test_a_leader_that_is_elsewhere_does_not_drive_and_says_where_it_is(make, device, make_state):
    follower = make(mode="absolute")
    state = make_state((0.5, 0.1, 0.3))
    down = Rotation.from_quat(state.ee_quaternion_xyzw)
    follower.restart(state)
    for deadman in (False, True, True):
        device.says = hand_at((0.5, 0.1, 0.4), down, deadman=deadman)
        assert follower.get_action(state, LAST) is None
        assert follower.notice == "The fake is 0.10 m and 0.0 rad from the arm: bring it there first."
    device.says = hand_at((0.5, 0.1, 0.32), down)
    assert follower.get_action(state, LAST) is not None
    assert follower.notice == ""


def test_far_ways_are_cut_without_changing_direction(make, device, make_state):
    follower = make(translation_scale=0.5, rotation_scale=0.25)
    state = make_state()
    for says in (
        hand_at(deadman=False),
        hand_at(),
        hand_at((0.1, 0.05, 0.0), Rotation.from_rotvec([0, 0, 2.0])),
    ):
        device.says = says
        action = follower.get_action(state, LAST)
    assert_allclose(np.linalg.norm(action[:3]), 0.5, rtol=1e-5)
    assert_allclose(action[:3] / action[0], [1.0, 0.5, 0.0], atol=1e-5)
    assert_allclose(action[3:6], [0, 0, 0.25], atol=1e-5)


def test_a_clutch_pressed_again_begins_anew(make, device, make_state):
    follower = make()
    state = make_state()
    for position, deadman in (
        ((0, 0, 0), False),
        ((0, 0, 0), True),
        ((0.1, 0, 0), False),
        ((0.1, 0, 0), True),
    ):
        device.says = hand_at(position, deadman=deadman)
        action = follower.get_action(state, LAST)
    assert_allclose(action[:6], 0.0, atol=1e-6)


def test_a_clutch_held_from_before_does_nothing(make, device, make_state):
    follower = make()
    device.says = hand_at()
    follower.restart(make_state())
    assert follower.get_action(make_state(), LAST) is None
    device.says = hand_at(deadman=False)
    assert follower.get_action(make_state(), LAST) is None
    device.says = hand_at()
    assert follower.get_action(make_state(), LAST) is not None


def test_without_a_clutch_a_hand_that_moves_is_on_and_one_that_rests_lets_go(
    make, device, make_state, stopwatch
):
    follower = make(linger_s=0.5)
    state = make_state()
    follower.restart(state)

    def look(x, after_s=0.1):
        stopwatch.now_s += after_s
        device.says = hand_at((x, 0, 0), deadman=None)
        return follower.get_action(state, LAST) is not None

    assert not any(look(0.001 * n) for n in range(5))
    assert look(0.02)
    assert all(look(0.02) for _ in range(4))
    assert not look(0.02, after_s=0.6)
    assert look(0.05)


def test_a_gripper_by_request_and_by_position(make, device, make_state):
    follower = make()
    grips = []
    requests = [None, GripperRequest.TOGGLE, None, GripperRequest.OPEN, -0.5]
    for request in (None, *requests):
        device.says = hand_at(
            gripper=request, deadman=bool(grips) or request is not None or device.says is not None
        )
        action = follower.get_action(make_state(), LAST)
        if action is not None:
            grips.append(float(action[6]))
    assert grips == pytest.approx([0.3, -1.0, -1.0, 1.0, -0.5])


NONSENSE = {
    "a position that is no number": hand_at((math.nan, 0, 0)),
    "an infinite one": hand_at((math.inf, 0, 0)),
    "a quaternion of no length": hand_at()._replace(quaternion_xyzw=np.zeros(4)),
    "a jump": hand_at((0.5, 0, 0)),
    "a gripper beyond its ends": hand_at(gripper=7.0),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
def test_what_cannot_be_stops_the_arm_under_a_hand_and_is_passed_over_without(
    make, device, make_state, nonsense
):
    follower = make()
    device.says = hand_at(deadman=False)
    assert follower.get_action(make_state(), LAST) is None
    device.says = hand_at()
    assert follower.get_action(make_state(), LAST) is not None
    device.says = nonsense
    with pytest.raises(RobotUnavailableError, match="the fake says what cannot be while a hand was on it"):
        follower.get_action(make_state(), LAST)
    device.says = hand_at()
    assert follower.get_action(make_state(), LAST) is None  # The clutch must be released first.


@pytest.mark.parametrize("says", [None, RobotUnavailableError("unplugged")])
def test_a_device_that_is_gone_stops_the_arm(make, device, make_state, says):
    follower = make()
    for each in (hand_at(deadman=False), hand_at()):
        device.says = each
        follower.get_action(make_state(), LAST)
    device.says = says
    with pytest.raises(RobotUnavailableError):
        follower.get_action(make_state(), LAST)


@pytest.mark.parametrize(
    "config",
    [{"motion_scale": 0}, {"translation_scale": 2}, {"start_m": math.inf}, {"mode": "mirror"}, {"x": 1}],
)
def test_a_configuration_that_cannot_be_meant(config):
    with pytest.raises(InputError, match=next(iter(config))):
        read_device_config(FollowConfig, config)
