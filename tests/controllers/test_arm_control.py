"""An arm is followed, held or told nothing; in doubt never the first."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.testing import assert_allclose

from controllers.arm_control import ArmControl, State
from controllers.braking import StopBy
from controllers.incoming import GripperCommand, Incoming
from controllers.limits import SafetyLimits
from controllers.state import JointCommand, PoseCommand, RobotState

LIMITS = SafetyLimits()
READY_RAD = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.57, 0.785])
HOME_M = np.array([0.5, 0.0, 0.3])
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
LOW, HIGH = np.array(LIMITS.workspace_min_m), np.array(LIMITS.workspace_max_m)
PERIOD_S = 0.01
# An impedance-controlled arm with the default gains.
LAG_S = 0.045
LONGEST_STEP_M = LIMITS.linear_speed_m_s * PERIOD_S + 1e-9
ALICE, BOB = b"alice's process.1", b"bob's process....1"


@pytest.fixture(scope="module")
def scene():
    from sim.registration import load, make_env

    return make_env(load("reach")).scene


@pytest.fixture
def twin(scene):
    home_rad = np.array(scene.twin.config.impedance.posture_rad)
    scene.twin.reset(np.random.default_rng(0), home_rad, 0.05)
    return scene.twin


class Arm:
    """An arm that follows its target with a lag, under control. Time passes in ticks."""

    def __init__(self):
        self.control = ArmControl(LIMITS)
        self.now_s = 100.0
        self.position_m = HOME_M.copy()
        self.joints_rad = READY_RAD.copy()
        self.changes = {}  # Of what is measured.
        self.trouble = ""  # Instead of a measurement.
        self.e_stop = ""
        self.blocked = False
        self.lateness_s = 0.0
        self.sent = None
        self.speed_m_s = 0.0
        self._velocity_m_s, self._velocity_rad_s = np.zeros(3), np.zeros(7)

    def tick(self, *commands, publisher=ALICE, alone=True):
        """Let a period pass with these commands; returns what the arm is told."""
        self.now_s += PERIOD_S
        measured = self.trouble or replace(self.state(), **self.changes)
        incoming = [
            c if isinstance(c, Incoming) else Incoming("topic", publisher, c, alone=alone) for c in commands
        ]
        self.sent = self.control.tick(incoming, measured, self.now_s, self.lateness_s, self.e_stop)
        self._move()
        return self.sent

    def ticks(self, number, *make, **keywords):
        """Several; `make` are functions of this that give the commands."""
        return [self.tick(*(command(self) for command in make), **keywords) for _ in range(number)]

    def state(self):
        return RobotState(
            self.now_s, self.joints_rad, self._velocity_rad_s, np.zeros(7), self.position_m, DOWN,
            self._velocity_m_s, np.zeros(3), np.zeros(6), 0.05,
        )  # fmt: skip

    def pose(self, offset_m=(0.0, 0.0, 0.0), age_s=0.0):
        """A command relative to home that is decided now."""
        return PoseCommand(self.now_s + PERIOD_S - age_s, HOME_M + offset_m, DOWN, 0.0)

    def joint(self, offset_rad=0.0):
        return JointCommand(self.now_s + PERIOD_S, READY_RAD + offset_rad, 0.0)

    def _move(self):
        before_m, before_rad = self.position_m, self.joints_rad
        if self.blocked:
            return
        part = 1.0 - math.exp(-PERIOD_S / LAG_S)
        if isinstance(self.sent, PoseCommand):
            self.position_m = before_m + part * (self.sent.ee_position_m - before_m)
        elif isinstance(self.sent, JointCommand):
            self.joints_rad = before_rad + part * (self.sent.joint_position_rad - before_rad)
        self._velocity_m_s = (self.position_m - before_m) / PERIOD_S
        self._velocity_rad_s = (self.joints_rad - before_rad) / PERIOD_S
        self.speed_m_s = float(np.linalg.norm(self._velocity_m_s))


def near_home(*offset_m):
    return HOME_M + offset_m


def sweep(arm, speed_m_s=0.5, duration_s=0.6, **keywords):
    """Lead the arm sideways; returns where to."""
    arm.tick()
    steps = round(duration_s / PERIOD_S)
    start = arm.position_m - HOME_M
    for step in range(1, steps + 1):
        offset = start + np.array((0.0, speed_m_s * PERIOD_S * step, 0.0))
        arm.tick(arm.pose(offset), **keywords)
    return HOME_M + offset


def assert_held(arm, ticks=100):
    """It rests and goes on to be told so."""
    where = arm.position_m
    for _ in range(ticks):
        assert arm.tick() is not None
    assert np.linalg.norm(arm.position_m - where) < 0.02
    assert arm.speed_m_s < 1e-3


def test_without_commands_the_arm_is_held_where_it_is():
    arm = Arm()
    for command in arm.ticks(20):
        assert_allclose(command.ee_position_m, HOME_M)
    assert arm.control.state is State.IDLE


def test_a_stream_of_commands_is_followed():
    arm = Arm()
    goal = sweep(arm, speed_m_s=0.1)
    arm.ticks(30, lambda a: a.pose(goal - HOME_M))
    assert arm.control.state is State.TRACKING
    assert_allclose(arm.position_m, goal, atol=1e-3)
    assert not arm.control.hits


def test_joint_commands_are_followed_and_then_poses_again():
    arm = Arm()
    arm.ticks(100, lambda a: a.joint(0.2))
    assert_allclose(arm.joints_rad, READY_RAD + 0.2, atol=1e-3)
    arm.ticks(60, lambda a: a.pose((0.0, 0.05, 0.0)))
    assert_allclose(arm.position_m, near_home(0.0, 0.05, 0.0), atol=1e-3)


@pytest.mark.parametrize("speed_m_s", [0.1, 0.5, 0.6])
def test_after_the_last_command_the_arm_rests_within_300_ms_on_its_way(speed_m_s):
    arm = Arm()
    goal = sweep(arm, speed_m_s)
    assert arm.speed_m_s > 0.8 * speed_m_s
    told = [command.ee_position_m[1] for command in arm.ticks(30)]
    assert arm.speed_m_s < 0.02
    assert max(told) <= goal[1] + 1e-9
    assert arm.control.state is State.IDLE
    assert "no command for 0.10 s" in arm.control.message
    assert_held(arm)


@pytest.mark.parametrize(("stop_by", "rests_within_s"), [(StopBy.JOINTS, 0.25), (StopBy.DAMPING, 0.35)])
@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.6, -0.8, 0.0), (0.0, 0.6, 0.8)])
def test_the_twin_with_its_mass_rests_soon_after_the_last_command(twin, stop_by, rests_within_s, direction):
    control = ArmControl(LIMITS, stop_by=stop_by)
    position, speeds = twin.state(0.0).ee_position_m, []
    for tick in range(110):
        now_s = 100.0 + PERIOD_S * tick
        state = twin.state(now_s)
        position = position + 0.5 * PERIOD_S * np.array(direction) * (5 <= tick < 50)
        command = PoseCommand(now_s, position, DOWN, 0.0)
        incoming = [Incoming("topic", ALICE, command)] if tick < 50 and tick % 2 == 0 else []
        twin.follow(control.tick(incoming, state, now_s))
        twin.advance(1)
        speeds.append(np.linalg.norm(state.ee_linear_velocity_m_s))
    assert max(speeds) > 0.3
    since_last_command = np.array(speeds[48:])
    moving = np.flatnonzero(since_last_command > 0.03)
    assert moving[-1] * PERIOD_S < rests_within_s
    assert np.max(since_last_command[-20:]) < 0.03


def test_an_arm_that_stops_for_a_far_target_does_not_go_on_to_it():
    arm = Arm()
    arm.ticks(40, lambda a: a.pose((0.0, 0.39, 0.0)))
    moving = arm.position_m[1]
    arm.control.stop()
    arm.ticks(30)
    # Way of braking, and the lag; not the ten centimetres that the target may be ahead.
    assert 0.0 < arm.position_m[1] - moving < 0.05
    assert arm.speed_m_s < 0.02
    assert_held(arm)


def test_a_stop_while_joints_move_ends_near_and_at_rest():
    arm = Arm()
    arm.ticks(30, lambda a: a.joint(1.0))
    assert np.abs(arm.state().joint_velocity_rad_s).max() > 1.0
    arm.control.stop()
    moving = arm.joints_rad
    arm.ticks(60)
    assert np.abs(arm.state().joint_velocity_rad_s).max() < 1e-2
    assert np.abs(arm.joints_rad - moving).max() < 0.4


def test_a_blocked_arm_is_no_longer_pushed_after_a_stop():
    arm = Arm()
    arm.blocked = True
    arm.ticks(50, lambda a: a.pose((0.0, 0.09, 0.0)))
    assert arm.sent.ee_position_m[1] > 0.08
    arm.control.stop()
    assert arm.tick().ee_position_m[1] < 0.01


def test_commands_after_silence_are_followed_again():
    arm = Arm()
    sweep(arm)
    arm.ticks(50)
    assert arm.control.state is State.IDLE
    arm.tick(arm.pose())
    assert arm.control.state is State.TRACKING


def test_a_command_repeated_with_its_old_stamp_is_silence():
    arm = Arm()
    command = arm.pose((0.0, 0.3, 0.0))
    arm.ticks(12, lambda _: command)
    assert arm.control.state is State.IDLE
    assert arm.control.hits["stale_command"] > 0


def test_a_stamp_that_stays_new_is_silence_when_nothing_comes():
    arm = Arm()
    ahead = replace(arm.pose((0.0, 0.3, 0.0)), stamp_s=arm.now_s + 0.025)
    arm.tick(ahead)
    arm.ticks(9)
    assert arm.control.state is State.TRACKING
    arm.ticks(2)
    assert arm.control.state is State.IDLE


def test_a_command_that_was_long_on_its_way_is_followed_for_the_rest_of_its_time():
    arm = Arm()
    arm.tick()
    arm.tick(arm.pose((0.0, 0.3, 0.0), age_s=0.08))
    assert arm.control.state is State.TRACKING
    arm.ticks(3)
    assert arm.control.state is State.IDLE
    assert arm.control.hits["stale_command"] == 0


BAD = {
    "bad_command": [
        lambda a: a.pose((math.nan, 0.0, 0.0)),
        lambda a: a.pose((0.0, math.inf, 0.0)),
        lambda a: replace(a.pose(), ee_quaternion_xyzw=np.full(4, math.nan)),
        lambda a: replace(a.joint(), joint_position_rad=np.full(7, math.nan)),
        lambda a: GripperCommand(a.now_s, math.nan),
        lambda a: Incoming("topic", ALICE, None, "is in frame 'moon', but 'base' is expected"),
    ],
    "stale_command": [lambda a: a.pose(age_s=0.2), lambda a: a.pose(age_s=math.nan)],
    "future_command": [lambda a: a.pose(age_s=-0.05), lambda a: a.pose(age_s=-math.inf)],
}


@pytest.mark.parametrize(("name", "make"), [(name, make) for name, makes in BAD.items() for make in makes])
def test_a_bad_command_stops_the_arm_is_counted_and_latches_nothing(name, make):
    arm = Arm()
    sweep(arm, speed_m_s=0.1)
    arm.tick(make(arm))
    assert arm.control.state is State.IDLE
    assert arm.control.message.startswith("stopped: topic ")
    assert arm.control.hits == {name: 1}
    assert_held(arm)
    arm.tick(arm.pose())
    assert arm.control.state is State.TRACKING


def test_a_stamp_slightly_ahead_is_another_machines_clock():
    arm = Arm()
    arm.ticks(5, lambda a: a.pose(age_s=-0.015))
    assert arm.control.state is State.TRACKING
    assert not arm.control.hits


def test_a_measurement_slightly_ahead_is_another_machines_clock():
    arm = Arm()
    for _ in range(5):
        arm.changes = {"stamp_s": arm.now_s + PERIOD_S + 0.015}
        assert arm.tick() is not None
    assert arm.control.state is State.IDLE


def test_a_refused_command_does_not_hide_a_good_one_after_it():
    arm = Arm()
    arm.tick(arm.pose((math.nan, 0.0, 0.0)), arm.pose((0.0, 0.1, 0.0)))
    assert arm.control.state is State.TRACKING


@pytest.mark.parametrize("stream", ["topic", "another topic"])
def test_two_commanders_are_both_refused_until_a_human_recovers(stream):
    arm = Arm()
    sweep(arm)
    intruder = Incoming(stream, BOB, arm.pose((0.0, -0.3, 0.0)))
    arm.tick(arm.pose((0.0, 0.3, 0.0)), intruder)
    assert arm.control.state is State.FAULT
    assert "more than one commander on" in arm.control.message
    assert_held(arm)
    assert "more than one" not in arm.control.recover()
    assert arm.control.state is State.IDLE


def test_two_that_still_command_cannot_be_recovered_from():
    arm = Arm()
    for _ in range(20):
        arm.tick(arm.pose(), Incoming("topic", BOB, arm.pose()))
    assert "more than one commander" in arm.control.recover()
    assert arm.control.state is State.FAULT
    for _ in range(60):
        arm.tick(arm.pose())
    assert arm.control.recover() == ""
    arm.tick(arm.pose())
    assert arm.control.state is State.TRACKING


def test_a_second_commander_is_seen_even_by_what_cannot_be_followed():
    arm = Arm()
    arm.tick(arm.pose())
    arm.tick(Incoming("topic", BOB, None, "is no command"))
    assert arm.control.state is State.FAULT


def test_a_commander_silent_for_long_may_be_replaced():
    arm = Arm()
    arm.ticks(10, lambda a: a.pose())
    arm.ticks(51)
    arm.ticks(10, lambda a: a.pose(), publisher=BOB)
    assert arm.control.state is State.TRACKING


def test_a_commander_that_comes_too_soon_after_another_is_a_second_one():
    arm = Arm()
    arm.ticks(10, lambda a: a.pose())
    arm.ticks(40)
    arm.tick(arm.pose(), publisher=BOB)
    assert arm.control.state is State.FAULT


def test_one_process_may_command_on_several_topics():
    arm = Arm()
    for _ in range(20):
        other = Incoming("another topic", ALICE[:12] + b"other", GripperCommand(arm.now_s + PERIOD_S, 0.03))
        arm.tick(arm.pose(), other)
    assert arm.control.state is State.TRACKING


def test_where_nobody_is_named_several_publishers_are_refused():
    arm = Arm()
    arm.tick(arm.pose(), publisher=b"")
    assert arm.control.state is State.TRACKING
    arm.tick(arm.pose(), publisher=b"", alone=False)
    assert arm.control.state is State.FAULT


NOT_TRUSTED = [
    {"joint_position_rad": np.full(7, np.nan)},
    {"ee_position_m": np.array([np.inf, 0.0, 0.0])},
    {"ee_quaternion_xyzw": np.zeros(4)},
    {"joint_position_rad": np.zeros(6)},
    {"stamp_s": 0.0},
]


@pytest.mark.parametrize("changes", NOT_TRUSTED)
def test_without_a_measurement_to_trust_nothing_is_sent_and_a_human_must_recover(changes):
    arm = Arm()
    sweep(arm)
    arm.changes = changes
    assert arm.ticks(20, lambda a: a.pose()) == [None] * 20
    assert arm.control.state is State.FAULT
    assert arm.control.recover().startswith("Not recovered: the measured state is")
    arm.changes = {}
    arm.position_m = near_home(0.1, 0.0, 0.0)  # Who knows what happened meanwhile.
    for command in arm.ticks(20, lambda a: a.pose()):
        assert_allclose(command.ee_position_m, arm.position_m)
    assert arm.control.state is State.FAULT
    assert arm.control.recover() == ""
    arm.tick(arm.pose())
    assert arm.control.state is State.TRACKING


def test_an_arm_that_was_moved_unseen_is_held_where_it_is_found():
    arm = Arm()
    arm.ticks(5)
    arm.trouble = "no state"
    arm.tick()
    arm.trouble, arm.position_m = "", near_home(0.1, 0.1, 0.0)
    assert_allclose(arm.tick().ee_position_m, near_home(0.1, 0.1, 0.0))


def test_the_first_measurement_may_be_bad():
    arm = Arm()
    arm.changes = NOT_TRUSTED[0]
    assert arm.tick(arm.pose()) is None
    assert arm.control.state is State.FAULT


def test_a_source_that_says_why_it_has_no_state_is_quoted():
    arm = Arm()
    arm.trouble = "joint_states is stale: look at the driver"
    assert arm.tick(arm.pose()) is None
    assert arm.control.message == arm.trouble
    assert arm.trouble in arm.control.recover()


def test_a_joint_that_is_too_fast_is_held_and_latched():
    arm = Arm()
    arm.tick()
    arm.changes = {"joint_velocity_rad_s": np.array([0.0, 2.2, 0.0, 0.0, 0.0, 0.0, 0.0])}
    assert_allclose(arm.tick(arm.pose((0.0, 0.1, 0.0))).ee_position_m, HOME_M)
    assert arm.control.state is State.FAULT
    assert "faster than its limit" in arm.control.recover()
    arm.changes = {}
    arm.ticks(5)
    assert arm.control.recover() == ""


def test_after_an_overspeed_the_arm_is_held_where_it_was_seen():
    arm = Arm()
    arm.ticks(30, lambda a: a.pose((0.0, 0.39, 0.0)))
    arm.changes = {"joint_velocity_rad_s": np.full(7, 2.2)}
    seen = arm.position_m
    arm.tick(arm.pose((0.0, 0.39, 0.0)))
    arm.changes = {}
    assert_allclose(arm.ticks(50)[-1].ee_position_m, seen)


def test_a_loop_that_was_held_up_trusts_itself_no_longer():
    arm = Arm()
    sweep(arm)
    arm.lateness_s = 0.15
    arm.tick(arm.pose())
    assert arm.control.state is State.TRACKING
    arm.lateness_s = 0.25
    arm.tick(arm.pose())
    arm.lateness_s = 0.0
    assert arm.control.state is State.FAULT
    assert "held up for 0.25 s" in arm.control.message
    assert_held(arm)


def test_a_failing_interface_is_latched():
    arm = Arm()
    arm.tick()
    arm.control.fail("the interface failed")
    arm.tick(arm.pose())
    assert (arm.control.state, arm.control.message) == (State.FAULT, "the interface failed")


def test_what_could_not_be_sent_is_not_where_the_arm_is_held():
    arm = Arm()
    sweep(arm, speed_m_s=0.2)
    reached, arm_there = arm.sent, arm.position_m
    arm.tick(arm.pose((0.0, 0.3, 0.0)))
    arm.position_m = arm_there
    arm.control.refuse_sent("unreachable", "no inverse kinematics")
    assert_allclose(arm.ticks(20)[-1].ee_position_m, reached.ee_position_m)
    assert (arm.control.state, arm.control.hits["unreachable"]) == (State.IDLE, 1)


def test_a_hold_that_cannot_be_sent_is_a_fault():
    arm = Arm()
    arm.ticks(3)
    arm.control.refuse_sent("unreachable", "no inverse kinematics")
    assert arm.control.state is State.FAULT


def test_an_emergency_stop_wins_over_everything_until_it_is_released():
    arm = Arm()
    arm.ticks(25, lambda a: a.pose((0.0, 0.35, 0.0)))
    arm.e_stop = "the button"
    arm.tick(arm.pose((0.0, 0.35, 0.0)))
    assert (arm.control.state, arm.control.message) == (State.E_STOP, "the button")
    told = [command.ee_position_m for command in arm.ticks(50, lambda a: a.pose((0.0, 0.35, 0.0)))]
    assert_allclose(told[5:], [told[5]] * 45)  # It does not wait for silence, and follows nobody.
    for act in (arm.control.stop, arm.control.recover, arm.control.restart):
        act()
        arm.tick(arm.pose())
        assert arm.control.state is State.E_STOP
    assert arm.control.enable(False) == arm.control.enable(True) == ""
    arm.tick(arm.pose())
    assert arm.control.state is State.E_STOP
    arm.ticks(30)
    assert_held(arm)
    arm.e_stop = ""
    arm.tick()
    assert arm.control.state is State.IDLE


def test_releasing_an_emergency_stop_does_not_clear_a_fault():
    arm = Arm()
    arm.e_stop = "the button"
    arm.trouble = "no state"
    arm.tick()
    arm.trouble = arm.e_stop = ""
    arm.tick()
    assert arm.control.state is State.FAULT


def test_a_stop_is_not_undone_by_commands_decided_before_it():
    arm = Arm()
    sweep(arm)
    late = arm.pose((0.0, 0.3, 0.0), age_s=2.0 * PERIOD_S)
    arm.control.stop()
    arm.tick(late)
    assert arm.control.state is State.IDLE
    arm.tick(arm.pose())
    assert arm.control.state is State.TRACKING


def test_disabled_it_sends_nothing_and_forgets_everything():
    arm = Arm()
    arm.tick(arm.pose(), GripperCommand(arm.now_s, 0.01))
    assert arm.control.enable(False) == ""
    assert arm.ticks(5, lambda a: a.pose()) == [None] * 5
    assert arm.control.state is State.DISABLED
    # Whatever else moves the arm is not ours to judge.
    arm.changes = NOT_TRUSTED[0]
    arm.tick(Incoming("topic", BOB, arm.pose()), arm.pose(age_s=9.0))
    arm.changes = {}
    assert arm.control.hits["stale_command"] == 0
    arm.position_m = near_home(-0.1, 0.1, 0.0)
    arm.tick()
    assert arm.control.enable(True) == ""
    assert_allclose(arm.tick().ee_position_m, arm.position_m)
    assert arm.control.state is State.IDLE
    assert arm.control.gripper_width_m is None


def test_it_is_not_enabled_without_a_measurement():
    arm = Arm()
    arm.control.enable(False)
    arm.trouble = "joint_states is silent"
    arm.tick()
    assert arm.control.enable(True) == "Not enabled: joint_states is silent."
    assert arm.control.state is State.DISABLED


def test_disabling_does_not_clear_a_fault():
    arm = Arm()
    arm.trouble = "no state"
    arm.tick()
    arm.trouble = ""
    arm.control.enable(False)
    arm.tick()
    arm.control.enable(True)
    arm.tick()
    assert arm.control.state is State.FAULT


def test_a_gripper_command_moves_only_the_gripper_and_survives_a_stop():
    arm = Arm()
    arm.tick()
    arm.tick(GripperCommand(arm.now_s, 0.2))
    assert arm.control.state is State.IDLE
    assert arm.control.gripper_width_m == LIMITS.gripper_max_m
    assert arm.control.hits == {"gripper_width": 1}
    arm.tick(GripperCommand(arm.now_s, 0.01))
    for event in (arm.control.stop, lambda: arm.control.fail("x"), arm.control.recover):
        event()
        assert arm.tick().gripper_width_m == 0.01
        assert arm.control.gripper_width_m == 0.01


def test_in_a_fault_the_gripper_stays_as_it_is():
    arm = Arm()
    arm.tick(GripperCommand(arm.now_s, 0.01))
    arm.control.fail("x")
    arm.tick(GripperCommand(arm.now_s, 0.08))
    assert arm.control.gripper_width_m == 0.01


numbers = st.one_of(st.floats(-0.5, 0.5), st.sampled_from([math.nan, math.inf, -1e200, 3.0]))
events = st.one_of(
    st.tuples(st.just("pose"), st.tuples(numbers, numbers, numbers), st.floats(-0.1, 0.3)),
    st.tuples(st.just("joint"), numbers),
    st.tuples(st.just("grip"), numbers),
    st.tuples(
        st.sampled_from(["bob", "stop", "recover", "enable", "disable", "press", "release", "wait", "fail"])
    ),
    st.tuples(st.just("trouble"), st.booleans()),
    st.tuples(st.just("nan"), st.booleans()),
)


@given(st.lists(st.tuples(events, st.integers(1, 25)), max_size=40))
def test_whatever_happens_targets_stay_inside_and_latches_hold(story):
    arm = Arm()
    arm.tick()
    human = True
    for (what, *how), repeats in story:
        before = arm.control.state
        human = act(arm, what, how)
        for _ in range(repeats):
            last, there = arm.sent, arm.position_m
            sent = arm.tick(*commands_of(arm, what, how))
            latched = {State.FAULT, State.E_STOP}
            if before in latched and not human:
                assert arm.control.state in latched
            before, human = arm.control.state, False
            if arm.trouble or arm.changes or arm.control.state is State.DISABLED:
                assert sent is None
            if sent is None:
                continue
            if isinstance(sent, JointCommand):
                assert np.isfinite(sent.joint_position_rad).all()
                continue
            assert (sent.ee_position_m >= LOW - 1e-9).all()
            assert (sent.ee_position_m <= HIGH + 1e-9).all()
            start = nearest(sent.ee_position_m, there, last)
            assert (
                np.linalg.norm(sent.ee_position_m - start)
                <= LIMITS.linear_speed_m_s * LIMITS.max_command_age_s + 1e-9
            )


def act(arm, what, how):
    """Do it; whether that is a human's act that may end a latch."""
    control = arm.control
    match what:
        case "stop":
            control.stop()
        case "fail":
            control.fail("the interface failed")
        case "enable" | "disable":
            control.enable(what == "enable")
        case "press":
            arm.e_stop = "the button"
        case "trouble":
            arm.trouble = "no state" if how[0] else ""
        case "nan":
            arm.changes = NOT_TRUSTED[0] if how[0] else {}
        case "recover":
            control.recover()
            return True
        case "release":
            arm.e_stop = ""
            return True
    return False


def commands_of(arm, what, how):
    match what:
        case "pose":
            return [arm.pose(*how)]
        case "joint":
            return [arm.joint(how[0])]
        case "grip":
            return [GripperCommand(arm.now_s, how[0])]
        case "bob":
            return [Incoming("topic", BOB, arm.pose())]
    return []


def nearest(target, there, last):
    """Where the safety filter lets a step begin: between the arm and its target before."""
    if not isinstance(last, PoseCommand):
        return there
    along = last.ee_position_m - there
    squared = along @ along
    fraction = 0.0 if squared == 0.0 else np.clip((target - there) @ along / squared, 0.0, 1.0)
    return there + fraction * along
