"""Between ROS messages and the robot side's own words."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytestmark = pytest.mark.ros

NAMES = ("a", "b", "c")
NAN = math.nan

finite = st.floats(-1e6, 1e6)


@pytest.fixture
def messages():
    from robot_env.ros import messages

    return messages


def joints(names, position=None, **parts):
    from robot_env.ros.messages import joint_state

    numbers = [float(ord(name[0])) for name in names]
    return joint_state(0, names, numbers if position is None else position, **parts)


def pose(quaternion, frame="base", position=(0.1, 0.2, 0.3)):
    from robot_env.ros.messages import pose_stamped

    return pose_stamped(0, frame, np.array(position), np.array(quaternion, float))


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_a_stamp_survives_to_the_nanosecond(stamp_ns):
    from robot_env.ros.messages import joint_state, stamp_ns_of

    assert stamp_ns_of(joint_state(stamp_ns, [], []).header) == stamp_ns


@given(st.permutations([*NAMES, "finger", "wheel"]))
def test_joints_come_in_the_robots_order_whatever_order_and_company_they_are_sent_in(given_names):
    from robot_env.ros.messages import joints_of

    numbers = [float(ord(name[0])) for name in given_names]
    found = joints_of(
        joints(given_names, velocity=[2 * n for n in numbers], effort=[3 * n for n in numbers]), NAMES
    )
    assert found.position_rad.tolist() == [97.0, 98.0, 99.0]
    assert found.velocity_rad_s.tolist() == [194.0, 196.0, 198.0]
    assert found.effort_nm.tolist() == [291.0, 294.0, 297.0]


def test_a_message_about_other_joints_only_says_nothing(messages):
    assert messages.joints_of(joints(["left_finger", "right_finger"]), NAMES) is None


@pytest.mark.parametrize(
    ("names", "position", "complaint"),
    [
        (["a", "c"], None, r"lacks the joints \['b'\]"),
        (["a", "b", "c", "a"], None, "names a joint twice"),
        (["a", "b", "c"], [1.0, 2.0], "3 names but 2 positions"),
        (["a", "b", "c"], [], "3 names but 0 positions"),
    ],
)
def test_joints_that_are_missing_or_doubled_are_named(messages, names, position, complaint):
    with pytest.raises(messages.MessageError, match=complaint):
        messages.joints_of(joints(names, position), NAMES)


@pytest.mark.parametrize("part", ["velocity", "effort"])
@pytest.mark.parametrize("numbers", [[], [1.0, 2.0], [NAN, NAN, NAN, 4.0]])
def test_what_a_driver_does_not_measure_is_left_out(messages, part, numbers):
    # joint_state_broadcaster of ros2_control fills in NaN where the hardware has no such interface.
    names = [*NAMES, "finger"] if len(numbers) == 4 else NAMES
    found = messages.joints_of(joints(names, **{part: numbers}), NAMES)
    assert (found.velocity_rad_s if part == "velocity" else found.effort_nm) is None


def test_a_velocity_that_is_lost_in_one_joint_is_not_hidden(messages):
    found = messages.joints_of(joints(NAMES, velocity=[1.0, NAN, 1.0]), NAMES)
    assert np.isnan(found.velocity_rad_s).tolist() == [False, True, False]


@given(st.tuples(finite, finite, finite, finite), st.floats(0.991, 1.009))
def test_a_quaternion_that_a_driver_rounded_becomes_a_unit_one(values, length):
    from robot_env.ros.messages import pose_of

    norm = float(np.linalg.norm(values))
    assume(norm > 1e-3)
    unit = np.array(values) / norm
    position_m, quaternion = pose_of(pose(unit * length), "base")
    assert np.linalg.norm(quaternion) == pytest.approx(1.0, abs=1e-12)
    assert quaternion == pytest.approx(unit, abs=1e-9)
    assert position_m.tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (0, 0, 0, 2), (1, 0, 0, 1), (0, 0, 0, 0.9)])
def test_what_is_no_quaternion_is_refused_with_its_length(messages, quaternion):
    with pytest.raises(messages.MessageError, match=r"whose length is .*, not 1"):
        messages.pose_of(pose(quaternion), "base")


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_a_quaternion_that_is_not_finite_never_becomes_a_finite_one(messages, bad):
    _, quaternion = messages.pose_of(pose((0, bad, 0, 1)), "base")
    assert not np.isfinite(quaternion).all()


@pytest.mark.parametrize(("sent", "wanted"), [("base", "base"), ("/base", "base"), ("anything", "")])
def test_frames_that_are_meant_are_accepted(messages, sent, wanted):
    messages.pose_of(pose((0, 0, 0, 1), frame=sent), wanted)


@pytest.mark.parametrize("sent", ["", "map", "base_link"])
def test_another_frame_is_refused_and_both_are_named(messages, sent):
    with pytest.raises(messages.MessageError, match=f"is in frame '{sent}', but 'base' is expected"):
        messages.pose_of(pose((0, 0, 0, 1), frame=sent), "base")
    twist = messages.twist_stamped(0, sent, np.zeros(3), np.zeros(3))
    with pytest.raises(messages.MessageError, match=f"is in frame '{sent}'"):
        messages.twist_of(twist, "base")


@given(st.lists(finite, min_size=6, max_size=6))
def test_twist_and_wrench_keep_their_numbers_in_order(numbers):
    from robot_env.ros.messages import twist_of, twist_stamped, wrench_of, wrench_stamped

    linear, angular = twist_of(twist_stamped(0, "base", np.array(numbers[:3]), np.array(numbers[3:])), "base")
    assert [*linear, *angular] == numbers
    force, torque, frame = wrench_of(wrench_stamped(0, "tool", np.array(numbers)))
    assert [*force, *torque] == numbers
    assert frame == "tool"
