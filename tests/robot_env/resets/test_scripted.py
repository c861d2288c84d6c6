"""The scripted reset over a fake table: what it does, and what it does when something is wrong."""

import msgspec
import numpy as np
import pytest

from controllers.config import InputError
from robot_env.resets.motion import MotionConfig
from robot_env.resets.region import Region
from robot_env.resets.scripted import ScriptedReset
from robot_env.resets.scripted_config import ObjectConfig, ScriptedResetConfig
from robot_env.robot import RobotUnavailableError

WORKSPACE = {"min_m": [0.34, -0.16, 0.02], "max_m": [0.66, 0.16, 0.3]}


@pytest.fixture
def task(make_task):
    return make_task(workspace=WORKSPACE)


@pytest.fixture
def make_reset(table, task, make_config):
    def make(retreat_first=False, scene=None, **changes):
        return ScriptedReset(table, scene or table.scene(), task, make_config(**changes), retreat_first)

    return make


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(20))
def test_from_wherever_it_stands_it_ends_in_a_start_state(table, make_reset, make_config, seed):
    draw = rng(seed)
    table.place(draw.uniform(WORKSPACE["min_m"], WORKSPACE["max_m"]))
    table.cube_m[:2] = draw.uniform(WORKSPACE["min_m"][:2], WORKSPACE["max_m"][:2])
    table.yaw_rad = draw.uniform(-0.7, 0.7)
    result = make_reset().reset(draw)
    assert result.success, result.reason
    config, state = make_config(), table.observe()
    assert config.start.distance_m(state.ee_position_m) < 0.01
    np.testing.assert_allclose(np.abs(state.ee_quaternion_xyzw), (1, 0, 0, 0), atol=1e-6)
    assert state.gripper_width_m == 0.08
    assert config.objects["cube"].region.distance_m(table.cube_m[:2]) < 0.01
    assert table.calls[-1] == "observe"
    assert "stop" in table.calls[-4:]  # It rests: nobody repeats a command.
    positions_m = np.array([command.ee_position_m for command in table.sent])
    assert (positions_m >= np.array(WORKSPACE["min_m"]) - 1e-9).all()
    assert (positions_m <= np.array(WORKSPACE["max_m"]) + 1e-9).all()


def test_start_states_differ_and_can_be_repeated(table, make_reset):
    def start(seed):
        assert make_reset().reset(rng(seed)).success
        return (*table.observe().ee_position_m, *table.cube_m)

    first, other, again = start(1), start(2), start(1)
    np.testing.assert_allclose(first, again, atol=1e-6)
    assert np.abs(np.subtract(first, other)).max() > 0.01


def test_what_is_held_is_carried_without_being_put_down_in_between(table, make_reset, make_config):
    table.place(table.cube_m)
    hold(table)
    assert table.grasps == 1
    assert make_reset().reset(rng()).success
    assert table.grasps == 1
    assert make_config().objects["cube"].region.distance_m(table.cube_m[:2]) < 0.01


def test_what_was_only_near_the_fingers_is_grasped_after_all(table, make_reset):
    table.place(np.add(table.cube_m, (0.0, 0.03, 0.0)))
    hold(table)
    assert table.grasps == 0
    assert make_reset().reset(rng()).success
    assert table.grasps == 1


def test_what_is_held_in_the_air_is_put_down_before_the_fingers_open(table, make_reset):
    table.place(table.cube_m)
    hold(table)
    table.place((0.5, 0.0, 0.12))
    table.cube_m = np.array([0.5, 0.0, 0.12])
    opened_m = []
    touch = table.limit

    def watch(command):
        if command.gripper_width_m > 0.05 and not opened_m:
            opened_m.append(table.cube_m[2])
        return touch(command)

    table.limit = watch
    assert make_reset().reset(rng()).success
    assert opened_m == [pytest.approx(0.02, abs=1e-6)]


