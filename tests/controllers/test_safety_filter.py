"""Whatever comes in, what leaves keeps the limits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.testing import assert_allclose, assert_array_equal

from controllers.limits import JointLimits, SafetyLimits
from controllers.rotations import error, from_rotation_vector, multiply
from controllers.safety_filter import SafetyFilter
from controllers.state import JointCommand, PoseCommand, RobotState

LIMITS = SafetyLimits()
READY_RAD = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.57, 0.785])
HOME_M = np.array([0.5, 0.0, 0.3])
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
LOW, HIGH = np.array(LIMITS.workspace_min_m), np.array(LIMITS.workspace_max_m)
JOINT_LOW = np.array(LIMITS.joints.min_rad) + LIMITS.joint_margin_rad
JOINT_HIGH = np.array(LIMITS.joints.max_rad) - LIMITS.joint_margin_rad
JOINT_SPEED = LIMITS.joint_speed_fraction * np.array(LIMITS.joints.velocity_rad_s)
REFUSALS = {"bad_state", "bad_command", "stale_command", "joint_margin", "joint_overspeed"}


def measured(**changes):
    state = RobotState(
        stamp_s=0.0,
        joint_position_rad=READY_RAD,
        joint_velocity_rad_s=np.zeros(7),
        joint_effort_nm=np.zeros(7),
        ee_position_m=HOME_M,
        ee_quaternion_xyzw=DOWN,
        ee_linear_velocity_m_s=np.zeros(3),
        ee_angular_velocity_rad_s=np.zeros(3),
        ee_wrench=np.zeros(6),
        gripper_width_m=0.05,
    )
    return replace(state, **changes)


def pose(offset_m=(0.0, 0.0, 0.0), turn_rad=(0.0, 0.0, 0.0), stamp_s=0.0, width_m=0.04):
    quaternion = multiply(from_rotation_vector(np.array(turn_rad)), DOWN)
    return PoseCommand(stamp_s, HOME_M + offset_m, quaternion, width_m)


def joint(offset_rad=0.0, stamp_s=0.0):
    return JointCommand(stamp_s, READY_RAD + offset_rad, 0.04)


def test_an_allowed_command_comes_back_as_the_same_object():
    safety = SafetyFilter(LIMITS)
    for tick, offset in enumerate([(0.03, -0.03, 0.03), (-0.03, -0.03, 0.0)]):
        command = pose(offset, (0.1, 0.0, 0.0), stamp_s=0.1 * tick)
        result = safety.filter(command, measured(stamp_s=0.1 * tick), 0.1 * tick)
        assert result.command is command
    for command in (joint(0.01, stamp_s=0.2), pose(stamp_s=0.3)):
        result = safety.filter(command, measured(stamp_s=command.stamp_s), command.stamp_s)
        assert result.command is command
        assert result.hits == ()
    assert not safety.hits


@given(st.integers(0, 2**32 - 1))
def test_steps_of_three_centimetres_per_axis_at_10_hz_pass(seed):
    rng = np.random.default_rng(seed)
    safety = SafetyFilter(LIMITS)
    position = HOME_M.copy()
    for tick in range(20):
        now_s = tick * 0.1
        state = measured(stamp_s=now_s, ee_position_m=position)
        step = 0.03 * rng.uniform(-1, 1, 3).round()
        command = replace(pose(stamp_s=now_s), ee_position_m=np.clip(position + step, LOW, HIGH))
        assert safety.filter(command, state, now_s).command is command
        # The arm arrives, lags, or is stuck.
        position = position + rng.choice([1.0, 0.8, 0.0]) * (command.ee_position_m - position)


def test_a_smooth_target_at_1_khz_passes_with_a_lagging_arm():
    safety = SafetyFilter(LIMITS)
    for tick in range(2000):
        now_s = tick * 0.001
        wanted, lagging = (
            HOME_M[1] + 0.05 * (1 - math.cos(6.0 * max(0.0, t))) for t in (now_s, now_s - 0.05)
        )
        state = measured(stamp_s=now_s, ee_position_m=np.array([0.5, lagging, 0.3]))
        command = replace(pose(stamp_s=now_s), ee_position_m=np.array([0.5, wanted, 0.3]))
        assert safety.filter(command, state, now_s).command is command


def test_a_far_target_is_approached_at_the_speed_limit():
    safety = SafetyFilter(LIMITS)
    position, now_s = HOME_M, 0.0
    distances = []
    for _ in range(200):
        now_s += 0.01
        command = PoseCommand(now_s, np.array([0.5, 0.35, 0.3]), DOWN, 0.0)
        sent = safety.filter(command, measured(stamp_s=now_s, ee_position_m=position), now_s).command
        distances.append(np.linalg.norm(sent.ee_position_m - position))
        position = sent.ee_position_m
    assert max(distances[1:]) <= LIMITS.linear_speed_m_s * 0.01 + 1e-9
    assert_allclose(position, [0.5, 0.35, 0.3])
    assert safety.hits["linear_speed"] > 10


def test_a_target_gains_speed_no_faster_than_allowed():
    limits = SafetyLimits(linear_acceleration_m_s2=2.0)
    safety = SafetyFilter(limits)
    safety.filter(pose(), measured(), 0.0)
    positions = [HOME_M, HOME_M]
    for tick in range(1, 50):
        now_s = tick * 0.01
        command = pose((0.0, 0.3, 0.0), stamp_s=now_s)
        state = measured(stamp_s=now_s, ee_position_m=positions[-1])
        positions.append(safety.filter(command, state, now_s).command.ee_position_m)
    speeds = np.diff(np.array(positions)[:, 1]) / 0.01
    assert np.diff(speeds).max() <= 2.0 * 0.01 + 1e-9
    assert speeds.max() <= limits.linear_speed_m_s + 1e-9
    assert safety.hits["linear_acceleration"] > 0


def test_a_silent_commander_gains_no_long_jump():
    safety = SafetyFilter(LIMITS)
    safety.filter(pose(), measured(), 0.0)
    far = pose((0.0, 0.3, 0.0), stamp_s=60.0)
    sent = safety.filter(far, measured(stamp_s=60.0), 60.0).command
    assert_allclose(sent.ee_position_m - HOME_M, [0, LIMITS.linear_speed_m_s * 0.1, 0], atol=1e-9)


def test_no_time_no_motion():
    safety = SafetyFilter(LIMITS)
    safety.filter(pose(), measured(), 0.0)
    sent = safety.filter(pose((0.03, 0.0, 0.0)), measured(), 0.0).command
    assert_allclose(sent.ee_position_m, HOME_M)


def test_the_workspace_slides_along_its_walls():
    state = measured(ee_position_m=np.array([0.5, 0.0, 0.02]))
    command = replace(pose(), ee_position_m=np.array([0.52, 0.0, -0.02]))
    result = SafetyFilter(LIMITS).filter(command, state, 0.0)
    assert_allclose(result.command.ee_position_m, [0.52, 0.0, 0.0])
    assert result.hits == ("workspace",)


def test_an_arm_outside_its_workspace_comes_back_at_limited_speed():
    outside = np.array([0.5, 0.0, 0.9])
    state = measured(ee_position_m=outside)
    result = SafetyFilter(LIMITS).filter(replace(pose(), ee_position_m=np.array([0.5, 0.0, 1.0])), state, 0.0)
    assert_allclose(result.command.ee_position_m, outside - [0.0, 0.0, 0.06], atol=1e-9)


def test_a_target_stays_near_the_arm():
    limits = SafetyLimits(translation_error_m=0.02, rotation_error_rad=0.05)
    sent, hits = SafetyFilter(limits).filter(pose((0.04, 0.0, 0.0), (0.0, 0.1, 0.0)), measured(), 0.0)
    assert_allclose(sent.ee_position_m - HOME_M, [0.02, 0.0, 0.0])
    assert_allclose(error(sent.ee_quaternion_xyzw, DOWN), [0.0, 0.05, 0.0], atol=1e-9)
    assert hits == ("translation_error", "rotation_error")


def test_turning_is_limited():
    sent, hits = SafetyFilter(LIMITS).filter(pose(turn_rad=(1.5, 0.0, 0.0)), measured(), 0.0)
    assert_allclose(error(sent.ee_quaternion_xyzw, DOWN), [LIMITS.angular_speed_rad_s * 0.1, 0, 0], atol=1e-9)
    assert hits == ("angular_speed",)


def test_a_held_orientation_passes_while_the_wrist_wobbles():
    safety = SafetyFilter(LIMITS)
    rng = np.random.default_rng(0)
    for tick in range(50):
        now_s = tick * 0.01
        wobble = multiply(from_rotation_vector(rng.normal(0, 0.05, 3)), DOWN)
        state = measured(stamp_s=now_s, ee_quaternion_xyzw=wobble)
        assert safety.filter(pose(stamp_s=now_s), state, now_s).hits == ()


def test_the_gripper_keeps_its_range():
    sent, hits = SafetyFilter(LIMITS).filter(pose(width_m=0.5), measured(), 0.0)
    assert sent.gripper_width_m == LIMITS.gripper_max_m
    assert hits == ("gripper_width",)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["ee_position_m", "ee_quaternion_xyzw", "gripper_width_m", "stamp_s"])
def test_a_command_that_is_no_number_is_refused(field, bad):
    value = getattr(pose(), field)
    broken = bad if isinstance(value, float) else np.array([*value[:-1], bad])
    sent, hits = SafetyFilter(LIMITS).filter(replace(pose(), **{field: broken}), measured(), 0.0)
    assert_array_equal(sent.ee_position_m, HOME_M)
    assert_array_equal(sent.ee_quaternion_xyzw, DOWN)
    assert hits == ("stale_command",) if field == "stamp_s" else ("bad_command",)


@pytest.mark.parametrize("field", list(RobotState.__struct_fields__))
def test_a_measurement_that_is_no_number_is_refused(field):
    safety = SafetyFilter(LIMITS)
    safety.filter(pose(), measured(), 0.0)
    value = getattr(measured(), field)
    broken = math.nan if isinstance(value, float) else np.array([*value[:-1], math.nan])
    sent, hits = safety.filter(pose((0.03, 0, 0)), measured(**{field: broken}), 0.05)
    assert_array_equal(sent.ee_position_m, HOME_M)
    assert hits == (("stale_state",) if field == "stamp_s" else ("bad_state",))


@pytest.mark.parametrize(
    "broken",
    [
        {"joint_position_rad": np.zeros(8), "joint_velocity_rad_s": np.zeros(6)},
        {"ee_linear_velocity_m_s": np.zeros(2)},
        {"ee_wrench": np.zeros((6, 1))},
        {"joint_effort_nm": np.full(7, 1e200)},
    ],
)
def test_a_measurement_of_wrong_shape_or_size_is_refused(broken):
    safety = SafetyFilter(LIMITS)
    safety.filter(pose(), measured(), 0.0)
    sent, hits = safety.filter(pose((0.03, 0, 0)), measured(**broken), 0.05)
    assert_array_equal(sent.ee_position_m, HOME_M)
    assert hits == ("bad_state",)


@pytest.mark.parametrize(
    "command",
    [
        replace(pose(), ee_position_m=np.zeros(2)),
        replace(pose(), ee_quaternion_xyzw=np.zeros(4)),
        replace(pose(), ee_quaternion_xyzw=2 * DOWN),
        replace(joint(), joint_position_rad=np.zeros(6)),
        replace(joint(), joint_position_rad=np.full(7, np.nan)),
    ],
)
def test_a_malformed_command_is_refused(command):
    assert SafetyFilter(LIMITS).filter(command, measured(), 0.0).hits == ("bad_command",)


@pytest.mark.parametrize("age_s", [0.11, 10.0, -0.02, -10.0])
def test_a_stale_command_or_state_is_refused(age_s):
    now_s = 100.0
    fresh, stale = {"stamp_s": now_s}, {"stamp_s": now_s - age_s}
    safety = SafetyFilter(LIMITS)
    assert safety.filter(pose(**fresh), measured(**fresh), now_s).hits == ()
    assert safety.filter(pose(**stale), measured(**fresh), now_s).hits == ("stale_command",)
    assert safety.filter(pose(**fresh), measured(**stale), now_s).hits == ("stale_state",)


def test_without_any_measurement_nothing_leaves():
    with pytest.raises(RuntimeError, match="send nothing"):
        SafetyFilter(LIMITS).filter(pose(), measured(ee_position_m=np.full(3, np.nan)), 0.0)


def test_a_broken_clock_lets_nothing_leave():
    with pytest.raises(ValueError, match="send nothing"):
        SafetyFilter(LIMITS).filter(pose(), measured(), math.nan)


def test_a_hold_stays_where_it_began_and_keeps_the_grasp():
    safety = SafetyFilter(LIMITS)
    safety.filter(pose(width_m=0.0), measured(gripper_width_m=0.04), 0.0)
    for tick in range(1, 5):
        now_s = 1.0 + 0.01 * tick
        sagging = measured(stamp_s=now_s, ee_position_m=HOME_M - [0, 0, 0.001 * tick], gripper_width_m=0.04)
        sent = safety.filter(pose(), sagging, now_s).command
        assert_array_equal(sent.ee_position_m, HOME_M - [0, 0, 0.001])
        assert sent.gripper_width_m == 0.0
        assert sent.stamp_s == now_s


def test_an_emergency_stop_is_latched_until_a_human_resets_it():
    safety = SafetyFilter(LIMITS)
    safety.emergency_stop("the red button")
    safety.restart()
    for tick in range(3):
        stamp = {"stamp_s": float(tick)}
        for command in (pose((0.03, 0, 0), **stamp), joint(0.01, **stamp)):
            sent, hits = safety.filter(command, measured(**stamp), float(tick))
            assert hits == ("emergency_stop",)
            assert type(sent) is type(command)
        assert_array_equal(sent.joint_position_rad, READY_RAD)
    assert safety.emergency_stop_reason == "the red button"
    assert safety.hits["emergency_stop"] == 6
    safety.reset_emergency_stop()
    assert safety.emergency_stop_reason is None
    command = pose(stamp_s=3.0)
    assert safety.filter(command, measured(stamp_s=3.0), 3.0).command is command


@given(
    st.tuples(*[st.floats(-0.03, 0.03)] * 3).map(np.array),
    st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=3)),
)
def test_nothing_pushes_further_against_too_strong_a_contact(offset, direction):
    force = 50.0 * direction / np.linalg.norm(direction)
    state = measured(ee_wrench=np.concatenate([force, np.zeros(3)]))
    command = pose(offset)
    sent, hits = SafetyFilter(LIMITS).filter(command, state, 0.0)
    assert force @ (sent.ee_position_m - HOME_M) >= -1e-6
    assert sent is command or hits == ("contact_force",)
    assert sent is command or force @ offset < 0


def test_contact_also_takes_back_what_was_commanded_before():
    safety = SafetyFilter(LIMITS)
    safety.filter(pose((0, 0, -0.05)), measured(), 0.0)
    state = measured(ee_wrench=np.array([0, 0, 50.0, 0, 0, 0]))
    sent = safety.filter(pose((0, 0, -0.05)), state, 0.05).command
    assert_allclose(sent.ee_position_m, HOME_M, atol=1e-9)


def test_leaving_a_contact_sideways_does_not_pass_through_the_earlier_target():
    safety = SafetyFilter(LIMITS)
    safety.filter(pose((0.03, 0.0, -0.03)), measured(), 0.0)
    state = measured(ee_wrench=np.array([0, 0, 50.0, 0, 0, 0]))
    sent = safety.filter(pose((0.06, 0.0, 0.001)), state, 0.001).command
    assert sent.ee_position_m[2] >= HOME_M[2]


def test_sliding_along_a_contact_does_not_lead_out_of_the_workspace():
    on_the_floor = np.array([0.5, 0.0, 0.0])
    state = measured(ee_position_m=on_the_floor, ee_wrench=np.array([50.0, 0, -50.0, 0, 0, 0]))
    command = replace(pose(), ee_position_m=on_the_floor - np.array([0.02, 0.0, 0.0]))
    sent, hits = SafetyFilter(LIMITS).filter(command, state, 0.0)
    assert_allclose(sent.ee_position_m, on_the_floor, atol=1e-9)
    assert hits == ("contact_force",)


def test_contact_torque_stops_turning_against_it():
    state = measured(ee_wrench=np.array([0, 0, 0, 0, 0, 20.0]))
    sent, hits = SafetyFilter(LIMITS).filter(pose(turn_rad=(0.0, 0.0, -0.1)), state, 0.0)
    assert_array_equal(sent.ee_quaternion_xyzw, DOWN)
    assert hits == ("contact_torque",)
    with_it = pose(turn_rad=(0.0, 0.0, 0.1))
    assert SafetyFilter(LIMITS).filter(with_it, state, 0.0).command is with_it


def test_contact_stops_a_joint_motion():
    state = measured(ee_wrench=np.array([0, 0, 50.0, 0, 0, 0]))
    assert SafetyFilter(LIMITS).filter(joint(), state, 0.0).hits == ("contact_force",)


@pytest.mark.parametrize(("end", "outward"), [("min_rad", -1.0), ("max_rad", 1.0)])
@pytest.mark.parametrize(
    ("gap_of_margin", "speed", "refused"),
    [(1.1, 0.5, False), (0.9, 0.5, True), (0.9, 0.0, False), (0.9, -0.5, False), (0.4, -0.5, True)],
)
def test_a_joint_near_its_end(end, outward, gap_of_margin, speed, refused):
    position, velocity = READY_RAD.copy(), np.zeros(7)
    position[3] = getattr(LIMITS.joints, end)[3] - outward * gap_of_margin * LIMITS.joint_margin_rad
    velocity[3] = outward * speed
    state = measured(joint_position_rad=position, joint_velocity_rad_s=velocity)
    assert SafetyFilter(LIMITS).filter(pose(), state, 0.0).hits == (("joint_margin",) if refused else ())
    # A joint command always leads back.
    back = SafetyFilter(LIMITS).filter(joint(), state, 0.0).command
    assert outward * (back.joint_position_rad[3] - position[3]) < 0


def test_an_arm_that_is_too_fast_is_stopped():
    velocity = np.zeros(7)
    velocity[6] = -2.7
    state = measured(joint_velocity_rad_s=velocity)
    assert SafetyFilter(LIMITS).filter(pose(), state, 0.0).hits == ("joint_overspeed",)


def test_results_are_not_aliases_of_the_memory():
    safety = SafetyFilter(LIMITS)
    safety.emergency_stop("test")
    sent = safety.filter(pose(), measured(), 0.0).command
    sent.ee_quaternion_xyzw[:] = np.nan
    assert_array_equal(safety.filter(pose(), measured(), 0.0).command.ee_quaternion_xyzw, DOWN)


WILD = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1e160, 1e12, -1e12, 1e-300, 0.0)


def pick(rng, choices):
    """One of a few; `rng.choice` takes five times as long, and a million steps are taken here."""
    return choices[int(rng.random() * len(choices))]


def wild_array(rng, ordinary):
    """`ordinary`, a distorted one, or one with an entry no one should ever send."""
    kind = rng.integers(6)
    if kind == 0:
        ordinary = ordinary * 10.0 ** rng.uniform(-3, 6)
    elif kind == 1:
        ordinary = ordinary.copy()
        ordinary[rng.integers(ordinary.size)] = pick(rng, WILD)
    return ordinary


def wild_command(rng, state, now_s):
    stamp_s = now_s if rng.random() < 0.8 else now_s + pick(rng, (-0.2, -0.05, 0.005, 1.0, math.nan))
    width_m = rng.uniform(0, 0.08) if rng.random() < 0.8 else pick(rng, WILD)
    scale = pick(rng, (0.001, 0.01, 0.1, 1.0))
    if rng.random() < 0.3:
        target = wild_array(rng, state.joint_position_rad + scale * rng.normal(0, 1.0, 7))
        return JointCommand(stamp_s, target, width_m)
    quaternion = multiply(from_rotation_vector(scale * rng.normal(0, 1.0, 3)), state.ee_quaternion_xyzw)
    position = state.ee_position_m + scale * rng.normal(0, 0.3, 3)
    return PoseCommand(
        stamp_s,
        wild_array(rng, position),
        wild_array(rng, quaternion) if rng.random() < 0.3 else quaternion,
        width_m,
    )


def distance_to_segment(point, a, b):
    along = b - a
    fraction = np.clip((point - a) @ along / max(along @ along, 1e-30), 0.0, 1.0)
    return np.linalg.norm(point - a - fraction * along)


def follow(rng, state, sent, now_s):
    """A crude arm: it goes a part of the way to what was sent, and is pushed a little."""
    part = pick(rng, (0.0, 0.5, 0.9, 1.0))
    wrench = rng.normal(0, 40.0 if rng.random() < 0.1 else 1.0, 6)
    if isinstance(sent, JointCommand):
        joints = state.joint_position_rad + part * (sent.joint_position_rad - state.joint_position_rad)
        return replace(state, stamp_s=now_s, joint_position_rad=joints, ee_wrench=wrench)
    position = state.ee_position_m + part * (sent.ee_position_m - state.ee_position_m)
    way = error(sent.ee_quaternion_xyzw, state.ee_quaternion_xyzw)
    quaternion = multiply(from_rotation_vector(part * way), state.ee_quaternion_xyzw)
    return replace(
        state,
        stamp_s=now_s,
        ee_position_m=position,
        ee_quaternion_xyzw=quaternion / np.linalg.norm(quaternion),
        ee_wrench=wrench,
    )


def at(state, kind):
    if kind is PoseCommand:
        return PoseCommand(state.stamp_s, state.ee_position_m, state.ee_quaternion_xyzw, 0.0)
    return JointCommand(state.stamp_s, state.joint_position_rad, 0.0)


def check_hold(sent, state):
    if isinstance(sent, PoseCommand):
        assert np.array_equal(sent.ee_position_m, state.ee_position_m)
        assert np.array_equal(sent.ee_quaternion_xyzw, state.ee_quaternion_xyzw)
    else:
        assert np.array_equal(sent.joint_position_rad, state.joint_position_rad)


def check_pose(sent, state, before, dt_s):
    position, here = sent.ee_position_m, state.ee_position_m
    assert (position >= LOW - 1e-9).all()
    assert (position <= HIGH + 1e-9).all()
    assert distance_to_segment(position, here, before.ee_position_m) <= LIMITS.linear_speed_m_s * dt_s + 1e-8
    assert np.linalg.norm(position - here) <= LIMITS.translation_error_m + 1e-8
    assert abs(np.linalg.norm(sent.ee_quaternion_xyzw) - 1.0) < 1e-3
    angle = np.linalg.norm(error(sent.ee_quaternion_xyzw, state.ee_quaternion_xyzw))
    step = np.linalg.norm(error(sent.ee_quaternion_xyzw, before.ee_quaternion_xyzw))
    assert angle <= LIMITS.rotation_error_rad + 1e-8
    assert min(angle, step) <= LIMITS.angular_speed_rad_s * dt_s + 1e-8


def check_joints(sent, state, before, dt_s):
    position, here = sent.joint_position_rad, state.joint_position_rad
    assert (position >= JOINT_LOW - 1e-9).all()
    assert (position <= JOINT_HIGH + 1e-9).all()
    reach = JOINT_SPEED * dt_s + 1e-8
    assert (position >= np.minimum(here, before.joint_position_rad) - reach).all()
    assert (position <= np.maximum(here, before.joint_position_rad) + reach).all()
    inside = np.clip(here, JOINT_LOW, JOINT_HIGH)
    assert (np.abs(position - inside) <= LIMITS.joint_error_rad + 1e-9).all()


def test_a_blocked_arm_is_not_wound_up():
    """Somebody commands a joint ever farther, and the arm stands still: freed, it has only so far to go."""
    safety = SafetyFilter(LIMITS)
    for tick in range(400):
        now_s = 0.01 * tick
        result = safety.filter(joint(0.005 * tick, stamp_s=now_s), measured(stamp_s=now_s), now_s)
        wound_up = np.abs(result.command.joint_position_rad - READY_RAD).max()
        assert wound_up <= LIMITS.joint_error_rad + 1e-9
    assert wound_up > 0.99 * LIMITS.joint_error_rad
    assert "joint_error" in result.hits


LONG = pytest.param(40_000, 0, marks=pytest.mark.slow)
MILLION = [pytest.param(200_000, seed, marks=[pytest.mark.slow, pytest.mark.soak]) for seed in range(5)]


@pytest.mark.parametrize(("count", "seed"), [(20_000, 5), LONG, *MILLION])
def test_whatever_comes_in_what_leaves_keeps_the_limits(count, seed):
    rng = np.random.default_rng(seed)
    safety = SafetyFilter(LIMITS)
    now_s, passed = 0.0, 0
    for step in range(count):
        if step % 50 == 0:
            safety.restart()
            state, before, hold, trusted = measured(), None, None, measured()
        dt_s = pick(rng, (0.001, 0.01, 0.1, 1.0))
        now_s += dt_s
        state = replace(state, stamp_s=now_s)
        seen = state
        if step % 50 and rng.random() < 0.05:
            field = pick(rng, ("joint_velocity_rad_s", "ee_wrench", "ee_position_m"))
            seen = replace(state, **{field: np.full(getattr(state, field).size, pick(rng, WILD[:3]))})
        command = wild_command(rng, state, now_s)
        sent, hits = safety.filter(command, seen, now_s)
        assert type(sent) is type(command)
        assert (sent is command) == (not hits)
        assert 0.0 <= sent.gripper_width_m <= LIMITS.gripper_max_m
        passed += not hits
        trusted = state if seen is state else trusted
        stopped_by_contact = isinstance(sent, JointCommand) and "contact_force" in hits
        if stopped_by_contact or REFUSALS & set(hits):
            hold = hold or trusted
            check_hold(sent, hold)
        else:
            hold = None
            start = before if type(before) is type(sent) else at(state, type(sent))
            check = check_pose if isinstance(sent, PoseCommand) else check_joints
            check(sent, state, start, 0.1 if step % 50 == 0 else min(dt_s, 0.1))
        before = sent
        state = follow(rng, state, sent, now_s)
    assert 0.05 < passed / count < 0.95
    met = {"bad_state", "bad_command", "stale_command", "workspace", "linear_speed", "angular_speed"}
    met |= {"translation_error", "gripper_width", "contact_force", "contact_torque"}
    met |= {"joint_position", "joint_error", "joint_speed", "joint_acceleration"}
    assert set(safety.hits) >= met


def test_another_arm_brings_its_own_joints():
    six = JointLimits(
        min_rad=(-3.0,) * 6,
        max_rad=(3.0,) * 6,
        velocity_rad_s=(2.0,) * 6,
        acceleration_rad_s2=(10.0,) * 6,
        effort_nm=(50.0,) * 6,
    )
    state = measured(
        joint_position_rad=np.zeros(6), joint_velocity_rad_s=np.zeros(6), joint_effort_nm=np.zeros(6)
    )
    command = JointCommand(0.0, np.full(6, 0.05), 0.04)
    assert SafetyFilter(SafetyLimits(joints=six)).filter(command, state, 0.0).command is command
