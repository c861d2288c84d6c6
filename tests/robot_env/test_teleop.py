"""From what a hand does to the next target: no faster and no farther than allowed, and never without the hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.rotations import error, from_rotation_vector, multiply, rotate
from controllers.state import JointCommand, PoseCommand, RobotState
from robot_env.devices.reading import GripperRequest, Reading
from robot_env.teleop import TeleopConfig, TeleopMapping

DOWN = np.array((1.0, 0.0, 0.0, 0.0))
HERE_M = np.array((0.5, 0.1, 0.3))
ZERO = np.zeros(3)
PERIOD_S = 0.05
CLOSE, OPEN, TOGGLE = GripperRequest.CLOSE, GripperRequest.OPEN, GripperRequest.TOGGLE
WIDEST_M = 0.08

deflections = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3).map(np.array)
quaternions = (
    st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4)
    .map(np.array)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: q / np.linalg.norm(q))
)


def state_at(position=HERE_M, quaternion=DOWN, width_m=0.05):
    return RobotState(
        0.0, np.zeros(7), np.zeros(7), np.zeros(7), position, quaternion, ZERO, ZERO, np.zeros(6), width_m
    )


def held(linear=ZERO, angular=ZERO, gripper=None):
    return Reading(np.asarray(linear, float), np.asarray(angular, float), gripper, True)


def moved(linear=ZERO, gripper=None):
    return Reading(np.asarray(linear, float), ZERO, gripper, None)


RELEASED = Reading(np.ones(3), np.ones(3), CLOSE, False)
AT_REST = moved()


class Hand:
    """Calls a mapping once a period.

    Attributes:
        state: What is measured.
    """

    def __init__(self, state=None, **config):
        self.mapping = TeleopMapping(TeleopConfig(**config), WIDEST_M)
        self.state = state or state_at()
        self.now_s = 100.0

    def __call__(self, reading, after_s=PERIOD_S):
        self.now_s += after_s
        return self.mapping.next_command(reading, self.state, self.now_s)

    def grasp(self):
        """Press the deadman in order."""
        self(RELEASED)
        return self(held())


# --- motion ---


@given(deflections, deflections, quaternions)
def test_motion_begins_where_the_arm_is_and_is_never_faster_than_allowed(linear, angular, quaternion):
    hand = Hand(state_at(quaternion=quaternion))
    first = hand.grasp()
    assert first.ee_position_m == pytest.approx(HERE_M)
    assert np.linalg.norm(error(first.ee_quaternion_xyzw, quaternion)) < 1e-6
    second = hand(held(linear, angular))
    assert np.linalg.norm(second.ee_position_m - first.ee_position_m) <= 0.1 * PERIOD_S + 1e-9
    turned = error(second.ee_quaternion_xyzw, first.ee_quaternion_xyzw)
    assert np.linalg.norm(turned) <= 0.5 * PERIOD_S + 1e-6
    assert np.linalg.norm(second.ee_quaternion_xyzw) == pytest.approx(1.0)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_full_deflection_is_the_full_speed_along_or_about_its_axis(axis, sign):
    hand, way = Hand(), sign * np.eye(3)[axis]
    hand.grasp()
    command = hand(held(way, way))
    assert command.ee_position_m - HERE_M == pytest.approx(0.1 * PERIOD_S * way)
    assert error(command.ee_quaternion_xyzw, DOWN) == pytest.approx(0.5 * PERIOD_S * way)
    assert command.stamp_s == hand.now_s


@given(quaternions)
def test_in_the_frame_of_the_tool_its_own_axes_count(quaternion):
    hand, way = Hand(state_at(quaternion=quaternion), frame="end_effector"), np.array((0.0, 0.6, 0.0))
    hand.grasp()
    command = hand(held(way, way))
    assert command.ee_position_m - HERE_M == pytest.approx(0.1 * PERIOD_S * rotate(quaternion, way))
    wanted = multiply(quaternion, from_rotation_vector(0.5 * PERIOD_S * way))
    assert np.linalg.norm(error(command.ee_quaternion_xyzw, wanted)) < 1e-6


def test_targets_follow_one_another_and_do_not_creep_with_the_arm():
    hand = Hand()
    hand.grasp()
    hand.state = state_at(HERE_M - (0.0, 0.0, 0.01), multiply(from_rotation_vector(np.full(3, 0.05)), DOWN))
    for _ in range(100):
        command = hand(held())
    assert command.ee_position_m == pytest.approx(HERE_M)
    assert np.linalg.norm(error(command.ee_quaternion_xyzw, DOWN)) < 1e-6


@given(deflections, deflections, st.integers(1, 200))
def test_the_target_stays_on_the_leash_of_an_arm_that_does_not_follow(linear, angular, steps):
    hand = Hand()
    hand.grasp()
    for _ in range(steps):
        command = hand(held(linear, angular))
        assert np.linalg.norm(command.ee_position_m - HERE_M) <= 0.03 + 1e-9
        assert np.linalg.norm(error(command.ee_quaternion_xyzw, DOWN)) <= 0.2 + 1e-6


def test_an_arm_at_the_end_of_the_leash_turns_back_at_once():
    hand = Hand()
    hand.grasp()
    for _ in range(100):
        hand(held((1.0, 0.0, 0.0)))
    back = hand(held((-1.0, 0.0, 0.0)))
    assert back.ee_position_m[0] - HERE_M[0] == pytest.approx(0.03 - 0.1 * PERIOD_S)


@pytest.mark.parametrize("after_s", [0.5, 1e3])
def test_after_a_pause_the_target_does_not_leap(after_s):
    hand = Hand()
    hand.grasp()
    command = hand(held((1.0, 0.0, 0.0)), after_s)
    assert command.ee_position_m[0] - HERE_M[0] == pytest.approx(0.1 * 0.1)


def test_a_clock_that_goes_back_moves_nothing():
    hand = Hand()
    hand.grasp()
    assert hand(held((1.0, 0.0, 0.0)), -50.0).ee_position_m == pytest.approx(HERE_M)
    hand = Hand()
    hand(moved((1.0, 0.0, 0.0)))
    assert hand(AT_REST, -50.0) is None


@given(st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3).map(np.array))
def test_the_dead_zone_moves_nothing(linear):
    hand = Hand(dead_zone=0.2)
    hand.grasp()
    assert hand(held(linear, linear)).ee_position_m == pytest.approx(HERE_M)
    assert Hand(dead_zone=0.2)(moved(linear)) is None


def test_beyond_the_dead_zone_speed_grows_from_zero_to_full():
    ways = []
    for deflection in (0.2001, 0.6, 1.0):
        hand = Hand(dead_zone=0.2)
        hand.grasp()
        ways.append(hand(held((deflection, 0.0, 0.0))).ee_position_m[0] - HERE_M[0])
    assert ways == pytest.approx([0.0, 0.0025, 0.005], abs=1e-5)


def test_the_next_target_goes_on_from_what_was_really_sent():
    hand = Hand()
    hand.grasp()
    command = hand(held((1.0, 0.0, 0.0)))
    edge_m = HERE_M + np.array((0.001, 0.0, 0.0))
    hand.mapping.sent(PoseCommand(command.stamp_s, edge_m, DOWN, 0.05))
    assert hand(held((-1.0, 0.0, 0.0))).ee_position_m == pytest.approx(edge_m - (0.005, 0.0, 0.0))
    # A hold, when the filter has no pose to send.
    hand.mapping.sent(JointCommand(command.stamp_s, np.zeros(7), 0.05))
    assert hand(held()).ee_position_m == pytest.approx(edge_m - (0.005, 0.0, 0.0))


# --- the hand ---


def test_without_the_deadman_nothing_moves():
    hand = Hand()
    assert [hand(RELEASED) for _ in range(10)] == [None] * 10


@pytest.mark.parametrize("end", [RELEASED, None, held((math.nan, 0, 0)), held(angular=(0, math.inf, 0))])
def test_release_silence_and_nonsense_end_the_motion(end):
    hand = Hand()
    hand.grasp()
    assert hand(held((1.0, 0.0, 0.0))) is not None
    assert hand(end) is None


def test_a_new_motion_begins_where_the_arm_is_then():
    hand = Hand()
    hand.grasp()
    hand(held((1.0, 0.0, 0.0)))
    hand.state = state_at(HERE_M + 0.1)
    assert hand.grasp().ee_position_m == pytest.approx(HERE_M + 0.1)


def before_anything(hand):
    """A deadman that is held from the start."""


def after_silence(hand):
    hand.grasp()
    hand(None)


def after_nonsense(hand):
    hand.grasp()
    hand(held((math.nan, 0.0, 0.0)))


def after_an_outage(hand):
    hand.grasp()
    hand.mapping.restart()


@pytest.mark.parametrize("event", [before_anything, after_silence, after_nonsense, after_an_outage])
def test_a_deadman_that_was_held_all_the_time_must_be_released_first(event):
    hand = Hand()
    event(hand)
    assert [hand(held((1.0, 0.0, 0.0))) for _ in range(10)] == [None] * 10
    assert hand.grasp() is not None


def test_a_device_without_a_deadman_drives_while_it_is_moved():
    hand = Hand(linger_s=0.3)
    assert hand(AT_REST) is None
    assert hand(moved((1.0, 0.0, 0.0))) is not None
    # A hand that turns back passes the middle.
    assert hand(AT_REST, 0.2) is not None
    assert hand(AT_REST, 0.2) is None
    assert hand(AT_REST) is None


def test_a_device_that_speaks_only_while_it_is_moved_drives_from_its_first_word():
    hand = Hand()
    assert hand(moved((1.0, 0.0, 0.0))) is not None
    assert hand(None) is None
    assert hand(moved((1.0, 0.0, 0.0))) is not None


@pytest.mark.parametrize("pause", [AT_REST, None])
def test_after_an_outage_a_device_without_a_deadman_must_rest_first(pause):
    hand = Hand()
    hand(moved((1.0, 0.0, 0.0)))
    hand.mapping.restart()
    assert [hand(moved((1.0, 0.0, 0.0))) for _ in range(10)] == [None] * 10
    hand(pause)
    assert hand(moved((1.0, 0.0, 0.0))) is not None


# --- the gripper ---


def test_the_gripper_stays_as_it_is_until_it_is_asked():
    hand = Hand()
    assert hand.grasp().gripper_width_m == 0.05
    hand.state = state_at(width_m=0.049)
    assert hand(held((1.0, 0.0, 0.0))).gripper_width_m == 0.05


def test_the_gripper_opens_closes_and_changes():
    hand = Hand()
    hand.grasp()
    widths = [
        hand(held(gripper=request)).gripper_width_m for request in (CLOSE, None, OPEN, TOGGLE, TOGGLE, None)
    ]
    assert widths == [0.0, 0.0, WIDEST_M, 0.0, WIDEST_M, WIDEST_M]


def test_without_the_deadman_the_gripper_stays_as_it_is():
    hand = Hand()
    hand(RELEASED)
    assert hand.grasp().gripper_width_m == 0.05


def test_a_button_of_a_device_without_a_deadman_is_a_motion():
    assert Hand()(moved(gripper=CLOSE)).gripper_width_m == 0.0


@pytest.mark.parametrize("outage", [False, True])
def test_what_is_held_is_not_let_fall_by_a_new_motion(outage):
    hand = Hand()
    hand.grasp()
    hand(held(gripper=CLOSE))
    hand.state = state_at(
        width_m=0.04
    )  # As thick as what is between the fingers, which were still on their way.
    hand(RELEASED)
    if outage:
        hand.mapping.restart()
    assert hand.grasp().gripper_width_m == 0.0


def test_fingers_that_somebody_else_moved_stay_where_they_are():
    hand = Hand()
    hand.grasp()
    hand(held(gripper=CLOSE))
    hand.state = state_at(width_m=0.07)
    assert hand.grasp().gripper_width_m == 0.07


# --- configuration ---


@pytest.mark.parametrize(
    "wrong",
    [
        {"linear_speed_m_s": 0.0}, {"angular_speed_rad_s": math.inf}, {"leash_m": -1.0}, {"leash_rad": math.nan},
        {"dead_zone": 1.0}, {"dead_zone": -0.1}, {"linger_s": -1.0}, {"longest_step_s": 0.0},
    ],
)  # fmt: skip
def test_configurations_that_drive_nothing_or_anywhere_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TeleopConfig(**wrong)