def test_the_fingers_are_turned_to_the_faces_of_the_object(table, make_reset):
    table.yaw_rad = 0.6
    assert make_reset().reset(rng()).success
    closing = next(command for command in table.sent if command.gripper_width_m < 0.05)
    x, y, _, _ = closing.ee_quaternion_xyzw
    assert 2.0 * np.arctan2(y, x) == pytest.approx(0.6, abs=0.01)


def test_an_object_that_was_missed_is_looked_for_again(table, make_reset):
    table.grip = False
    lost = iter((True, False))
    scene = table.scene()
    observe = scene.observe

    def look():
        table.grip = not next(lost, False)
        return observe()

    scene.observe = look
    assert make_reset(scene=scene).reset(rng()).success
    assert table.grasps == 1


def test_an_object_that_cannot_be_grasped_is_named_after_the_last_try(table, make_reset):
    table.grip = False
    result = make_reset(grasps=2).reset(rng())
    assert result.reason == "cube was not put back in 2 tries: nothing was between the fingers"
    assert table.calls[-1] == "stop"
    closings = np.diff([command.gripper_width_m < 0.01 for command in table.sent]).sum()
    assert closings == 4  # Closed and opened, twice.


def test_an_object_that_is_lost_on_the_way_is_a_failed_try(table, make_reset):
    touch = table.limit

    def lose(command):
        table.grip = command.ee_position_m[2] < 0.1
        return touch(command)

    table.limit = lose
    result = make_reset(grasps=1).reset(rng())
    assert "it slipped" in result.reason


def test_an_object_out_of_reach_is_named_with_its_place(table, make_reset):
    table.cube_m[1] = 0.4
    result = make_reset().reset(rng())
    assert result.reason == "cube lies out of reach at 0.45, 0.40, 0.02 m"
    assert table.calls[-1] == "stop"


def test_an_object_that_is_not_seen_moves_nothing_further(table, make_reset):
    table.cube_m[:] = np.nan
    result = make_reset().reset(rng())
    assert "cube is not seen" in result.reason
    assert table.calls[-1] == "stop"


def test_jammed_fingers_are_told_of(table, make_reset):
    table.jammed_m = 0.0
    assert "does not open: 0.000 m" in make_reset().reset(rng()).reason
    table.jammed_m = 0.08
    assert "does not close: 0.080 m" in make_reset().reset(rng()).reason
    assert table.calls[-1] == "stop"


def test_a_blocked_arm_stops_and_gets_away_upwards(table, make_reset):
    touch = table.limit
    table.place((0.62, -0.1, 0.2))

    def block(command):
        if len(table.sent) >= 12:
            table.fault = "stuck" if len(table.sent) < 90 and "stop" not in table.calls else None
        return touch(command)

    table.limit = block
    result = make_reset(motion=MotionConfig(speed_m_s=0.5)).reset(rng())
    assert not result.success
    assert "blocked" in result.reason
    assert table.calls[-1] == "stop"
    first_stop = table.calls.index("stop")
    assert "send_command" in table.calls[first_stop:]
    assert table.observe().ee_position_m[2] == pytest.approx(0.25)


def test_force_stops_it_and_it_gets_away_upwards(table, make_reset):
    table.place((0.5, 0.0, 0.03))
    table.force_n = lambda position_m: np.array([30.0 * (position_m[0] < 0.48), 0.0, 0.0])
    result = make_reset().reset(rng())
    assert "force of 30 N" in result.reason
    assert table.calls[-1] == "stop"


def test_what_still_blocks_the_way_up_is_told_as_well(table, make_reset):
    table.place((0.5, 0.0, 0.03))
    table.fault = "stuck"
    result = make_reset(objects={}).reset(rng())
    assert result.reason.count("blocked") == 2
    assert table.calls[-1] == "stop"


@pytest.mark.parametrize(
    ("fault", "words"),
    [("nan_state", "nan"), ("no_state", "sends no state"), ("refuses", "refuses commands")],
)
def test_on_a_bad_measurement_nothing_is_moved_any_more(table, make_reset, fault, words):
    table.fault = fault
    result = make_reset().reset(rng())
    assert words in result.reason
    assert table.calls[-1] == "stop"
    assert not table.sent


def test_a_robot_that_is_lost_is_stopped_and_told_of(table, make_reset):
    scene = table.scene()

    def lost():
        raise RobotUnavailableError("objects/cube/pose is silent")

    scene.observe = lost
    with pytest.raises(RobotUnavailableError, match="silent"):
        make_reset(scene=scene).reset(rng())
    assert table.calls[-1] == "stop"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("when", [1, 20, 150])
def test_who_wants_it_to_end_stops_the_robot_on_the_way(table, make_reset, interruption, when):
    asked = 0

    def keep_going(*_):
        nonlocal asked
        asked += 1
        if asked == when:
            raise interruption

    with pytest.raises(interruption):
        make_reset().reset(rng(), keep_going)
    assert len(table.sent) == when - 1
    assert table.calls[-1] == "stop"


def test_after_a_failure_it_begins_by_going_up(table, make_reset):
    hold(table)
    table.place((0.5, 0.0, 0.03))
    assert make_reset(retreat_first=True, objects={}).reset(rng()).success
    heights_m = [command.ee_position_m[2] for command in table.sent[:30]]
    assert heights_m == sorted(heights_m)


def test_an_arm_that_points_elsewhere_is_left_alone(table, make_reset):
    table.place((0.5, 0.0, 0.2), (0.0, np.sqrt(0.5), 0.0, np.sqrt(0.5)))
    assert "turned by" in make_reset().reset(rng()).reason
    assert not table.sent


def test_a_task_without_a_gripper_leaves_the_fingers_alone(table, make_task, make_config):
    task = make_task(workspace=WORKSPACE, action={"translation_m": 0.03, "gripper": False})
    hold(table)
    width_m = table.observe().gripper_width_m
    assert ScriptedReset(table, table.scene(), task, make_config()).reset(rng()).success
    assert {command.gripper_width_m for command in table.sent[1:]} == {width_m}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": Region(min_m=(0.4, 0.0, 0.1), max_m=(0.7, 0.0, 0.1))}, "start from"),
        (
            {"objects": {"cube": ObjectConfig(region=Region(min_m=(0.1, 0.0), max_m=(0.5, 0.0)))}},
            "objects.cube.region",
        ),
        ({"objects": {"cup": ObjectConfig(region=Region(min_m=(0.4, 0.0), max_m=(0.5, 0.0)))}}, "'cup'"),
    ],
)
def test_what_cannot_be_reached_or_seen_is_refused(make_reset, changes, words):
    with pytest.raises(InputError, match=words):
        make_reset(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": {"min_m": [0.4, 0.0], "max_m": [0.5, 0.0]}}, "three dimensions"),
        ({"grasps": 0}, "grasps 0"),
        ({"open_fraction": 1.5}, "open_fraction 1.5"),
        ({"travel_height_m": 0.0}, "travel_height_m"),
        ({"gripper_down_xyzw": [1, 1, 0, 0]}, "gripper_down_xyzw"),
        ({"objects": {"cube": {"region": {"min_m": [0, 0, 0], "max_m": [1, 1, 1]}}}}, "two dimensions"),
        ({"speed": 1.0}, "unknown field `speed`"),
    ],
)
def test_bad_configuration_is_refused(changes, words):
    good = {"start": {"min_m": [0.4, 0.0, 0.1], "max_m": [0.5, 0.0, 0.1]}}
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert({**good, **changes}, ScriptedResetConfig, strict=False)


def hold(table):
    """Let the fingers be where they hold something, or nothing."""
    from robot_env.robot import PoseCommand

    state = table.observe()
    place = state.ee_position_m, state.ee_quaternion_xyzw
    table.send_command(PoseCommand(table.clock.now_s(), *place, 0.03))
    table.clock.advance(0.1)
    table.observe()
    table.sent.clear()
